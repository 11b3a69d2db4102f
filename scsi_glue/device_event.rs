// SPDX-License-Identifier: GPL-2.0

//! Events of a SCSI device that user space gets as uevents.
//!
//! C header: [`include/scsi/scsi_device.h`](srctree/include/scsi/scsi_device.h)

use super::bindings;

/// An event of a device: `enum scsi_device_event`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceEvent {
    /// The medium was changed or removed.
    MediaChange,
    /// INQUIRY data have changed.
    InquiryChange,
    /// The capacity has changed.
    CapacityChange,
    /// Thin provisioning has reached its soft threshold.
    SoftThreshold,
    /// Mode parameters have changed.
    ModeParameterChange,
    /// REPORTED LUNS DATA has changed.
    LunChange,
    /// The asymmetric access state has changed.
    AccessStateChange,
}

impl DeviceEvent {
    /// Returns the C value.
    pub(super) fn as_raw(self) -> bindings::scsi_device_event {
        match self {
            Self::MediaChange => bindings::scsi_device_event_SDEV_EVT_MEDIA_CHANGE,
            Self::InquiryChange => bindings::scsi_device_event_SDEV_EVT_INQUIRY_CHANGE_REPORTED,
            Self::CapacityChange => bindings::scsi_device_event_SDEV_EVT_CAPACITY_CHANGE_REPORTED,
            Self::SoftThreshold => {
                bindings::scsi_device_event_SDEV_EVT_SOFT_THRESHOLD_REACHED_REPORTED
            }
            Self::ModeParameterChange => {
                bindings::scsi_device_event_SDEV_EVT_MODE_PARAMETER_CHANGE_REPORTED
            }
            Self::LunChange => bindings::scsi_device_event_SDEV_EVT_LUN_CHANGE_REPORTED,
            Self::AccessStateChange => {
                bindings::scsi_device_event_SDEV_EVT_ALUA_STATE_CHANGE_REPORTED
            }
        }
    }
}
