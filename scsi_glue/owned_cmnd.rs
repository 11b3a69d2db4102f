// SPDX-License-Identifier: GPL-2.0

//! The SCSI command, owned.
//!
//! # Misuse that does not compile
//!
//! In `examples/scsi_null/misuse/`: a command that is completed twice (E0382), used after it was
//! put on a list (E0382), completed while its data or its device are borrowed (E0505), written
//! while its data are borrowed (E0502), duplicated (E0308), made from nothing (E0451) or shared
//! between threads (E0277).
//!
//! C header: [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h)

use super::{
    bindings,
    cmnd::Cmnd,
    pdu::{
        CommandData,
        Pdu, //
    },
    status::{
        HostStatus,
        Sense, //
    },
};
use crate::kernel_glue::{
    DeviceBuffer,
    EvenToken,
    RcuSection,
    Segments,
    Token,
    WritableSegments, //
};
use core::{
    marker::PhantomData,
    mem::{
        size_of,
        ManuallyDrop, //
    },
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    sync::rcu, //
};

/// A command that the driver owns: a `struct scsi_cmnd` between `queuecommand` and `scsi_done()`.
///
/// Dropping it completes it with [`HostStatus::Error`].
///
/// # Invariants
///
/// `cmd` is a valid command of a host whose commands hold `D`, which the midlayer has handed to the
/// driver and which the driver has not given back. Its request is on a hardware queue. Its
/// `Pdu::owned` is set. There is no other `OwnedCmnd` of it.
pub struct OwnedCmnd<D: CommandData> {
    cmd: NonNull<bindings::scsi_cmnd>,
    _data: PhantomData<fn() -> D>,
}

// SAFETY: A command may be completed by any thread, and `Request` and `Private` are `Send`.
unsafe impl<D: CommandData> Send for OwnedCmnd<D> {}

// SAFETY: `from_raw` makes the command again of the address that `into_raw` has given out. The
// block layer has allocated its private area, with the requests of the tag set, from pages of the
// linear mapping. The area and the data stay in place until the command is completed, for which one
// needs the `OwnedCmnd`.
unsafe impl<D: CommandData> Token for OwnedCmnd<D> {
    #[inline]
    fn memory(&self) -> (*const u8, usize) {
        (self.pdu().cast_const().cast(), size_of::<Pdu<D>>())
    }

    #[inline]
    fn into_raw(self) -> NonNull<c_void> {
        self.into_ptr().cast()
    }

    #[inline]
    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: `ptr` comes from `into_raw`, which gave up an `OwnedCmnd` of it, and this is
        // called once for it.
        unsafe { Self::from_ptr(ptr.cast()) }
    }
}

// SAFETY: `struct scsi_cmnd` contains pointers, so its alignment is even.
unsafe impl<D: CommandData> EvenToken for OwnedCmnd<D> {}

impl<D: CommandData> Deref for OwnedCmnd<D> {
    type Target = Cmnd<D>;

    #[inline]
    fn deref(&self) -> &Cmnd<D> {
        // SAFETY: By the type invariant the command is valid while `self` is there.
        unsafe { Cmnd::from_raw(self.cmd) }
    }
}

/// The room for a CDB in a command, in bytes: the size of `cmnd` in `struct scsi_cmnd`.
const CDB_MAX: usize = 32;

impl<D: CommandData> OwnedCmnd<D> {
    /// Makes the owned command of a C command.
    ///
    /// # Safety
    ///
    /// `cmd` must satisfy the type invariant.
    #[inline]
    pub(super) unsafe fn from_ptr(cmd: NonNull<bindings::scsi_cmnd>) -> Self {
        // INVARIANT: The caller guarantees it.
        Self {
            cmd,
            _data: PhantomData,
        }
    }

    /// Gives up the object, not the ownership.
    #[inline]
    pub(super) fn into_ptr(self) -> NonNull<bindings::scsi_cmnd> {
        ManuallyDrop::new(self).cmd
    }

