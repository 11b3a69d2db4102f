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

/// What the midlayer thinks of a logical unit: `enum scsi_device_state`, as far as it makes a difference here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnitState {
    /// It is being scanned.
    New,
    /// It takes commands, or is paused.
    Online,
    /// It was taken offline, by the user or by error handling, and takes no commands.
    Offline,
    /// It is being removed, or was.
    Leaving,
}

/// A reference to a logical unit of a host: `struct scsi_device`.
///
/// # Invariants
///
/// `0` is a valid device, and this object holds a reference to it (`scsi_device_get()`).
pub struct LogicalUnit(NonNull<bindings::scsi_device>);

// SAFETY: A device can be used and released from any thread.
unsafe impl Send for LogicalUnit {}

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

    /// Returns the first byte of its INQUIRY data: peripheral qualifier and device type (SPC). Not before it was
    /// added.
    pub fn inquiry_byte(&self) -> Option<u8> {
        // SAFETY: By the type invariant the device is valid. The data are set before it is added, and stay.
        let inquiry = unsafe { (&raw const (*self.0.as_ptr()).inquiry).read_volatile() };
        let inquiry = NonNull::new(inquiry)?;

        // SAFETY: There are 36 bytes at least.
        Some(unsafe { *inquiry.as_ptr() })
    }

    /// Returns whether the midlayer reads its pages of vital product data.
    pub fn has_vpd(&self) -> bool {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::scsi_helper_supports_vpd(self.0.as_ptr()) }
    }

    /// Has the midlayer read no pages of vital product data of it any more.
    ///
    /// Process context, by whoever has just found it or is about to read it again.
    pub fn skip_vpd(&self) {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::scsi_helper_skip_vpd(self.0.as_ptr()) };
    }

    /// Returns what the midlayer thinks of its state, which may change at any time.
    pub fn state(&self) -> UnitState {
        // SAFETY: By the type invariant the device is valid. Others change the field at the same time.
        let state = unsafe { (&raw const (*self.0.as_ptr()).sdev_state).read_volatile() };

        match state {
            bindings::scsi_device_state_SDEV_CREATED
            | bindings::scsi_device_state_SDEV_CREATED_BLOCK => UnitState::New,
            bindings::scsi_device_state_SDEV_CANCEL | bindings::scsi_device_state_SDEV_DEL => {
                UnitState::Leaving
            }
            bindings::scsi_device_state_SDEV_OFFLINE
            | bindings::scsi_device_state_SDEV_TRANSPORT_OFFLINE => UnitState::Offline,
            _ => UnitState::Online,
        }
    }

    /// Wakes it up, if it sleeps to save power, and keeps it awake until what this returns is dropped.
    ///
    /// Process context.
    pub fn wake(&self) -> Awake<'_> {
        // SAFETY: By the type invariant the device is valid.
        let awake = unsafe { bindings::scsi_helper_autopm_get_device(self.0.as_ptr()) } == 0;

        // INVARIANT: On success the call above has counted this in.
        Awake { unit: self, awake }
    }

    /// Asks it again for all that is known of it, its capacity included.
    ///
    /// Process context. Fails if it is not running, or asleep: see [`LogicalUnit::wake`].
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

    /// Has the midlayer send it a command without data, or with data from it, and waits for it: `timeout` jiffies,
    /// and what error handling takes. What the logical unit reports on this occasion reaches the midlayer.
    ///
    /// Process context. `data` has to be memory of the kernel's linear mapping, as [`KVec`] and
    /// [`KBox`] give. Fails unless it was carried out.
    pub fn execute(&self, cdb: &[u8; 16], data: &mut [u8], timeout: Jiffies) -> Result {
        let args = bindings::scsi_exec_args::default();
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

        match result {
            0 => Ok(()),
            1.. => Err(EIO),
            _ => to_result(result),
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

/// Keeps a logical unit awake until it is dropped.
///
/// # Invariants
///
/// If `awake`, this is counted by the runtime power management of the unit.
#[must_use = "it may sleep again at once"]
pub struct Awake<'a> {
    unit: &'a LogicalUnit,
    awake: bool,
}

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        if self.awake {
            // SAFETY: The device is valid, and by the type invariant this is counted in.
            unsafe { bindings::scsi_helper_autopm_put_device(self.unit.0.as_ptr()) };
        }
    }
}

impl Drop for LogicalUnit {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::scsi_device_put(self.0.as_ptr()) };
    }
}
