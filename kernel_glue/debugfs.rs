// SPDX-License-Identifier: GPL-2.0

//! Text files in debugfs.
//!
//! A file of [`kernel::debugfs`] has no `owner` in its `file_operations`: somebody who has it open
//! does not keep the module loaded, and the kernel calls into the module when that somebody closes
//! it. This file goes when the kernel crate's files have an owner.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

use super::bindings;
use core::marker::PhantomPinned;
use kernel::{
    bindings::{
        dentry,
        seq_file, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    fmt,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc, //
};

/// A directory in debugfs, which is removed with all that is in it when this is dropped.
///
/// As usual for debugfs, failures are ignored: what is in a directory that could not be created
/// cannot be created either.
///
/// # Invariants
///
/// `dentry` is what `debugfs_create_dir()` has returned, and `parent` exists as long as this.
pub struct DebugDir {
    dentry: *mut dentry,
    _parent: Option<Arc<DebugDir>>,
}

// SAFETY: The functions of debugfs can be called from any thread.
unsafe impl Send for DebugDir {}

// SAFETY: As above. A shared reference only lends the pointer.
unsafe impl Sync for DebugDir {}

impl DebugDir {
    /// Creates a directory in `parent`, or at the top of debugfs.
    ///
    /// Process context. Fails with [`ENOMEM`].
    pub fn new(name: &CStr, parent: Option<Arc<DebugDir>>) -> Result<Arc<Self>> {
        let under = parent
            .as_ref()
            .map_or(core::ptr::null_mut(), |parent| parent.dentry);

        // SAFETY: The name is a C string. The parent is null, or a directory or an error pointer,
        // which the function passes on.
        let dentry = unsafe { bindings::kernel_helper_create_dir(name.as_char_ptr(), under) };

        // INVARIANT: As just created. If there is no memory, `Arc::new` drops it, which removes
        // the directory.
        Ok(Arc::new(
            Self {
                dentry,
                _parent: parent,
            },
            GFP_KERNEL,
        )?)
    }
}

impl Drop for DebugDir {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is a directory, which is removed only here because its
        // parent still exists; or an error pointer, with which the function does nothing.
        unsafe { bindings::kernel_helper_remove(self.dentry) };
    }
}

/// What a file in debugfs shows. It is asked at each opening that is followed by a read.
pub trait Show: Send + Sync + 'static {
    /// Writes the contents.
    ///
    /// Process context.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A file in debugfs that shows a `T`, and can be read by root.
///
/// # Invariants
///
/// `dentry` is what creating the file has returned. While the file exists, its private data are
/// the address of `source`, whose `data` is the address of a `T` that `_data` keeps.
#[pin_data(PinnedDrop)]
pub struct DebugFile<T: Show> {
    dentry: *mut dentry,
    source: bindings::kernel_helper_file,
    _data: Arc<T>,
    _dir: Arc<DebugDir>,
    #[pin]
    _pinned: PhantomPinned,
}

// SAFETY: The functions of debugfs can be called from any thread, and so can `T`.
unsafe impl<T: Show> Send for DebugFile<T> {}

// SAFETY: As above.
unsafe impl<T: Show> Sync for DebugFile<T> {}

impl<T: Show> DebugFile<T> {
    /// Makes an initialiser for a file in `dir`.
    ///
    /// Process context.
    pub fn new<'a>(name: &'a CStr, dir: Arc<DebugDir>, data: Arc<T>) -> impl PinInit<Self> + 'a {
        pin_init!(&this in Self {
            source: bindings::kernel_helper_file {
                show: Some(show::<T>),
                data: (&raw const *data).cast_mut().cast(),
            },
            _dir: dir.clone(),
            _data: data,
            // INVARIANT: The file's private data are the address of `source`, which is initialised
            // and pinned, and which refers to the `T` of `_data`.
            dentry: {
                // SAFETY: The name is a C string, and `dir` exists. `this` is valid, and `drop`
                // removes the file before it goes.
                unsafe {
                    bindings::kernel_helper_create_file(
                        name.as_char_ptr(),
                        dir.dentry,
                        &raw mut (*this.as_ptr()).source,
                    )
                }
            },
            _pinned: PhantomPinned,
        })
    }
}

#[pinned_drop]
impl<T: Show> PinnedDrop for DebugFile<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is a file, which is removed only here because its
        // directory still exists; or an error pointer, with which the function does nothing. It
        // waits for readers.
        unsafe { bindings::kernel_helper_remove(self.dentry) };
    }
}

/// # Safety
///
/// Called by the `show` of a file only, with its `seq_file` and the address of a `T` that exists.
unsafe extern "C" fn show<T: Show>(seq: *mut seq_file, data: *mut c_void) -> c_int {
    struct Contents<'a, T>(&'a T);

    impl<T: Show> fmt::Display for Contents<'_, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.show(f)
        }
    }

    // SAFETY: The caller guarantees that `seq` is valid for the call, and that `data` is the
    // address of a `T`.
    let (seq, data) = unsafe { (SeqFile::from_raw(seq), &*data.cast::<T>()) };

    seq_print!(seq, "{}", Contents(data));
    0
}
