// SPDX-License-Identifier: GPL-2.0

//! The virtio device: features, configuration space, status.
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

/// The status that is read from a PCI device which is not there.
const STATUS_GONE: u32 = 0xff;

/// A virtio device: `struct virtio_device`.
///
/// # Invariants
///
/// An instance is a valid `struct virtio_device` that the virtio core made.
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
    pub(super) fn status(&self) -> u32 {
        // SAFETY: By the type invariant the device is valid, and every device has `config`.
        let get_status = unsafe { (*(*self.as_raw()).config).get_status };

        get_status.map_or(0, |get_status| {
            // SAFETY: By the type invariant the device is valid.
            unsafe { get_status(self.as_raw()) }.into()
        })
    }

    /// Returns whether the device was taken away without notice. Any context.
    ///
    /// Reading from a PCI device that is not there gives ones, and no device has all bits of its
    /// status set. Such a device must not be reset: that waits until the status reads as zero.
    pub fn is_gone(&self) -> bool {
        self.status() == STATUS_GONE
    }

    /// Returns whether the device has asked to be reset (`DEVICE_NEEDS_RESET`). Process context: some
    /// transports sleep.
    ///
    /// A device that is gone asks for nothing.
    pub fn needs_reset(&self) -> bool {
        let status = self.status();

        status != STATUS_GONE && status & bindings::VIRTIO_CONFIG_S_NEEDS_RESET != 0
    }
}

impl Device<device::Bound> {
    /// Returns whether feature `bit` was negotiated.
    pub fn has_feature(&self, bit: u32) -> bool {
        // SAFETY: By the type invariant the device is valid, and its features were negotiated
        // before it was bound.
        unsafe { bindings::virtio_helper_has_feature(self.as_raw(), bit) }
    }

    /// Returns whether multi-byte fields are little-endian: always so for a device of virtio 1.0
    /// or later; for a legacy one, if the CPU is.
    pub fn is_little_endian(&self) -> bool {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::virtio_helper_is_little_endian(self.as_raw()) }
    }

    /// Returns whether descriptors may be indirect (`VIRTIO_RING_F_INDIRECT_DESC`).
    pub fn has_indirect_descriptors(&self) -> bool {
        // `VIRTIO_RING_F_INDIRECT_DESC` of `include/uapi/linux/virtio_ring.h`.
        self.has_feature(28)
    }

    /// Returns whether the configuration space can be read at all.
    pub fn has_config(&self) -> bool {
        // SAFETY: By the type invariant the device is valid, and every device has `config`.
        unsafe { (*(*self.as_raw()).config).get.is_some() }
    }

    /// Reads a 16-bit field of the configuration space, `offset` bytes into it, in CPU order.
    ///
    /// Sleeps. Only for a device whose configuration space can be read (`has_config`); otherwise
    /// this is 0.
    pub fn read_config16(&self, offset: u32) -> u16 {
        if !self.has_config() {
            return 0;
        }
        // SAFETY: By the type invariant the device is valid, and it has `config->get`.
        unsafe { bindings::virtio_helper_cread16(self.as_raw(), offset) }
    }

    /// Reads a 32-bit field of the configuration space, `offset` bytes into it, in CPU order.
    ///
    /// Sleeps. Only for a device whose configuration space can be read (`has_config`); otherwise
    /// this is 0.
    pub fn read_config32(&self, offset: u32) -> u32 {
        if !self.has_config() {
            return 0;
        }
        // SAFETY: By the type invariant the device is valid, and it has `config->get`.
        unsafe { bindings::virtio_helper_cread32(self.as_raw(), offset) }
    }

    /// Writes a 32-bit field of the configuration space, `offset` bytes into it, in CPU order.
    ///
    /// Sleeps. Does nothing if the configuration space cannot be written.
    pub fn write_config32(&self, offset: u32, value: u32) {
        // SAFETY: By the type invariant the device is valid, and every device has `config`.
        if unsafe { (*(*self.as_raw()).config).set.is_some() } {
            // SAFETY: By the type invariant the device is valid, and it has `config->set`.
            unsafe { bindings::virtio_helper_cwrite32(self.as_raw(), offset, value) }
        }
    }

    /// Returns how many bytes can be mapped for DMA at once, at most (`virtio_max_dma_size()`): the size of a
    /// slot of the bounce buffer, for a device that is reached through one.
    pub fn max_mapping(&self) -> usize {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::virtio_max_dma_size(self.as_raw()) }
    }

    /// Sets `DRIVER_OK`, unless it is set: from here on the device may be notified.
    ///
    /// The virtio core does the same after a successful probe. A driver whose probe makes
    /// something that can start requests at once has to do it before.
    pub fn ready(&self) {
        if self.status() & bindings::VIRTIO_CONFIG_S_DRIVER_OK == 0 {
            // SAFETY: By the type invariant the device is valid, and `DRIVER_OK` is not set, which
            // `virtio_device_ready()` asks for.
            unsafe { bindings::virtio_helper_device_ready(self.as_raw()) };
        }
    }
}

// SAFETY: `Device` is a transparent wrapper of a type that doesn't depend on `Device`'s generic
// argument.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: Instances of `Device` are always reference-counted, by the embedded `struct device`.
unsafe impl kernel::sync::aref::AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: The existence of a shared reference guarantees that the refcount is not zero.
        unsafe { kernel::bindings::get_device(&raw mut (*self.as_raw()).dev) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: By the safety requirements of this function the refcount is not zero.
        unsafe {
            kernel::bindings::put_device(
                &raw mut (*obj.cast::<bindings::virtio_device>().as_ptr()).dev,
            )
        };
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: By the type invariant the device is valid, so the address is in bounds.
        let dev = unsafe { &raw mut (*self.as_raw()).dev };

        // SAFETY: `dev` is a valid `struct device`, of the same context as `self`.
        unsafe { device::Device::from_raw(dev) }
    }
}

// SAFETY: A `Device` can be released from any thread.
unsafe impl Send for Device {}

// SAFETY: A `Device` can be shared among threads: its methods are synchronised by the C side.
unsafe impl Sync for Device {}

// SAFETY: As for `Device<Normal>`; the context is a zero-sized marker.
unsafe impl Sync for Device<device::Bound> {}
