// SPDX-License-Identifier: GPL-2.0

//! A SCSI command that is only looked at.
//!
//! C header: [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h)

use super::{
    bindings,
    command::Area,
    driver::Driver,
    host_data::hold_shared_of,
    logical_unit::{
        LogicalUnit,
        OWN, //
    },
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    ffi::c_void,
    time::Jiffies, //
};

/// The mark of a device that is gone. See `helpers.h`.
const CONDEMNED: usize = bindings::scsi_helper_mark_SCSI_HELPER_CONDEMNED as usize;

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

    /// Returns whether it is for a logical unit.
    pub fn is_for(&self, unit: &LogicalUnit) -> bool {
        ptr::eq(self.device(), unit.as_ptr().as_ptr())
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
        let request = self.request().as_ptr();

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

    /// Returns its request of the block layer.
    #[inline]
    fn request(&self) -> NonNull<kernel::bindings::request> {
        // SAFETY: By the type invariant the command is valid; it follows its request.
        unsafe { self.cmd.cast::<kernel::bindings::request>().sub(1) }
    }

    /// Returns its time-out, in jiffies.
    pub fn timeout(&self) -> Jiffies {
        // SAFETY: By the type invariant the command is valid, and so is its request.
        let timeout = unsafe { (*self.request().as_ptr()).timeout };

        // CAST: A `Jiffies` has 32 bits or more.
        timeout as Jiffies
    }

    /// Returns whether its sender wants to hear soon of a way to the target that does not work
    /// (`REQ_FAILFAST_TRANSPORT`), to try another. Readahead is not meant, which may fail for any reason.
    pub fn is_failfast(&self) -> bool {
        const FAILFAST: u32 = 1 << kernel::bindings::req_flag_bits___REQ_FAILFAST_TRANSPORT;
        const READAHEAD: u32 = 1 << kernel::bindings::req_flag_bits___REQ_RAHEAD;

        // SAFETY: By the type invariant the command is valid, and so is its request.
        let flags = unsafe { (*self.request().as_ptr()).cmd_flags };

        flags & (FAILFAST | READAHEAD) == FAILFAST
    }

    /// Returns whether the driver has sent it by [`LogicalUnit::execute`].
    ///
    /// [`LogicalUnit::execute`]: super::LogicalUnit::execute
    pub fn is_own(&self) -> bool {
        // SAFETY: By the type invariant the command is valid, and so is its request.
        let flags = unsafe { (*self.request().as_ptr()).cmd_flags };

        flags & OWN != 0
    }

    /// Returns whether it is for a logical unit that is gone: see [`LogicalUnit::condemn`].
    ///
    /// [`LogicalUnit::condemn`]: super::LogicalUnit::condemn
    #[inline]
    pub fn is_condemned(&self) -> bool {
        // SAFETY: A command has a valid device.
        let hostdata = unsafe { &raw const (*self.device()).hostdata };

        // SAFETY: As above. Another thread may set it at any time.
        unsafe { hostdata.read_volatile() }.addr() == CONDEMNED
    }

    /// Has the midlayer ask for an abort of the command again, if it did so before: forgets what error handling
    /// has noted, as `scsi_prepare_cmd()` does for a command that is not one that is tried again.
    ///
    /// For the handler of time-outs: the command is not being aborted.
    pub fn allow_abort(&self) {
        // SAFETY: By the type invariant the command is valid. Only its time-out, which is being handled, and
        // error handling, which has not got it, use the flags.
        unsafe { (*self.cmd.as_ptr()).eh_eflags = 0 };
    }

    /// Has its time-out come now, whatever is left of it. Any context.
    pub fn expire(&self) {
        // SAFETY: By the type invariant the command is valid, and so is its request. Its time-out is looked at
        // by a work of its queue; a command that is completed meanwhile is not found there.
        unsafe { kernel::bindings::blk_abort_request(self.request().as_ptr()) };
    }

    /// Returns how often it was tried again.
    pub fn retries(&self) -> u32 {
        // SAFETY: By the type invariant the command is valid.
        let retries = unsafe { (*self.cmd.as_ptr()).retries };

        u32::try_from(retries).unwrap_or(0)
    }

    /// Returns how many commands of its logical unit have ended well, or fewer: what the midlayer counts as done,
    /// without errors and without time-outs, one of which may have had no end yet. It is a number to compare.
    pub fn unit_successes(&self) -> i32 {
        let count = |counter: *const kernel::bindings::atomic_t| {
            // SAFETY: A command has a valid device. Others change the number at the same time.
            unsafe { (&raw const (*counter).counter).read_volatile() }
        };
        let sdev = self.device();

        // SAFETY: A command has a valid device, so the addresses are in bounds.
        let (done, errors, timeouts) = unsafe {
            (
                &raw const (*sdev).iodone_cnt,
                &raw const (*sdev).ioerr_cnt,
                &raw const (*sdev).iotmo_cnt,
            )
        };

        count(done)
            .wrapping_sub(count(errors))
            .wrapping_sub(count(timeouts))
    }

    /// Takes its logical unit offline: what is sent to it from here on fails.
    ///
    /// Process context.
    pub fn take_unit_offline(&self) {
        // SAFETY: A command has a valid device.
        unsafe { bindings::scsi_helper_set_offline(self.device()) };
    }

    /// Returns whether any command of the same host that the midlayer has handed to the driver and
    /// not got back yet is as `predicate` says.
    ///
    /// Any context that can sleep. Commands come and go meanwhile. `predicate` must not sleep.
    pub fn any_in_flight(&self, predicate: impl FnMut(CommandRef<'_, T>) -> bool) -> bool {
        // SAFETY: A command has a valid device, which has a valid host, of `T`.
        let host = unsafe { (*self.device()).host };

        // SAFETY: As above.
        let Some(shared) = (unsafe { hold_shared_of::<T>(host) }) else {
            return false;
        };

        shared
            .with_tags(|| {
                // SAFETY: The host is valid, and one of `T`, and its tags stay.
                unsafe { any_in_flight(host, predicate) }
            })
            .unwrap_or(false)
    }
}

/// Returns whether any command of a host that the midlayer has handed to the driver and not got
/// back yet is as `predicate` says.
///
/// # Safety
///
/// `shost` must be a valid host of `T`, whose tags are not freed during the call.
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
