// SPDX-License-Identifier: GPL-2.0

//! Resources of a module that all its devices share: a directory in debugfs and two workqueues.
//!
//! A bus of 7.2 and 7.3 hands nothing of the module to the probe of a device, so both are in a
//! static. No lock of the kernel crate can be initialised at compile time, hence the states below.
//! [`kernel::workqueue`] lends the system's workqueues, and allocates none. This file goes when a
//! bus hands over the module's data, and workqueues can be allocated.
//!
//! C headers: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h),
//! [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use super::{
    bindings,
    debugfs::DebugDir, //
};
use core::ptr::NonNull;
use kernel::{
    bindings::workqueue_struct,
    device,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc, //
    },
};

/// The workqueue on which a [`Worker`](super::Worker) runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queue {
    /// `system_freezable_wq`: does not run while the system is suspended, nor when a thread is
    /// needed and there is no memory for it.
    Events,
    /// A workqueue of the module, which runs at any time, however short memory is.
    Recovery,
    /// A workqueue of the module, which runs however short memory is, but not while the system is
    /// suspended.
    Awake,
}

/// The resources that exist while there is a [`ModuleParts`].
struct Parts {
    /// The name of the directory, which is created when it is first needed.
    debug_name: Option<&'static CStr>,
    debug_dir: Option<Arc<DebugDir>>,
    recovery: Option<NonNull<workqueue_struct>>,
    awake: Option<NonNull<workqueue_struct>>,
    /// The number of [`QueueRef`]s to `recovery` and `awake`.
    users: usize,
}

// SAFETY: `struct workqueue_struct` can be used from any thread.
unsafe impl Send for Parts {}

kernel::sync::global_lock! {
    // SAFETY: `ModuleParts::new` initialises it once, and all uses come after that: `with` checks
    // `STATE`, and `drop` has the object that `new` has returned.
    unsafe(uninit) static PARTS: Mutex<Parts> = Parts {
        debug_name: None,
        debug_dir: None,
        recovery: None,
        awake: None,
        users: 0,
    };
}

/// `PARTS` is not initialised.
const FRESH: i32 = 0;

/// `PARTS` is being initialised.
const BUSY: i32 = 1;

/// `PARTS` is initialised.
const READY: i32 = 2;

static STATE: Atomic<i32> = Atomic::new(FRESH);

/// Calls `f` with the parts, if they are initialised.
fn with<R>(f: impl FnOnce(&mut Parts) -> R) -> Option<R> {
    (STATE.load(Acquire) == READY).then(|| f(&mut PARTS.lock()))
}

/// The module's directory in debugfs, and its workqueues. These have `WQ_MEM_RECLAIM`, because an
/// allocation may wait for the recovery of a disk.
///
/// The workqueues exist until this is dropped, the directory as long as it has files. The module
/// drops this after its drivers.
pub struct ModuleParts(());

impl ModuleParts {
    /// Creates the directory and the workqueues. `name` is the name of the directory and of
    /// [`Queue::Recovery`], `awake_name` that of [`Queue::Awake`].
    ///
    /// Process context. Fails with [`ENOMEM`], and with [`EEXIST`] the second time. As usual for
    /// debugfs, its failures are ignored.
    pub fn new(name: &'static CStr, awake_name: &CStr) -> Result<Self> {
        STATE.cmpxchg(FRESH, BUSY, Full).map_err(|_: i32| EEXIST)?;

        // SAFETY: `STATE` is `FRESH` only once, so this is called once.
        unsafe { PARTS.init() };
        STATE.store(READY, Release);

        // If a step below fails, dropping this destroys what the former ones have created.
        let this = Self(());
        let mut parts = PARTS.lock();

        // SAFETY: The names are C strings, which the function copies.
        unsafe {
            parts.recovery = NonNull::new(bindings::kernel_helper_alloc_workqueue(
                name.as_char_ptr(),
                false,
            ));
            parts.awake = NonNull::new(bindings::kernel_helper_alloc_workqueue(
                awake_name.as_char_ptr(),
                true,
            ));
        }

        if parts.recovery.is_none() || parts.awake.is_none() {
            drop(parts);
            return Err(ENOMEM);
        }
        parts.debug_name = Some(name);
        drop(parts);
        Ok(this)
    }
}

impl Drop for ModuleParts {
    fn drop(&mut self) {
        let mut parts = PARTS.lock();

        parts.debug_name = None;
        parts.debug_dir = None;
        // A worker that was leaked may still be scheduled, so its workqueue is leaked as well.
        if parts.users == 0 {
            for queue in [parts.recovery.take(), parts.awake.take()]
                .into_iter()
                .flatten()
            {
                // SAFETY: `new` has allocated the workqueue, it is only taken here, and no
                // `QueueRef` refers to it.
                unsafe { kernel::bindings::destroy_workqueue(queue.as_ptr()) };
            }
        }
    }
}

/// Creates a directory of debugfs with the name of a device, in that of the module, or at the top
/// if the module has none.
///
/// Process context. Fails with [`ENOMEM`].
pub fn debug_dir_of<Ctx: device::DeviceContext>(
    dev: &device::Device<Ctx>,
) -> Result<Arc<DebugDir>> {
    let root = with(|parts| -> Result<_> {
        if let (None, Some(name)) = (&parts.debug_dir, parts.debug_name) {
            parts.debug_dir = Some(DebugDir::new(name, None)?);
        }
        Ok(parts.debug_dir.clone())
    });

    DebugDir::new(dev.name(), root.unwrap_or(Ok(None))?)
}

/// A reference to a workqueue, which is not destroyed while this exists.
///
/// # Invariants
///
/// `queue` is live: a workqueue of the system, or one of [`Parts`], which counts this in `users`.
pub(super) struct QueueRef {
    queue: NonNull<workqueue_struct>,
    /// Whether `users` counts this.
    counted: bool,
}

// SAFETY: `struct workqueue_struct` can be used from any thread.
unsafe impl Send for QueueRef {}

// SAFETY: As above; `struct workqueue_struct` has its own lock.
unsafe impl Sync for QueueRef {}

impl QueueRef {
    /// Returns a reference to the workqueue that `queue` names, or to `system_freezable_wq` if the
    /// module has no workqueues.
    ///
    /// Process context.
    pub(super) fn new(queue: Queue) -> Self {
        let own = with(|parts| {
            let own = match queue {
                Queue::Events => None,
                Queue::Recovery => parts.recovery,
                Queue::Awake => parts.awake,
            };

            if own.is_some() {
                parts.users += 1;
            }
            own
        })
        .flatten();

        let counted = own.is_some();
        let queue = own.unwrap_or_else(|| {
            // SAFETY: The kernel has set the pointer, to no null, before it loads a module.
            unsafe { NonNull::new_unchecked(kernel::bindings::system_freezable_wq) }
        });

        // INVARIANT: A workqueue of the module was counted, and one of the system is live for ever.
        Self { queue, counted }
    }

    /// Returns the C workqueue.
    pub(super) fn as_ptr(&self) -> *mut workqueue_struct {
        self.queue.as_ptr()
    }
}

impl Drop for QueueRef {
    fn drop(&mut self) {
        if self.counted {
            let _ = with(|parts| parts.users -= 1);
        }
    }
}
