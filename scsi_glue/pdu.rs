// SPDX-License-Identifier: GPL-2.0

//! The private areas behind `struct scsi_cmnd` and behind `struct scsi_device`.
//!
//! # Misuse that does not compile
//!
//! In `examples/scsi_null/misuse/`: data that own something, because the midlayer never drops a
//! private area (E0080), data that must stay on their thread, because any thread may look at
//! those of a command or a device, and a request or a response with padding or with a pointer
//! (E0277).
//!
//! C headers: [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h),
//! [`include/scsi/scsi_transport.h`](srctree/include/scsi/scsi_transport.h)

use super::bindings;
use crate::kernel_glue::{
    DeviceBuffer,
    OneSegment, //
};
use core::{
    cell::{
        Cell,
        UnsafeCell, //
    },
    mem::{
        align_of,
        needs_drop,
        offset_of,
        size_of, //
    },
    ptr::NonNull, //
};
use kernel::{
    ffi::{
        c_int,
        c_ulong, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    },
    transmute::AsBytes, //
};

/// The data that a host keeps with each of its commands and devices.
pub trait CommandData: 'static {
    /// The part of a command that the device reads. As for the response, only its size and its
    /// alignment count: all of its bytes are initialised, and none are an address.
    type Request: AsBytes + Zeroable + Send + 'static;

    /// The part of a command that the device writes: see [`DeviceBuffer`].
    type Response: AsBytes + Send + 'static;

    /// The part of a command that the device does not see. It keeps its value from one use of the
    /// command to the next.
    type Private: Default + Send + Sync + 'static;

    /// The data of a device, from before its first command on.
    type Device: DeviceData;
}

/// The data that a host keeps with a device.
pub trait DeviceData: Send + Sync + 'static {
    /// Makes the data of a device with these numbers.
    fn new(target: u32, lun: u64) -> Self;
}

impl DeviceData for () {
    fn new(_target: u32, _lun: u64) -> Self {}
}

/// How much of a command's memory is the device's, in bytes. More than there is counts as all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lengths {
    /// What the device reads of [`CommandData::Request`].
    pub request: usize,
    /// What the device writes of [`CommandData::Response`].
    pub response: usize,
}

impl Lengths {
    /// All of it.
    pub const ALL: Self = Self {
        request: usize::MAX,
        response: usize::MAX,
    };
}

/// The private area of a command, `scsi_cmd_priv()`.
///
/// `init_cmd_priv` makes it, once for each command of the host. It is not cleared between uses.
///
/// What the device writes shares no cache line with what the driver writes meanwhile, which is
/// `private`: where DMA is not coherent, the driver's line would be written back over the response.
/// `request` may share one, as the device only reads it, and so may the scatterlists, which nobody
/// writes.
///
/// # Invariants
///
/// `request_list` is a terminated scatterlist of memory in `request`, and `response_list` is one of
/// memory in `response`.
#[repr(C)]
pub(super) struct Pdu<D: CommandData> {
    /// The next command of the [`CmndList`] that this one is on.
    ///
    /// [`CmndList`]: super::CmndList
    pub(super) next: Cell<Option<NonNull<bindings::scsi_cmnd>>>,
    pub(super) private: D::Private,
    pub(super) owned: Owned,
    pub(super) request: D::Request,
    pub(super) request_list: OneSegment,
    pub(super) response_list: OneSegment,
    pub(super) response: DeviceBuffer<D::Response>,
}

/// Whether there is an [`OwnedCmnd`] of a command.
///
/// The driver's side clears it in an RCU read-side critical section that ends after `scsi_done()`
/// has returned. So whoever has read it as clear and then waits for an RCU grace period comes after
/// all of that.
///
/// [`OwnedCmnd`]: super::OwnedCmnd
pub(super) struct Owned(UnsafeCell<bool>);

impl Owned {
    #[inline]
    pub(super) fn get(&self) -> bool {
        // SAFETY: The address is valid. Other threads write it, which a volatile read takes into
        // account.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline]
    pub(super) fn set(&self, owned: bool) {
        // SAFETY: As in `get`. Whoever owns the command is the only one to write.
        unsafe { self.0.get().write_volatile(owned) };
    }
}

impl<D: CommandData> Pdu<D> {
    /// The size that the midlayer has to set aside, in bytes: `cmd_size`.
    pub(super) const SIZE: u32 = {
        // The midlayer places the area directly behind the C structure: it gets no stronger
        // alignment. On a machine of 32 bits whose DMA addresses have 64, a scatterlist may want
        // that.
        assert!(align_of::<Self>() <= align_of::<bindings::scsi_cmnd>());
        // A scatterlist follows directly behind the area.
        assert!(size_of::<Self>() % align_of::<kernel::bindings::scatterlist>() == 0);
        assert!(size_of::<Self>() < u32::MAX as usize);
        // The area is never dropped.
        assert!(!needs_drop::<D::Request>() && !needs_drop::<D::Private>());
        size_of::<Self>() as u32
    };

