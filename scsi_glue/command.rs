// SPDX-License-Identifier: GPL-2.0

//! The SCSI command.
//!
//! C header: [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h)

use super::{
    bindings,
    command_ref::CommandRef,
    driver::Driver,
    status::{
        HostStatus,
        Sense, //
    },
};
use crate::virtio_glue::{
    DeviceBuffer,
    EvenToken,
    Segments,
    Token, //
};
use core::{
    cell::Cell,
    marker::PhantomData,
    mem::{
        align_of,
        needs_drop,
        size_of,
        ManuallyDrop, //
    },
    ptr::NonNull, //
};
use kernel::{
    dma,
    ffi::{
        c_int,
        c_void, //
    },
};

/// Which way the data of a command goes: `enum dma_data_direction`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataDirection {
    /// There is no data.
    None,
    /// From the initiator to the target.
    ToDevice,
    /// From the target to the initiator.
    FromDevice,
    /// Both. The midlayer does not make such commands any more.
    Bidirectional,
}

/// The private area of a command, behind the C structure.
///
/// It is made once for each command the host can have, and is not cleared between uses.
#[repr(C)]
pub(super) struct Area<T: Driver> {
    /// The next command of the [`CommandList`] that this one is on.
    ///
    /// [`CommandList`]: super::CommandList
    pub(super) next: Cell<Option<NonNull<bindings::scsi_cmnd>>>,
    /// What the device reads.
    request: T::Request,
    /// What the device writes.
    response: DeviceBuffer<T::Response>,
    /// What it does not see.
    pub(super) private: T::Private,
}

impl<T: Driver> Area<T> {
    /// The size that the midlayer has to set aside, in bytes.
    ///
    /// Behind it the midlayer keeps a scatterlist, whose alignment it must not spoil.
    pub(super) const SIZE: u32 = {
        // The C structure is followed by the area with no regard to more alignment than its own.
        assert!(align_of::<Self>() <= align_of::<bindings::scsi_cmnd>());
        assert!(size_of::<Self>() % align_of::<kernel::bindings::scatterlist>() == 0);
        assert!(size_of::<Self>() < u32::MAX as usize);
        // Nobody drops it.
        assert!(!needs_drop::<T::Request>() && !needs_drop::<T::Private>());
        size_of::<Self>() as u32
    };

    /// Returns the area of a command.
    ///
    /// # Safety
    ///
    /// `cmd` must be a command of a host of `T`.
    #[inline]
    pub(super) unsafe fn of(cmd: NonNull<bindings::scsi_cmnd>) -> NonNull<Self> {
        // SAFETY: By the safety requirements of this function the area follows the command.
        unsafe { cmd.add(1) }.cast()
    }

    /// Makes the area of a new command.
    ///
    /// # Safety
    ///
    /// `cmd` must be a command of a host of `T` whose area is uninitialised.
    pub(super) unsafe fn init(cmd: NonNull<bindings::scsi_cmnd>) {
        let area = Self {
            next: Cell::new(None),
            request: T::Request::default(),
            response: DeviceBuffer::default(),
            private: T::Private::default(),
        };

        // SAFETY: By the safety requirements of this function the area is there and can be written.
        unsafe { Self::of(cmd).write(area) };
    }
}

/// A command that the driver owns: a `struct scsi_cmnd` between `queuecommand` and `scsi_done()`.
///
/// Dropping it completes it with [`HostStatus::Error`].
///
/// # Invariants
///
/// `cmd` is a valid command of a host of `T`, which the midlayer has handed to the driver and
/// which the driver has not completed. There is no other `Command` of it, and it is not on a
/// virtqueue.
pub struct Command<T: Driver> {
    cmd: NonNull<bindings::scsi_cmnd>,
    _driver: PhantomData<fn() -> T>,
}

// SAFETY: A command may be completed by any thread, and `Request` and `Private` are `Send`.
unsafe impl<T: Driver> Send for Command<T> {}

// SAFETY: While a command is on a virtqueue nobody touches what it owns, and the midlayer frees its
// data and its area only after it was completed. It is made again of its own address.
unsafe impl<T: Driver> Token for Command<T> {
    #[inline]
    fn into_raw(self) -> NonNull<c_void> {
        ManuallyDrop::new(self).cmd.cast()
    }

    #[inline]
    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: By the safety requirements of this function.
        unsafe { Self::from_ptr(ptr.cast()) }
    }
}

