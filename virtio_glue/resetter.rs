// SPDX-License-Identifier: GPL-2.0

//! Resets of a device by its driver.
//!
//! A driver cannot make a [`Resetter`]. The adapter makes one for each device, enables it when the
//! device is bound, and disables it when the device is unbound, so no reset can reach a device that
//! has another driver.
//!
//! # Misuse that does not compile
//!
//! In `examples/virtio_rng/misuse/`: another one for the device (E0624).
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use super::{
    bindings,
    Device, //
};
use kernel::{
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
    /// The device is not bound to its driver.
    NotBound,
    /// The driver, the device or the virtio core has failed with an error.
    Failed(Error),
}

/// A process number that no task has.
const NOBODY: i32 = -1;

/// The means to reset a device, and have its driver set it up again.
///
/// # Invariants
///
/// While `bound` is true, the device is bound to a driver of an [`Adapter`](super::Adapter) whose
/// probe was successful and whose remove callback has not returned.
#[pin_data]
pub struct Resetter {
    dev: ARef<Device>,
    #[pin]
    bound: Mutex<bool>,
    /// The process number of the task that resets the device, or [`NOBODY`].
    by: Atomic<i32>,
}

impl Resetter {
    /// Makes an initialiser for the resetter of a device that is not bound yet.
    pub(super) fn new(dev: ARef<Device>) -> impl PinInit<Self> {
        // INVARIANT: `bound` is false.
        pin_init!(Self {
            dev,
            bound <- new_mutex!(false),
            by: Atomic::new(NOBODY),
        })
    }

    /// Returns whether the current task is in [`Resetter::reset`], so that neither the system nor
    /// the transport resets the device.
    pub(super) fn is_current(&self) -> bool {
        // Only the current task writes its own number.
        self.by.load(Relaxed) == kernel::current!().pid()
    }

    /// Allows resets.
    ///
    /// # Safety
    ///
    /// Until [`Resetter::disable`] is called, the device must be bound as in the type invariant.
    pub(super) unsafe fn enable(&self) {
        // INVARIANT: The caller guarantees that the device is bound until `disable` is called.
        *self.bound.lock() = true;
    }

    /// Waits for a reset that is under way, and allows no more.
    ///
    /// Process context.
    pub fn disable(&self) {
        *self.bound.lock() = false;
    }

    /// Resets the device, unless `wanted` returns false once no other reset is under way. Returns
    /// what `wanted` has returned.
    ///
    /// Calls [`Driver::reset_prepare`](super::Driver::reset_prepare), negotiates the same features
    /// again, and calls [`Driver::reset_done`](super::Driver::reset_done). If it fails, it may have
    /// called only the former.
    ///
    /// Process context.
    pub fn reset(&self, wanted: impl FnOnce() -> bool) -> Result<bool, ResetError> {
        let bound = self.bound.lock();

        if !*bound {
            return Err(ResetError::NotBound);
        }
        if !wanted() {
            return Ok(false);
        }

        self.by.store(kernel::current!().pid(), Relaxed);

        // An allocation during the reset must not wait for I/O to this device.
        //
        // SAFETY: The function only sets a flag of the task, which is restored below.
        let flags = unsafe { bindings::virtio_helper_noio_save() };

        // SAFETY: `bound` is true and stays so under the lock. By the type invariant the device is
        // bound, and its driver has the callbacks of `Adapter`.
        let result = to_result(unsafe { bindings::virtio_device_reset_prepare(self.dev.as_raw()) })
            .and_then(|()| {
                // SAFETY: As above.
                to_result(unsafe { bindings::virtio_device_reset_done(self.dev.as_raw()) })
            });

        // SAFETY: `virtio_helper_noio_save()` has returned `flags` in the same task.
        unsafe { bindings::virtio_helper_noio_restore(flags) };

        self.by.store(NOBODY, Relaxed);
        result.map(|()| true).map_err(ResetError::Failed)
    }
}