    /// Returns the area of a command.
    ///
    /// # Safety
    ///
    /// `cmd` must be a command of a host whose commands hold `D`.
    #[inline]
    pub(super) unsafe fn of(cmd: NonNull<bindings::scsi_cmnd>) -> NonNull<Self> {
        // SAFETY: The area of `cmd_size` bytes follows the command in the same allocation.
        unsafe { cmd.add(1) }.cast()
    }

    /// Makes the area of a command.
    ///
    /// # Safety
    ///
    /// `cmd` must be a command of a host whose commands hold `D`, and nobody else may use its area.
    /// The area must be in the linear mapping, and must not move from here on.
    pub(super) unsafe fn init(cmd: NonNull<bindings::scsi_cmnd>, lengths: Lengths) {
        let request = lengths.request.min(size_of::<D::Request>());
        let response = lengths.response.min(DeviceBuffer::<D::Response>::SIZE);
        let pdu = Self {
            next: Cell::new(None),
            private: D::Private::default(),
            owned: Owned(UnsafeCell::new(false)),
            request: pin_init::zeroed(),
            request_list: OneSegment::uninit(),
            response_list: OneSegment::uninit(),
            response: DeviceBuffer::default(),
        };

        // SAFETY: The command is one of a host whose commands hold `D`, so the area has room for a
        // `Self`, and nobody else uses it.
        let pdu = unsafe {
            let place = Self::of(cmd).as_ptr();

            place.write(pdu);
            &*place
        };

        // INVARIANT: This makes the scatterlists.
        //
        // SAFETY: The caller guarantees that the area is in the linear mapping, and that nobody
        // else uses it. CAST: The area is smaller than 4 GiB.
        unsafe {
            pdu.request_list
                .init((&raw const pdu.request).cast(), request as u32);
            pdu.response_list
                .init(pdu.response.as_ptr(), response as u32);
        }
    }
}

/// The private area of a device: what the midlayer reserves for a transport class, `sdev_data`.
///
/// It is zeroed memory until `sdev_init`, which is not called for a device that the midlayer could
/// not set up.
#[repr(C)]
pub(super) struct DevicePdu<D: CommandData> {
    initialized: Atomic<i32>,
    data: D::Device,
}

impl<D: CommandData> DevicePdu<D> {
    /// The transport template of a host, for `device_size` alone: a class of its own it is not.
    const TRANSPORT: bindings::scsi_transport_template = bindings::scsi_transport_template {
        device_size: {
            assert!(align_of::<Self>() <= align_of::<c_ulong>());
            assert!(size_of::<Self>() < c_int::MAX as usize);
            // The area is never dropped.
            assert!(!needs_drop::<D::Device>());
            size_of::<Self>() as c_int
        },
        ..pin_init::zeroed()
    };

    /// Returns the transport template of a host whose commands hold `D`. The midlayer only reads
    /// it.
    pub(super) fn transport() -> &'static bindings::scsi_transport_template {
        &Self::TRANSPORT
    }

    fn of(sdev: *mut bindings::scsi_device) -> *mut Self {
        sdev.wrapping_byte_add(offset_of!(bindings::scsi_device, sdev_data))
            .cast()
    }

    /// Makes the area of a device.
    ///
    /// # Safety
    ///
    /// `sdev` must be a valid device of a host whose commands hold `D`, and must not be initialised
    /// yet.
    pub(super) unsafe fn init(sdev: *mut bindings::scsi_device) {
        let pdu = Self::of(sdev);

        // SAFETY: The device is valid, and its numbers do not change.
        let data = unsafe { D::Device::new((*sdev).id, (*sdev).lun) };

        // SAFETY: `device_size` bytes follow the device. Nobody else uses `data` before
        // `initialized` is set.
        unsafe {
            (&raw mut (*pdu).data).write(data);
            (*pdu).initialized.store(1, Release);
        }
    }

    /// Returns whether a device was initialised.
    ///
    /// # Safety
    ///
    /// `sdev` must be a valid device of a host whose commands hold `D`.
    pub(super) unsafe fn is_initialized(sdev: *mut bindings::scsi_device) -> bool {
        // SAFETY: `device_size` bytes follow the device, of which those of `initialized` are zeroed
        // or written.
        unsafe { (*Self::of(sdev)).initialized.load(Acquire) != 0 }
    }

    /// Returns the data of a device.
    ///
    /// # Safety
    ///
    /// `sdev` must be a device of a host whose commands hold `D`, valid for `'a`, and initialised.
    #[inline]
    pub(super) unsafe fn data<'a>(sdev: *mut bindings::scsi_device) -> &'a D::Device {
        // SAFETY: The device is initialised, so `data` was written. It stays as long as the device.
        unsafe { &(*Self::of(sdev)).data }
    }
}
