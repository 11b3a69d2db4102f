// SPDX-License-Identifier: GPL-2.0

//! The virtio device: features, configuration space, status.
//!
//! # Misuse that does not compile
//!
//! In `examples/virtio_rng/misuse/`: the status of a device that may be unbound (E0599), and the C
//! device (E0624).
//!
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

use super::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    device,
    types::Opaque, //
};

/// The status of a PCI device that is gone: reads return ones.
const STATUS_GONE: u32 = 0xff;

/// A virtio device: `struct virtio_device`.
///
/// # Invariants
///
/// An instance is a valid `struct virtio_device`, which the virtio core has initialised.
#[repr(transparent)]
pub struct Device<Ctx: device::DeviceContext = device::Normal>(
    Opaque<bindings::virtio_device>,
    PhantomData<Ctx>,
);

impl<Ctx: device::DeviceContext> Device<Ctx> {
    /// Returns the C device.
    pub(super) fn as_raw(&self) -> *mut bindings::virtio_device {
        self.0.get()
    }

    /// Returns the device status: `VIRTIO_CONFIG_S_*`.
    ///
    /// # Safety
    ///
    /// The device must be bound: a transport that was removed has unmapped its registers.
    unsafe fn status_raw(&self) -> u32 {
        // SAFETY: By the type invariant the device is valid, and every transport sets `config`.
        let get_status = unsafe { (*(*self.as_raw()).config).get_status };

        get_status.map_or(0, |get_status| {
            // SAFETY: The caller guarantees that the device is bound, so its registers are mapped.
            unsafe { get_status(self.as_raw()) }.into()
        })
    }

    /// [`Device::is_gone`], for a device without a context.
    ///
    /// # Safety
    ///
    /// The device must be bound.
    pub(super) unsafe fn is_gone_raw(&self) -> bool {
        // SAFETY: The caller guarantees that the device is bound.
        unsafe { self.status_raw() == STATUS_GONE }
    }

    /// Returns whether the device has asked for a reset (`DEVICE_NEEDS_RESET`), and is not gone.
    ///
    /// Process context, as some transports sleep.
    ///
    /// # Safety
    ///
    /// The device must be bound.
    pub(super) unsafe fn needs_reset_raw(&self) -> bool {
        // SAFETY: The caller guarantees that the device is bound.
        let status = unsafe { self.status_raw() };

        status != STATUS_GONE && status & bindings::VIRTIO_CONFIG_S_NEEDS_RESET != 0
    }

    /// Sets `DRIVER_OK`, unless it is set. From here on the device may be notified.
    ///
    /// The virtio core does the same after a successful probe, which is too late for a driver whose
    /// probe already starts requests.
    ///
    /// # Safety
    ///
    /// The device must be bound.
    pub(super) unsafe fn ready_raw(&self) {
        // SAFETY: The caller guarantees that the device is bound. `DRIVER_OK` is not set, as
        // `virtio_device_ready()` requires.
        unsafe {
            if self.status_raw() & bindings::VIRTIO_CONFIG_S_DRIVER_OK == 0 {
                bindings::virtio_helper_device_ready(self.as_raw());
            }
        }
    }
}

impl Device<device::Bound> {
    /// Returns the device status: `VIRTIO_CONFIG_S_*`.
    #[inline]
    pub(super) fn status(&self) -> u32 {
        // SAFETY: The device is bound.
        unsafe { self.status_raw() }
    }

    /// Returns whether the device was unplugged without notice. Any context.
    ///
    /// Reads of a PCI device that is gone return ones, and no device sets all bits of its status. A
    /// device that is gone must not be reset: that polls until the status is zero.
    #[inline]
    pub fn is_gone(&self) -> bool {
        // SAFETY: The device is bound.
        unsafe { self.is_gone_raw() }
    }

    /// Returns whether feature `bit` was negotiated.
    #[inline]
    pub fn has_feature(&self, bit: u32) -> bool {
        // SAFETY: By the type invariant the device is valid. It is bound, so its features are
        // negotiated.
        unsafe { bindings::virtio_helper_has_feature(self.as_raw(), bit) }
    }

