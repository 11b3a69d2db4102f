// SPDX-License-Identifier: GPL-2.0

//! Resetting the device from anywhere, for as long as it is bound.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use super::{
    bindings,
    Device, //
};
use core::ptr;
use kernel::{
    device,
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Mutex, //
    },
};

/// Resets a device and has its driver set it up again.
///
/// # Invariants
///
/// While `bound` is true, the device is bound to a driver of ours whose probe was successful, and
/// the driver's remove callback has not returned.
#[pin_data]
pub struct Resetter {
    dev: ARef<Device>,
    #[pin]
    bound: Mutex<bool>,
}

impl Resetter {
    /// Makes one for a device that is not bound yet.
    pub fn new(dev: ARef<Device>) -> impl PinInit<Self> {
        // INVARIANT: It does not claim that the device is bound.
        pin_init!(Self {
            dev,
            bound <- new_mutex!(false),
        })
    }

    /// Returns whether this is for a device.
    pub(super) fn is_for<Ctx: device::DeviceContext>(&self, dev: &Device<Ctx>) -> bool {
        ptr::eq(self.dev.as_raw(), dev.as_raw())
    }

    /// Says that the device is bound.
    ///
    /// # Safety
    ///
    /// The type invariant must hold until [`Resetter::disable`] was called.
    pub(super) unsafe fn enable(&self) {
        // INVARIANT: By the safety requirements of this function.
        *self.bound.lock() = true;
    }

    /// Waits until no reset is under way, and allows no more.
    ///
    /// Process context.
    pub fn disable(&self) {
        *self.bound.lock() = false;
    }

    /// Resets the device: has the driver quiesce it, renegotiates its features as they were, and
    /// has the driver resume.
    ///
    /// Process context. Fails with [`ENODEV`] if the device is not bound, and otherwise with what
    /// the driver or the device fails with.
    pub fn reset(&self) -> Result {
        let bound = self.bound.lock();

        if !*bound {
            return Err(ENODEV);
        }

        // Memory that is wanted meanwhile must not be waited for by writing to this very device.
        //
        // SAFETY: This only sets a flag of the task, which is restored below.
        let flags = unsafe { bindings::virtio_helper_noio_save() };

        // SAFETY: By the type invariant the device is valid and bound, so its driver has the
        // callbacks of `Adapter`.
        let result = to_result(unsafe { bindings::virtio_device_reset_prepare(self.dev.as_raw()) })
            .and_then(|()| {
                // SAFETY: As above.
                to_result(unsafe { bindings::virtio_device_reset_done(self.dev.as_raw()) })
            });

        // SAFETY: `flags` is what the task had before.
        unsafe { bindings::virtio_helper_noio_restore(flags) };

        result
    }
}