// SAFETY: `struct scsi_cmnd` has pointers in it, so its alignment is even.
unsafe impl<T: Driver> EvenToken for Command<T> {}

impl<T: Driver> Command<T> {
    /// Makes the owned command of a C command.
    ///
    /// # Safety
    ///
    /// The type invariant must hold.
    #[inline]
    pub(super) unsafe fn from_ptr(cmd: NonNull<bindings::scsi_cmnd>) -> Self {
        // INVARIANT: By the safety requirements of this function.
        Self {
            cmd,
            _driver: PhantomData,
        }
    }

    /// Gives up ownership.
    #[inline]
    pub(super) fn into_ptr(self) -> NonNull<bindings::scsi_cmnd> {
        ManuallyDrop::new(self).cmd
    }

    #[inline]
    fn area(&self) -> NonNull<Area<T>> {
        // SAFETY: By the type invariant `cmd` is a command of a host of `T`.
        unsafe { Area::of(self.cmd) }
    }

    /// Returns the command as something borrowed.
    #[inline]
    pub fn as_ref(&self) -> CommandRef<'_, T> {
        // SAFETY: The command is valid for as long as `self` is.
        unsafe { CommandRef::from_ptr(self.cmd) }
    }

    /// Returns whether it is for a logical unit that is gone, and must not be sent.
    #[inline]
    pub fn is_condemned(&self) -> bool {
        self.as_ref().is_condemned()
    }

    /// Returns the CDB.
    #[inline]
    pub fn cdb(&self) -> &[u8] {
        // SAFETY: By the type invariant the command is valid. The midlayer does not change the CDB
        // while the driver owns the command.
        let (cdb, len) = unsafe { (&(*self.cmd.as_ptr()).cmnd, (*self.cmd.as_ptr()).cmd_len) };

        cdb.get(..len.into()).unwrap_or(cdb)
    }

    /// Returns which way its data goes.
    #[inline]
    pub fn direction(&self) -> DataDirection {
        // SAFETY: By the type invariant the command is valid.
        let direction = unsafe { (*self.cmd.as_ptr()).sc_data_direction };

        if direction == dma::DataDirection::None.into() {
            DataDirection::None
        } else if direction == dma::DataDirection::ToDevice.into() {
            DataDirection::ToDevice
        } else if direction == dma::DataDirection::FromDevice.into() {
            DataDirection::FromDevice
        } else {
            DataDirection::Bidirectional
        }
    }

    /// Returns its data, if it has any, as the scatterlist that the midlayer made of it.
    #[inline]
    pub fn data(&self) -> Option<Segments<'_>> {
        // SAFETY: By the type invariant the command is valid.
        let sgl = unsafe { (*self.cmd.as_ptr()).sdb.table.sgl };

        // SAFETY: By the type invariant the command is valid. The midlayer terminates the list, and
        // keeps it and the data until the command is completed.
        NonNull::new(sgl).map(|sgl| unsafe { Segments::from_raw(sgl) })
    }

    /// Returns how many segments its data has.
    #[inline]
    pub fn segments(&self) -> u32 {
        // SAFETY: By the type invariant the command is valid.
        unsafe { (*self.cmd.as_ptr()).sdb.table.nents }
    }

    /// Returns its protection information, if it has any, as the scatterlist that the midlayer made
    /// of it.
    #[inline]
    pub fn protection(&self) -> Option<Segments<'_>> {
        // SAFETY: By the type invariant the command is valid.
        let prot_sdb = NonNull::new(unsafe { (*self.cmd.as_ptr()).prot_sdb })?;

        // SAFETY: The command is valid, and so is what it points to.
        let table = unsafe { &(*prot_sdb.as_ptr()).table };

        if table.nents == 0 {
            return None;
        }

        // SAFETY: As for `data`.
        NonNull::new(table.sgl).map(|sgl| unsafe { Segments::from_raw(sgl) })
    }

    /// Returns how many bytes of protection information it has.
    pub fn protection_len(&self) -> u32 {
        // SAFETY: By the type invariant the command is valid.
        unsafe { bindings::scsi_helper_protection_bytes(self.cmd.as_ptr()) }
    }

    /// Returns how many bytes of data it has.
    #[inline]
    pub fn data_len(&self) -> u32 {
        // SAFETY: By the type invariant the command is valid.
        unsafe { (*self.cmd.as_ptr()).sdb.length }
    }

    /// Returns whether the device has to be notified now, because no other command and no
    /// [`Driver::commit`] follows.
    ///
    /// The midlayer marks the last of a batch, and those it sends for error handling.
    #[inline]
    pub fn is_last(&self) -> bool {
        // SAFETY: By the type invariant the command is valid.
        let (flags, submitter) =
            unsafe { ((*self.cmd.as_ptr()).flags, (*self.cmd.as_ptr()).submitter) };

        flags & bindings::SCMD_LAST as c_int != 0
            || submitter != bindings::scsi_cmnd_submitter_SUBMITTED_BY_BLOCK_LAYER
    }

    /// Returns what the device reads, to be read.
    #[inline]
    pub fn request(&self) -> &T::Request {
        // SAFETY: The area is valid, and only borrowed as `self` is.
        unsafe { &(*self.area().as_ptr()).request }
    }

    /// Has `fill` write what the device reads, of the CDB among other things.
    #[inline]
    pub fn prepare(&mut self, fill: impl FnOnce(&mut T::Request, &[u8])) {
        // SAFETY: The area is valid, and only borrowed as `self` is. It is not on a virtqueue. The
        // CDB is not a part of it.
        let request = unsafe { &mut (*self.area().as_ptr()).request };

        fill(request, self.cdb());
    }

    /// Returns the memory that the device writes its response to.
    #[inline]
    pub fn response(&self) -> &DeviceBuffer<T::Response> {
        // SAFETY: The area is valid, and only borrowed as `self` is.
        unsafe { &(*self.area().as_ptr()).response }
    }

    /// Returns the memory that the device writes its response to, to be preset.
    #[inline]
    pub fn response_mut(&mut self) -> &mut DeviceBuffer<T::Response> {
        // SAFETY: The area is valid, and only borrowed as `self` is. It is not on a virtqueue.
        unsafe { &mut (*self.area().as_ptr()).response }
    }

    /// Sets the residual: how many bytes were not transferred. More than there are is all.
    #[inline]
    pub fn set_residual(&mut self, bytes: u32) {
        let bytes = bytes.min(self.data_len());

        // SAFETY: By the type invariant the command is valid and the driver's.
        unsafe { (*self.cmd.as_ptr()).resid_len = bytes };
    }

    /// Has the midlayer count from now for how long it tries the command again.
    pub fn renew(&mut self) {
        // SAFETY: By the type invariant the command is valid and the driver's.
        unsafe { bindings::scsi_helper_renew(self.cmd.as_ptr()) };
    }

    /// Copies sense data, `len` bytes from byte `offset` on of the response, as far as there is
    /// room for it.
    pub fn copy_sense(&mut self, offset: usize, len: usize) {
        let len = len.min(bindings::SCSI_SENSE_BUFFERSIZE as usize);

        // SAFETY: By the type invariant the command is valid. Its sense buffer has
        // `SCSI_SENSE_BUFFERSIZE` bytes, which belong to the driver until the command is completed.
        let sense =
            unsafe { core::slice::from_raw_parts_mut((*self.cmd.as_ptr()).sense_buffer, len) };

        self.response().copy_to(offset, sense);
    }

    /// Completes it with what the device said: [`HostStatus`] and status byte.
    ///
    /// Any context. Better not under a lock: what comes after it in the block layer runs here.
    #[inline]
    pub fn complete(self, host: HostStatus, status: u8) {
        let cmd = self.into_ptr().as_ptr();

        // CAST: Status in bits 0 to 7 and host status, which is less than 256, in bits 16 to 23.
        let result = ((host.as_raw() << 16) | u32::from(status)) as c_int;

        // SAFETY: By the type invariant the command is valid and was not completed. `self` is gone,
        // so nobody else completes it.
        unsafe {
            (*cmd).result = result;
            bindings::scsi_done(cmd);
        }
    }

    /// Completes it with CHECK CONDITION and sense data that the driver makes up.
    pub fn complete_with_sense(self, sense: Sense) {
        let cmd = self.into_ptr().as_ptr();

        // `scsi_build_sense()` sets the status byte, and leaves the others.
        //
        // SAFETY: As in `complete`.
        unsafe {
            (*cmd).result = 0;
            bindings::scsi_build_sense(cmd, 0, sense.key, sense.asc, sense.ascq);
            bindings::scsi_done(cmd);
        }
    }
}

impl<T: Driver> Drop for Command<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the command is the driver's. `self` is not used again, so
        // this is its only owner.
        unsafe { Self::from_ptr(self.cmd) }.complete(HostStatus::Error, 0);
    }
}
