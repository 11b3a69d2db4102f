// SPDX-License-Identifier: GPL-2.0

//! The feature bits of a virtio SCSI host device.
//!
//! Virtio 1.3, section 5.6.3. `VIRTIO_SCSI_F_INOUT` is not among them: the midlayer has no
//! bidirectional commands any more.

use core::ffi::c_uint;

/// The device reports when logical units are added and removed.
pub const VIRTIO_SCSI_F_HOTPLUG: c_uint = 1;

/// The device reports when the parameters of a logical unit change.
pub const VIRTIO_SCSI_F_CHANGE: c_uint = 2;

/// Commands can have protection information (T10 PI).
pub const VIRTIO_SCSI_F_T10_PI: c_uint = 3;
