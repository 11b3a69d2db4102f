// SPDX-License-Identifier: GPL-2.0

//! A logical unit that the midlayer knows.
//!
//! C header: [`include/scsi/scsi_device.h`](srctree/include/scsi/scsi_device.h)

use super::bindings;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// A reference to a logical unit of a host: `struct scsi_device`.
///
/// # Invariants
///
/// `0` is a valid device, and this object holds a reference to it (`scsi_device_get()`).
pub struct LogicalUnit(NonNull<bindings::scsi_device>);

impl LogicalUnit {
    /// Makes it of a C device.
    ///
    /// # Safety
    ///
    /// `sdev` must be valid, and the caller must hold a reference, which it gives up.
    pub(super) unsafe fn from_ptr(sdev: NonNull<bindings::scsi_device>) -> Self {
        // INVARIANT: By the safety requirements of this function.
        Self(sdev)
    }

    /// Asks it again for all that is known of it, its capacity included.
    ///
    /// Process context.
    pub fn rescan(&self) -> Result {
        // SAFETY: By the type invariant the device is valid.
        to_result(unsafe { bindings::scsi_rescan_device(self.0.as_ptr()) })
    }

    /// Removes it from the system. Waits until its commands have ended.
    ///
    /// Process context.
    pub fn remove(self) {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::scsi_remove_device(self.0.as_ptr()) };
    }
}

impl Drop for LogicalUnit {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::scsi_device_put(self.0.as_ptr()) };
    }
}