    /// Gives the command back to the midlayer without completing it.
    pub(super) fn give_back(self) {
        // SAFETY: By the type invariant the area is valid.
        unsafe { (*self.pdu()).owned.set(false) };
        let _ = self.into_ptr();
    }

    /// Gives the command back to the midlayer and completes it with the result that it has. For
    /// `_rcu` see `Owned`.
    #[inline]
    fn done(self, _rcu: RcuSection<'_>) {
        // SAFETY: By the type invariant the area is valid.
        unsafe { (*self.pdu()).owned.set(false) };

        // SAFETY: By the type invariant the command is valid, and the driver owned it. `self` is
        // gone.
        unsafe { bindings::scsi_done(self.into_ptr().as_ptr()) };
    }

    /// Returns the number of its hardware queue: the upper half of [`OwnedCmnd::unique_tag`].
    #[inline]
    pub fn queue(&self) -> u32 {
        // SAFETY: By the type invariant the request is on a queue, which stays as long as it.
        unsafe { (*(*self.block_request()).mq_hctx).queue_num }
    }

    /// Returns what [`Cmnd::unique_tag`] does, of a command that is on a queue.
    #[inline]
    pub fn unique_tag(&self) -> u32 {
        // SAFETY: By the type invariant the request is valid.
        let tag = unsafe { (*self.block_request()).tag };

        // CAST: The tag has 16 bits.
        self.queue() << 16 | u32::from(tag as u16)
    }

    /// Returns the length of its CDB, in bytes.
    #[inline]
    pub fn cdb_len(&self) -> usize {
        // SAFETY: By the type invariant the command is valid.
        unsafe { (*self.as_raw()).cmd_len }.into()
    }

    /// Returns the CDB.
    #[inline]
    pub fn cdb(&self) -> &[u8] {
        // SAFETY: By the type invariant the command is valid. The midlayer does not change the CDB
        // while the driver owns the command.
        let (cdb, len) = unsafe { (&(*self.as_raw()).cmnd, (*self.as_raw()).cmd_len) };

        cdb.get(..len.into()).unwrap_or(cdb)
    }

    /// Returns whether the device has to be notified now, because neither another command nor a
    /// [`Driver::commit_rqs`] follows.
    ///
    /// The midlayer marks the last of a batch (`SCMD_LAST`), and does not mark what it sends for
    /// error handling.
    ///
    /// [`Driver::commit_rqs`]: super::Driver::commit_rqs
    #[inline]
    pub fn is_last(&self) -> bool {
        // SAFETY: By the type invariant the command is valid.
        let (flags, submitter) = unsafe { ((*self.as_raw()).flags, (*self.as_raw()).submitter) };

        flags & bindings::SCMD_LAST as c_int != 0
            || submitter != bindings::scsi_cmnd_submitter_SUBMITTED_BY_BLOCK_LAYER
    }

    /// Returns the part of its private area that the device reads.
    #[inline]
    pub fn request(&self) -> &D::Request {
        // SAFETY: By the type invariant the area is valid. `self` is borrowed for as long as the
        // request.
        unsafe { &(*self.pdu()).request }
    }

