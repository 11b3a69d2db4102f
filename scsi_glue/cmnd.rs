// SPDX-License-Identifier: GPL-2.0

//! The SCSI command, looked at.
//!
//! # Misuse that does not compile
//!
//! In `examples/scsi_null/misuse/`: a callback that keeps the command it is lent (E0621, E0521),
//! moves out of it (E0507), completes it (E0599) or uses its data (E0599). A [`Cmnd`] of another
//! kind of host is another type (E0308).
//!
//! C header: [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h)

use super::{
    bindings,
    device::{
        Device,
        OWN, //
    },
    host_data::hold_units_of,
    pdu::{
        CommandData,
        Pdu, //
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
    time::Jiffies,
    types::Opaque, //
};

/// A command: `struct scsi_cmnd`.
///
/// This is only ever lent. [`OwnedCmnd`] is a command that the driver owns.
///
/// # Invariants
///
/// It is a valid command of a host whose commands hold `D`. Its device is valid, and so is its
/// request, which precedes it in memory, and its private area, which follows.
///
/// [`OwnedCmnd`]: super::OwnedCmnd
#[repr(transparent)]
pub struct Cmnd<D: CommandData> {
    inner: Opaque<bindings::scsi_cmnd>,
    _data: PhantomData<fn() -> D>,
}

impl<D: CommandData> Cmnd<D> {
    /// Makes a reference to a C command.
    ///
    /// # Safety
    ///
    /// `cmd` must satisfy the type invariant for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(cmd: NonNull<bindings::scsi_cmnd>) -> &'a Self {
        // CAST: `Self` is transparent to `scsi_cmnd`.
        //
        // SAFETY: The caller guarantees the type invariant for `'a`.
        unsafe { cmd.cast::<Self>().as_ref() }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::scsi_cmnd {
        self.inner.get()
    }

    #[inline]
    pub(super) fn pdu(&self) -> *mut Pdu<D> {
        // SAFETY: The address of a reference is not null, and by the type invariant the command is
        // one of a host whose commands hold `D`.
        unsafe { Pdu::of(NonNull::new_unchecked(self.as_raw())) }.as_ptr()
    }

    /// Returns whether the driver owns the command.
    pub(super) fn is_owned(&self) -> bool {
        // SAFETY: By the type invariant the area is valid.
        unsafe { (*self.pdu()).owned.get() }
    }

    /// Returns the device that it is for.
    #[inline]
    pub fn device(&self) -> &Device<D> {
        // SAFETY: By the type invariant the device is valid. The midlayer sends no command to a
        // device before `sdev_init` has returned, so it is initialised.
        unsafe { Device::from_raw((*self.as_raw()).device) }
    }

    /// Returns whether it is for `device`.
    pub fn is_for(&self, device: &Device<D>) -> bool {
        ptr::eq(self.device(), device)
    }

    /// Returns the target that it is for.
    #[inline]
    pub fn target(&self) -> u32 {
        self.device().target()
    }

    /// Returns the logical unit that it is for, as the midlayer numbers them.
    #[inline]
    pub fn lun(&self) -> u64 {
        self.device().lun()
    }

    /// Returns the number of its hardware queue: the upper half of [`Cmnd::unique_tag`].
    #[inline]
    pub fn queue(&self) -> u32 {
        // SAFETY: By the type invariant the request is valid.
        let hctx = unsafe { (*self.block_request()).mq_hctx };

        if hctx.is_null() {
            return 0;
        }

        // SAFETY: The request is on a queue, which stays as long as the request.
        unsafe { (*hctx).queue_num }
    }

    /// Returns the number of its hardware queue, in the upper 16 bits, and its tag there, in the
    /// lower 16 (`blk_mq_unique_tag()`). No other command in flight has the same.
    ///
    /// 0 for a command that was made to reset something, and is on no queue.
    #[inline]
    pub fn unique_tag(&self) -> u32 {
        // SAFETY: By the type invariant the request is valid.
        let (hctx, tag) = unsafe { ((*self.block_request()).mq_hctx, (*self.block_request()).tag) };

        if hctx.is_null() {
            return 0;
        }

        // In line what `blk_mq_unique_tag()` does. CAST: The tag has 16 bits.
        //
        // SAFETY: The request is on a queue, which stays as long as the request.
        unsafe { (*hctx).queue_num << 16 | u32::from(tag as u16) }
    }

    /// Returns the part of its private area that only the driver uses.
    #[inline]
    pub fn private(&self) -> &D::Private {
        // SAFETY: By the type invariant the area is valid. `private` is never borrowed for writing.
        unsafe { &(*self.pdu()).private }
    }

    /// Returns its request of the block layer: `scsi_cmd_to_rq()`.
    #[inline]
    pub(super) fn block_request(&self) -> *mut kernel::bindings::request {
        self.as_raw()
            .cast::<kernel::bindings::request>()
            .wrapping_sub(1)
    }

    /// Returns its timeout, in jiffies.
    pub fn timeout(&self) -> Jiffies {
        // SAFETY: By the type invariant the request is valid.
        let timeout = unsafe { (*self.block_request()).timeout };

        // CAST: A `Jiffies` has 32 bits or more.
        timeout as Jiffies
    }

    /// Returns the flags of its request, `cmd_flags`.
    #[inline]
    fn request_flags(&self) -> u32 {
        // SAFETY: By the type invariant the request is valid.
        unsafe { (*self.block_request()).cmd_flags }
    }

    /// Returns whether its submitter prefers an early transport error to a retry
    /// (`REQ_FAILFAST_TRANSPORT`), to try another path. Not for readahead, which has the flag for
    /// another reason.
    pub fn is_failfast(&self) -> bool {
        const FAILFAST: u32 = 1 << kernel::bindings::req_flag_bits___REQ_FAILFAST_TRANSPORT;
        const READAHEAD: u32 = 1 << kernel::bindings::req_flag_bits___REQ_RAHEAD;

        self.request_flags() & (FAILFAST | READAHEAD) == FAILFAST
    }

    /// Returns whether it was made by the midlayer, an upper-level driver or a user for what it
    /// answers, and is no read or write of a block device: `blk_rq_is_passthrough()`.
    #[inline]
    pub fn is_passthrough(&self) -> bool {
        // No operation has a greater number than the two for such commands.
        const FIRST: u8 = kernel::bindings::req_op_REQ_OP_DRV_IN as u8;
        const _: () = assert!(kernel::bindings::REQ_OP_BITS == u8::BITS);

        // CAST: The operation is in the lowest bits.
        self.request_flags() as u8 >= FIRST
    }

    /// Returns whether [`Device::execute`] has submitted it (`REQ_DRV`).
    pub fn is_own(&self) -> bool {
        self.request_flags() & OWN != 0
    }

    /// Makes it time out now (`blk_abort_request()`), or does nothing if it is on no queue. Any
    /// context.
    pub fn abort_request(&self) {
        let request = self.block_request();

        // SAFETY: By the type invariant the request is valid. A command that was made to reset
        // something is for no request queue.
        if unsafe { (*request).q.is_null() } {
            return;
        }

        // SAFETY: By the type invariant the request is valid, and it is for a request queue, whose
        // timeout work does not find it if it is completed meanwhile.
        unsafe { kernel::bindings::blk_abort_request(request) };
    }

    /// Returns whether `predicate` is true for any command of the same host that the midlayer has
    /// started, and that has not ended yet: [`Host::any_in_flight`] for the callbacks of error
    /// handling.
    ///
    /// [`Host::any_in_flight`]: super::Host::any_in_flight
    pub fn any_in_flight(&self, predicate: impl FnMut(&Cmnd<D>) -> bool) -> bool {
        let host = self.device().host();

        // SAFETY: The host is valid, because the device is. It may be removed at any time.
        let Some(units) = (unsafe { hold_units_of(host) }) else {
            return false;
        };

        units
            .with_tags(|| {
                // SAFETY: The host is valid, its commands hold `D`, as this one does, and its tags
                // stay.
                unsafe { any_in_flight(host, predicate) }
            })
            .unwrap_or(false)
    }

    /// Returns how often it was retried.
    pub fn retries(&self) -> u32 {
        // SAFETY: By the type invariant the command is valid.
        let retries = unsafe { (*self.as_raw()).retries };

        u32::try_from(retries).unwrap_or(0)
    }
}

/// Returns whether `predicate` is true for any command of a host that the midlayer has started, and
/// that has not ended yet: `scsi_host_busy_iter()`.
///
/// # Safety
///
/// `shost` must be a valid host whose commands hold `D`, and whose tags are not freed during the
/// call.
pub(super) unsafe fn any_in_flight<D: CommandData, F: FnMut(&Cmnd<D>) -> bool>(
    shost: *mut bindings::Scsi_Host,
    predicate: F,
) -> bool {
    /// The argument of [`visit`].
    struct Search<F> {
        predicate: F,
        found: bool,
    }

    /// # Safety
    ///
    /// Called by `scsi_host_busy_iter()` below, for each command, with a valid command of a host
    /// whose commands hold `D`, to whose request the block layer holds a reference, and with the
    /// `Search<F>` of the caller.
    unsafe extern "C" fn visit<D: CommandData, F: FnMut(&Cmnd<D>) -> bool>(
        cmd: *mut bindings::scsi_cmnd,
        search: *mut c_void,
    ) -> bool {
        // SAFETY: `search` is the object on the stack of `any_in_flight`, which only this function
        // uses.
        let search = unsafe { &mut *search.cast::<Search<F>>() };

        if let Some(cmd) = NonNull::new(cmd) {
            // SAFETY: The command is valid during this call, because the block layer holds its
            // request.
            search.found |= (search.predicate)(unsafe { Cmnd::from_raw(cmd) });
        }
        !search.found
    }

    let mut search = Search {
        predicate,
        found: false,
    };

    // SAFETY: The caller guarantees that the host is valid, with tags and with commands that hold
    // `D`. `visit` is called during this call only.
    unsafe {
        bindings::scsi_host_busy_iter(shost, Some(visit::<D, F>), (&raw mut search).cast());
    }
    search.found
}
