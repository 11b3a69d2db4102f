// SPDX-License-Identifier: GPL-2.0

//! A virtio device for KUnit tests, without a transport. A test decides how it answers.

use super::{
    bindings,
    Device,
    Virtqueues, //
};
use core::ptr::NonNull;
use kernel::{
    device,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

/// The answer of a [`FakeDevice`] to a notification. It writes the byte to the first buffer that it
/// uses, the next higher byte to the second, and so on.
#[derive(Clone, Copy)]
pub enum Manner {
    /// None: it holds the buffers.
    Hold,
    /// It uses all buffers and interrupts.
    Use(u8),
    /// It uses all buffers without writing to them, and interrupts.
    UseUnwritten,
    /// It uses all buffers and does not interrupt.
    UseSilently(u8),
}

/// A virtio device on no bus. Its driver is the test.
pub struct FakeDevice {
    dev: ARef<Device>,
    virtqueues: Arc<Virtqueues>,
}

impl FakeDevice {
    /// Makes a device that holds its buffers.
    pub fn new() -> Result<Self> {
        // SAFETY: The function has no requirements.
        let raw = NonNull::new(unsafe { bindings::virtio_helper_fake_create() }).ok_or(ENOMEM)?;

        // SAFETY: `raw` is a valid device, and the function has returned its only reference.
        // `Device` is a transparent wrapper of it.
        let dev: ARef<Device> = unsafe { ARef::from_raw(raw.cast()) };

        // SAFETY: No bus can unbind the device. This is the only set of its virtqueues, which
        // `drop` retires. Nothing else uses `priv`.
        let virtqueues = unsafe { Virtqueues::new(dev.clone()) };
        let virtqueues = Arc::pin_init(virtqueues, GFP_KERNEL)?;

        Ok(Self { dev, virtqueues })
    }

    /// Returns the set of its virtqueues.
    pub fn virtqueues(&self) -> Arc<Virtqueues> {
        self.virtqueues.clone()
    }

    /// Returns the device as a driver sees it.
    pub fn bound(&self) -> &Device<device::Bound> {
        // SAFETY: `Device` is a transparent wrapper in any context. `Bound` promises that the
        // device is not unbound while it is borrowed, and no bus can unbind this one.
        unsafe { &*self.dev.as_raw().cast() }
    }

    /// Sets the answer to notifications.
    pub fn behave(&self, manner: Manner) {
        let (manner, byte) = match manner {
            Manner::Hold => (
                bindings::virtio_helper_fake_manner_VIRTIO_HELPER_FAKE_HOLD,
                0,
            ),
            Manner::Use(byte) => (
                bindings::virtio_helper_fake_manner_VIRTIO_HELPER_FAKE_USE,
                byte.into(),
            ),
            Manner::UseUnwritten => (
                bindings::virtio_helper_fake_manner_VIRTIO_HELPER_FAKE_USE,
                -1,
            ),
            Manner::UseSilently(byte) => (
                bindings::virtio_helper_fake_manner_VIRTIO_HELPER_FAKE_USE_SILENTLY,
                byte.into(),
            ),
        };

        // SAFETY: `virtio_helper_fake_create()` has returned the device.
        unsafe { bindings::virtio_helper_fake_behave(self.dev.as_raw(), manner, byte) };
    }

    /// Makes the next `times` calls of `find_vqs` fail.
    pub fn fail(&self, times: c_uint, error: Error) {
        // SAFETY: As in `behave`.
        unsafe { bindings::virtio_helper_fake_fail(self.dev.as_raw(), times, error.to_errno()) };
    }

    /// Uses the oldest buffer of a virtqueue, and writes `byte` to it. Returns false if the device
    /// has no buffer.
    pub fn use_next(&self, queue: c_uint, byte: u8) -> bool {
        // SAFETY: As in `behave`.
        unsafe { bindings::virtio_helper_fake_use(self.dev.as_raw(), queue, c_int::from(byte)) }
    }

    /// Uses the last used buffer of a virtqueue again, which violates the protocol. Returns false
    /// if none was used.
    pub fn use_again(&self, queue: c_uint) -> bool {
        // SAFETY: As in `behave`.
        unsafe { bindings::virtio_helper_fake_use_again(self.dev.as_raw(), queue) }
    }

    /// Returns how many buffers of a virtqueue the device has not used.
    pub fn held(&self, queue: c_uint) -> c_uint {
        // SAFETY: As in `behave`.
        unsafe { bindings::virtio_helper_fake_held(self.dev.as_raw(), queue) }
    }

    /// Interrupts for a virtqueue.
    pub fn interrupt(&self, queue: c_uint) {
        // SAFETY: As in `behave`.
        unsafe { bindings::virtio_helper_fake_interrupt(self.dev.as_raw(), queue) };
    }

    /// Unplugs the device without notice, as a transport sees it.
    pub fn pull_out(&self) {
        // SAFETY: As in `behave`.
        unsafe { bindings::virtio_helper_fake_pull_out(self.dev.as_raw()) };
    }

    /// Returns how often `find_vqs` was called.
    pub fn finds(&self) -> c_uint {
        // SAFETY: As in `behave`.
        unsafe { bindings::virtio_helper_fake_seen(self.dev.as_raw()).finds }
    }

    /// Returns how often the device was reset.
    pub fn resets(&self) -> c_uint {
        // SAFETY: As in `behave`.
        unsafe { bindings::virtio_helper_fake_seen(self.dev.as_raw()).resets }
    }
}

impl Drop for FakeDevice {
    fn drop(&mut self) {
        self.virtqueues.retire();
    }
}
