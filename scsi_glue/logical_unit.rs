// SPDX-License-Identifier: GPL-2.0

//! A logical unit that the midlayer knows.
//!
//! C header: [`include/scsi/scsi_device.h`](srctree/include/scsi/scsi_device.h)

use super::bindings;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    time::Jiffies, //
};

/// Something that a logical unit says of itself, and user space is told: `enum scsi_device_event`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnitEvent {
    /// It has another medium, or none.
    MediaChange,
    /// Its INQUIRY data has changed.
    InquiryChange,
    /// Its capacity has changed.
    CapacityChange,
    /// It has not much room left.
    SoftThreshold,
    /// Its mode parameters have changed.
    ModeParameterChange,
    /// Its target has other logical units.
    LunChange,
    /// The state of the ways to it has changed.
    AccessStateChange,
}

impl UnitEvent {
    /// Returns the C value.
    fn as_raw(self) -> bindings::scsi_device_event {
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

/// How a command of the driver's own ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The logical unit has carried it out.
    Good,
    /// There is no such target or logical unit.
    NotThere,
    /// Something else: the logical unit is there, or it cannot be told.
    Other,
}

/// A reference to a logical unit of a host: `struct scsi_device`.
///
/// # Invariants
///
/// `0` is a valid device, and this object holds a reference to it (`scsi_device_get()`).
pub struct LogicalUnit(NonNull<bindings::scsi_device>);

// SAFETY: A device can be used and released from any thread.
unsafe impl Send for LogicalUnit {}

/// ILLEGAL REQUEST, the sense key of a command that a logical unit cannot carry out (SPC).
const KEY_ILLEGAL_REQUEST: u8 = 0x05;

/// LOGICAL UNIT NOT SUPPORTED: there is no such logical unit (SPC).
const ASC_NOT_SUPPORTED: u8 = 0x25;

/// The mark of a command that a driver sends by itself: `REQ_DRV`, which is for drivers to use.
pub(super) const OWN: u32 = 1 << kernel::bindings::req_flag_bits___REQ_DRV;

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

    /// Gives up ownership of the reference.
    pub(super) fn into_ptr(self) -> NonNull<bindings::scsi_device> {
        core::mem::ManuallyDrop::new(self).0
    }

    /// Returns the C device.
    pub(super) fn as_ptr(&self) -> NonNull<bindings::scsi_device> {
        self.0
    }

    /// Returns its target.
    pub fn target(&self) -> u32 {
        // SAFETY: By the type invariant the device is valid, and this does not change.
        unsafe { (*self.0.as_ptr()).id }
    }

    /// Returns its number, as the midlayer numbers them.
    pub fn lun(&self) -> u64 {
        // SAFETY: By the type invariant the device is valid, and this does not change.
        unsafe { (*self.0.as_ptr()).lun }
    }

    /// Returns whether it is a CD-ROM drive, or another device that follows MMC.
    pub fn is_mmc(&self) -> bool {
        // SAFETY: By the type invariant the device is valid.
        c_uint::from(unsafe { (*self.0.as_ptr()).type_ }) == bindings::TYPE_ROM
    }

    /// Asks it again for all that is known of it, its capacity included.
    ///
    /// Process context.
    pub fn rescan(&self) -> Result {
        // SAFETY: By the type invariant the device is valid.
        to_result(unsafe { bindings::scsi_rescan_device(self.0.as_ptr()) })
    }

    /// Tells user space of something.
    ///
    /// Process context.
    pub fn tell(&self, event: UnitEvent) {
        // SAFETY: By the type invariant the device is valid.
        unsafe {
            bindings::sdev_evt_send_simple(
                self.0.as_ptr(),
                event.as_raw(),
                kernel::bindings::GFP_KERNEL,
            );
        }
    }

    /// Has it fail all commands that were not sent yet, for good: see [`Command::is_condemned`].
    ///
    /// Process context.
    ///
    /// [`Command::is_condemned`]: super::Command::is_condemned
    pub fn condemn(&self) {
        // SAFETY: By the type invariant the device is valid. Its `hostdata` is the driver's to use.
        unsafe { bindings::scsi_helper_condemn(self.0.as_ptr()) };
    }

    /// Sends it a command without data, or with data from it, and waits for it: `timeout` jiffies,
    /// and what error handling takes.
    ///
    /// Process context. `data` has to be memory of the kernel's linear mapping, as [`KVec`] and
    /// [`KBox`] give.
    pub fn execute(&self, cdb: &[u8; 16], data: &mut [u8], timeout: Jiffies) -> Answer {
        let mut sense = bindings::scsi_sense_hdr::default();
        let args = bindings::scsi_exec_args {
            sshdr: &mut sense,
            ..Default::default()
        };
        let len = c_uint::try_from(data.len()).unwrap_or(0);
        let buffer = if len == 0 {
            ptr::null_mut()
        } else {
            data.as_mut_ptr()
        };

        // SAFETY: By the type invariant the device is valid. The CDB is long enough for any
        // operation code of up to 16 bytes, and `buffer` has `len` bytes.
        let result = unsafe {
            bindings::scsi_execute_cmd(
                self.0.as_ptr(),
                cdb.as_ptr(),
                kernel::bindings::req_op_REQ_OP_DRV_IN | OWN,
                buffer.cast(),
                len,
                c_int::try_from(timeout).unwrap_or(c_int::MAX),
                1,
                &args,
            )
        };

        // CAST: Host status in bits 16 to 23 of a result that is not negative.
        let host = (result >> 16) as u32 & 0xff;

        if result == 0 {
            Answer::Good
        } else if result < 0 {
            Answer::Other
        } else if host == bindings::scsi_host_status_DID_BAD_TARGET
            || (sense.response_code & 0x70) == 0x70
                && sense.sense_key == KEY_ILLEGAL_REQUEST
                && sense.asc == ASC_NOT_SUPPORTED
        {
            Answer::NotThere
        } else {
            Answer::Other
        }
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