    /// Returns whether multi-byte fields are little-endian: those of a device of virtio 1.0 or
    /// later always are, those of a legacy device if the CPU is.
    #[inline]
    pub fn is_little_endian(&self) -> bool {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::virtio_helper_is_little_endian(self.as_raw()) }
    }

    /// Returns whether descriptors may be indirect (`VIRTIO_RING_F_INDIRECT_DESC`).
    #[inline]
    pub fn has_indirect_descriptors(&self) -> bool {
        // `VIRTIO_RING_F_INDIRECT_DESC` of `include/uapi/linux/virtio_ring.h`.
        self.has_feature(28)
    }

    /// Returns whether the device has a configuration space.
    pub fn has_config(&self) -> bool {
        // SAFETY: By the type invariant the device is valid, and every transport sets `config`.
        unsafe { (*(*self.as_raw()).config).get.is_some() }
    }

    /// Reads a 16-bit field of the configuration space, `offset` bytes into it, in CPU order.
    ///
    /// Process context. Returns 0 for a device without a configuration space.
    #[inline]
    pub fn read_config16(&self, offset: u32) -> u16 {
        if !self.has_config() {
            return 0;
        }
        // SAFETY: By the type invariant the device is valid, and it has `config->get`.
        unsafe { bindings::virtio_helper_cread16(self.as_raw(), offset) }
    }

    /// Reads a 32-bit field of the configuration space, `offset` bytes into it, in CPU order.
    ///
    /// Process context. Returns 0 for a device without a configuration space.
    #[inline]
    pub fn read_config32(&self, offset: u32) -> u32 {
        if !self.has_config() {
            return 0;
        }
        // SAFETY: By the type invariant the device is valid, and it has `config->get`.
        unsafe { bindings::virtio_helper_cread32(self.as_raw(), offset) }
    }

    /// Writes a 32-bit field of the configuration space, `offset` bytes into it, in CPU order.
    ///
    /// Process context. Does nothing if the transport cannot write the configuration space.
    #[inline]
    pub fn write_config32(&self, offset: u32, value: u32) {
        // SAFETY: By the type invariant the device is valid, and every transport sets `config`.
        if unsafe { (*(*self.as_raw()).config).set.is_some() } {
            // SAFETY: By the type invariant the device is valid, and it has `config->set`.
            unsafe { bindings::virtio_helper_cwrite32(self.as_raw(), offset, value) }
        }
    }

    /// Returns how many bytes can be mapped for DMA at once (`virtio_max_dma_size()`). A bounce
    /// buffer limits it to the size of its slots.
    #[inline]
    pub fn max_mapping(&self) -> usize {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::virtio_max_dma_size(self.as_raw()) }
    }
}

// SAFETY: `Device` is a transparent wrapper of a type that does not depend on the generic argument
// of `Device`.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: A `Device` is always reference-counted, by its `struct device`.
unsafe impl kernel::sync::aref::AlwaysRefCounted for Device {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: `self` is a reference, so the reference count is not zero.
        unsafe { kernel::bindings::get_device(&raw mut (*self.as_raw()).dev) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller guarantees that the reference count is not zero.
        unsafe {
            kernel::bindings::put_device(
                &raw mut (*obj.cast::<bindings::virtio_device>().as_ptr()).dev,
            )
        };
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: By the type invariant the device is valid, so the field is in bounds.
        let dev = unsafe { &raw mut (*self.as_raw()).dev };

        // SAFETY: `dev` is a valid `struct device`, of the same context as `self`.
        unsafe { device::Device::from_raw(dev) }
    }
}

// SAFETY: A `Device` can be released from any thread.
unsafe impl Send for Device {}

// SAFETY: A `Device` can be shared among threads: C synchronises what its methods call.
unsafe impl Sync for Device {}

// SAFETY: As for `Device<Normal>`; the context is a zero-sized marker.
unsafe impl Sync for Device<device::Bound> {}