    /// Returns the scatterlist of that part, as long as [`Driver::lengths`] says.
    ///
    /// [`Driver::lengths`]: super::Driver::lengths
    #[inline]
    pub fn request_segments(&self) -> Segments<'_> {
        // SAFETY: By the type invariant of `Pdu` this is a terminated scatterlist of the request,
        // which nobody writes while `self` is borrowed.
        unsafe { Segments::from_raw((*self.pdu()).request_list.as_raw()) }
    }

    /// Lets `fill` write the part of the private area that the device reads. `fill` gets the CDB,
    /// too, which the midlayer has filled up with zeroes.
    #[inline]
    pub fn prepare(&mut self, fill: impl FnOnce(&mut D::Request, &[u8; CDB_MAX])) {
        // SAFETY: By the type invariant the area is valid. `self` is borrowed for as long as the
        // request, so the command is not on a virtqueue. The CDB is no part of the request.
        let request = unsafe { &mut (*self.pdu()).request };

        // SAFETY: By the type invariant the command is valid. The midlayer does not change the CDB
        // while the driver owns the command.
        fill(request, unsafe { &(*self.as_raw()).cmnd });
    }

    /// Returns the part of its private area that the device writes.
    #[inline]
    pub fn response(&self) -> &DeviceBuffer<D::Response> {
        // SAFETY: By the type invariant the area is valid. `self` is borrowed for as long as the
        // response.
        unsafe { &(*self.pdu()).response }
    }

    /// Returns the scatterlist of that part, as long as [`Driver::lengths`] says.
    ///
    /// [`Driver::lengths`]: super::Driver::lengths
    #[inline]
    pub fn response_segments(&self) -> WritableSegments<'_> {
        // SAFETY: By the type invariant of `Pdu` this is a terminated scatterlist of the response.
        // The area stays while `self` is borrowed, and a `DeviceBuffer` lends out no reference to
        // what the device writes.
        unsafe { WritableSegments::from_raw((*self.pdu()).response_list.as_raw()) }
    }

    /// Returns the part of its private area that the device writes, to be preset.
    #[inline]
    pub fn response_mut(&mut self) -> &mut DeviceBuffer<D::Response> {
        // SAFETY: As in `prepare`.
        unsafe { &mut (*self.pdu()).response }
    }

    /// Restarts the time for which the midlayer retries the command.
    pub fn renew(&mut self) {
        // SAFETY: By the type invariant the command is valid and the driver's.
        unsafe { bindings::scsi_helper_renew(self.as_raw()) };
    }

    /// Copies sense data from the response, `len` bytes from byte `offset` on, as far as there is
    /// room, and returns the copy.
    pub fn copy_sense(&mut self, offset: usize, len: usize) -> &[u8] {
        let len = len.min(bindings::SCSI_SENSE_BUFFERSIZE as usize);

        // SAFETY: By the type invariant the command is valid. Its sense buffer has
        // `SCSI_SENSE_BUFFERSIZE` bytes, which belong to the driver until the command is completed.
        let sense = unsafe { core::slice::from_raw_parts_mut((*self.as_raw()).sense_buffer, len) };

        self.response().copy_to(offset, sense);
        sense
    }

    /// Completes it with the status of the host adapter and the SCSI status byte of the target:
    /// `scsi_done()`.
    ///
    /// Any context. Better not under a lock, as completion in the block layer runs here.
    #[inline]
    pub fn complete(self, host: HostStatus, status: u8) {
        self.complete_within((&rcu::read_lock()).into(), host, status);
    }

    /// Completes it as [`Self::complete`] does, within a section that the caller is in.
    #[inline]
    pub fn complete_within(self, rcu: RcuSection<'_>, host: HostStatus, status: u8) {
        // CAST: The status is in bits 0 to 7, the host status, which is less than 256, in bits 16
        // to 23.
        let result = ((host.as_raw() << 16) | u32::from(status)) as c_int;

        // SAFETY: By the type invariant the command is valid and the driver's.
        unsafe { (*self.as_raw()).result = result };
        self.done(rcu);
    }

    /// Completes it with CHECK CONDITION and sense data of the driver's own: `scsi_build_sense()`.
    ///
    /// Any context.
    pub fn complete_with_sense(self, sense: Sense) {
        // `scsi_build_sense()` sets the status byte only.
        //
        // SAFETY: By the type invariant the command is valid and the driver's.
        unsafe {
            (*self.as_raw()).result = 0;
            bindings::scsi_build_sense(self.as_raw(), 0, sense.key, sense.asc, sense.ascq);
        }
        self.done((&rcu::read_lock()).into());
    }
}

impl<D: CommandData> Drop for OwnedCmnd<D> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the driver owns the command. `self` is not used again.
        unsafe { Self::from_ptr(self.cmd) }.complete(HostStatus::Error, 0);
    }
}
