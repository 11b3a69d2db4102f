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
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
};

/// Why a device was not reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetError {
    /// It is not bound to its driver yet, or not any more.
    NotBound,
    /// The driver, the device or the virtio core has failed with this.
    Failed(Error),
}

/// The process number that no task has.
const NOBODY: i32 = -1;

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
    /// The process number of the task that resets the device, or [`NOBODY`].
    by: Atomic<i32>,
}

impl Resetter {
    /// Makes one for a device that is not bound yet.
    pub fn new(dev: ARef<Device>) -> impl PinInit<Self> {
        // INVARIANT: It does not claim that the device is bound.
        pin_init!(Self {
            dev,
            bound <- new_mutex!(false),
            by: Atomic::new(NOBODY),
        })
    }

    /// Returns whether this is for a device.
    pub(super) fn is_for<Ctx: device::DeviceContext>(&self, dev: &Device<Ctx>) -> bool {
        ptr::eq(self.dev.as_raw(), dev.as_raw())
    }

    /// Returns whether it is this that resets the device in the current task, and not the system or the
    /// transport.
    pub(super) fn is_current(&self) -> bool {
        // The number of the current task is only there if this task has written it.
        self.by.load(Relaxed) == kernel::current!().pid()
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

    /// Resets the device if `wanted` says so once no other reset is under way: has the driver quiesce
    /// it, renegotiates its features as they were, and has the driver resume. Returns whether it was
    /// wanted.
    ///
    /// Process context. If it fails the driver may have been asked to quiesce, and not to resume.
    pub fn reset(&self, wanted: impl FnOnce() -> bool) -> Result<bool, ResetError> {
        let bound = self.bound.lock();

        if !*bound {
            return Err(ResetError::NotBound);
        }
        if !wanted() {
            return Ok(false);
        }

        self.by.store(kernel::current!().pid(), Relaxed);

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

        self.by.store(NOBODY, Relaxed);
        result.map(|()| true).map_err(ResetError::Failed)
    }
}
