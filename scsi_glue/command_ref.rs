// SPDX-License-Identifier: GPL-2.0

//! A SCSI command that is only looked at.
//!
//! C header: [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h)

use super::{
    bindings,
    command::Area,
    driver::Driver, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::ffi::c_void;

/// A command that is only looked at: one that error handling is about, or somebody else's.
///
/// # Invariants
///
/// `cmd` is a valid command of a host of `T` for `'a`.
pub struct CommandRef<'a, T: Driver> {
    pub(super) cmd: NonNull<bindings::scsi_cmnd>,
    _driver: PhantomData<&'a Area<T>>,
}

impl<'a, T: Driver> CommandRef<'a, T> {
    /// Makes it of a C command.
    ///
    /// # Safety
    ///
    /// The type invariant must hold for the lifetime the caller chooses.
    pub(super) unsafe fn from_ptr(cmd: NonNull<bindings::scsi_cmnd>) -> Self {
        // INVARIANT: By the safety requirements of this function.
        Self {
            cmd,
            _driver: PhantomData,
        }
    }

    #[inline]
    fn device(&self) -> *mut bindings::scsi_device {
        // SAFETY: By the type invariant the command is valid.
        unsafe { (*self.cmd.as_ptr()).device }
    }

    /// Returns the target that it is for.
    #[inline]
    pub fn target(&self) -> u32 {
        // SAFETY: A command has a valid device.
        unsafe { (*self.device()).id }
    }

    /// Returns the logical unit that it is for, as the midlayer numbers them.
    #[inline]
    pub fn lun(&self) -> u64 {
        // SAFETY: A command has a valid device.
        unsafe { (*self.device()).lun }
    }

    /// Returns the number of its hardware queue.
    pub fn queue(&self) -> u32 {
        self.unique_tag() >> kernel::bindings::BLK_MQ_UNIQUE_TAG_BITS
    }

    /// Returns the number of its hardware queue, in the upper 16 bits, and its tag there, in the
    /// lower 16. No other command in flight has the same.
    ///
    /// 0 for a command that was made to reset something, and is on no queue.
    #[inline]
    pub fn unique_tag(&self) -> u32 {
        // SAFETY: By the type invariant the command is valid; it follows its request.
        let request = unsafe { self.cmd.cast::<kernel::bindings::request>().as_ptr().sub(1) };

        // SAFETY: The request is valid.
        if unsafe { (*request).mq_hctx.is_null() } {
            return 0;
        }

        // SAFETY: The request is valid, and on a queue.
        unsafe { kernel::bindings::blk_mq_unique_tag(request) }
    }

    /// Returns what the driver keeps with the command, which others may look at, too.
    #[inline]
    pub fn private(&self) -> &'a T::Private {
        // SAFETY: By the type invariant the command is valid for `'a`, and so is its area.
        unsafe { &(*Area::<T>::of(self.cmd).as_ptr()).private }
    }

    /// Returns whether any command of the same host that the midlayer has handed to the driver and
    /// not got back yet is as `predicate` says.
    ///
    /// Any context that can sleep. Commands come and go meanwhile.
    pub fn any_in_flight(&self, predicate: impl FnMut(CommandRef<'_, T>) -> bool) -> bool {
        // SAFETY: A command has a valid device, which has a valid host, of `T`.
        unsafe { any_in_flight((*self.device()).host, predicate) }
    }
}

/// Returns whether any command of a host that the midlayer has handed to the driver and not got
/// back yet is as `predicate` says.
///
/// # Safety
///
/// `shost` must be a valid host of `T`.
pub(super) unsafe fn any_in_flight<T: Driver, F: FnMut(CommandRef<'_, T>) -> bool>(
    shost: *mut bindings::Scsi_Host,
    predicate: F,
) -> bool {
    /// What [`visit`] is called with.
    struct Search<F> {
        predicate: F,
        found: bool,
    }

    /// # Safety
    ///
    /// `cmd` must be a valid command of a host of `T`, and `search` a `Search<F>` that nobody else
    /// uses.
    unsafe extern "C" fn visit<T: Driver, F: FnMut(CommandRef<'_, T>) -> bool>(
        cmd: *mut bindings::scsi_cmnd,
        search: *mut c_void,
    ) -> bool {
        // SAFETY: By the safety requirements of this function.
        let search = unsafe { &mut *search.cast::<Search<F>>() };

        if let Some(cmd) = NonNull::new(cmd) {
            // SAFETY: The block layer keeps the command for as long as it visits it.
            search.found |= (search.predicate)(unsafe { CommandRef::from_ptr(cmd) });
        }
        !search.found
    }

    let mut search = Search {
        predicate,
        found: false,
    };

    // SAFETY: By the safety requirements of this function the host is valid. `visit` is called with
    // its commands and with `search`, during this call only.
    unsafe {
        bindings::scsi_host_busy_iter(shost, Some(visit::<T, F>), (&raw mut search).cast());
    }
    search.found
}
