// SPDX-License-Identifier: GPL-2.0

//! The SCSI device: a logical unit of a host.
//!
//! # Misuse that does not compile
//!
//! In `examples/scsi_null/misuse/`: a device that outlives the command that lends it (E0505), a
//! guard that outlives its device (E0515), and data of another kind of host (E0308).
//!
//! C header: [`include/scsi/scsi_device.h`](srctree/include/scsi/scsi_device.h)

use super::{
    bindings,
    device_event::DeviceEvent,
    pdu::{
        CommandData,
        DevicePdu, //
    },
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    time::Jiffies,
    types::Opaque, //
};

/// The state of a device, in groups of `enum scsi_device_state`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceState {
    /// It is being scanned: `SDEV_CREATED`, `SDEV_CREATED_BLOCK`.
    New,
    /// It takes commands, or is paused: `SDEV_RUNNING`, `SDEV_QUIESCE`, `SDEV_BLOCK`.
    Online,
    /// It was taken offline, by the user or by error handling: `SDEV_OFFLINE`,
    /// `SDEV_TRANSPORT_OFFLINE`.
    Offline,
    /// It is being removed, or was: `SDEV_CANCEL`, `SDEV_DEL`.
    Leaving,
}

/// A device: `struct scsi_device`.
///
/// A reference to it does not keep it from being removed. A device that was removed fails all
/// commands.
///
/// The counted form, [`ARef<Device>`](ARef), counts with `get_device()`. Unlike `scsi_device_get()`
/// this cannot fail and takes no reference to the module of the host's driver: the code that counts
/// is that module's own, because `D` is one of its types.
///
/// # Invariants
///
/// It is a valid device of a host whose commands hold `D`, and its `DevicePdu` is initialised.
#[repr(transparent)]
pub struct Device<D: CommandData> {
    inner: Opaque<bindings::scsi_device>,
    _data: PhantomData<fn() -> D>,
}

// SAFETY: A device can be used and put from any thread.
unsafe impl<D: CommandData> Send for Device<D> {}

// SAFETY: The midlayer has locks for what the methods below change, and the data are `Sync`.
unsafe impl<D: CommandData> Sync for Device<D> {}

// SAFETY: The reference count is that of the embedded `struct device`, at whose end the midlayer
// frees the device.
unsafe impl<D: CommandData> AlwaysRefCounted for Device<D> {
    fn inc_ref(&self) {
        // SAFETY: By the type invariant the device is valid, and the caller has a reference, so the
        // count is not 0.
        unsafe { kernel::bindings::get_device(&raw mut (*self.as_raw()).sdev_gendev) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference, so the device is valid. It may not be after
        // this.
        unsafe {
            let sdev = obj.cast::<bindings::scsi_device>().as_ptr();

            kernel::bindings::put_device(&raw mut (*sdev).sdev_gendev);
        }
    }
}

/// The flag of requests that [`Device::execute`] submits: `REQ_DRV`, which is for drivers to use.
pub(super) const OWN: u32 = 1 << kernel::bindings::req_flag_bits___REQ_DRV;

impl<D: CommandData> Device<D> {
    /// Makes a reference to a C device.
    ///
    /// # Safety
    ///
    /// `sdev` must satisfy the type invariant for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(sdev: *mut bindings::scsi_device) -> &'a Self {
        // CAST: `Self` is transparent to `scsi_device`.
        //
        // SAFETY: The caller guarantees the type invariant for `'a`.
        unsafe { &*sdev.cast::<Self>() }
    }

    /// Takes a counted reference to a C device that `scsi_device_get()` holds, or `None` if
    /// `sdev_init` was not called for it.
    ///
    /// # Safety
    ///
    /// `sdev` must be a device of a host whose commands hold `D`, to which the caller holds a
    /// reference.
    pub(super) unsafe fn get(sdev: NonNull<bindings::scsi_device>) -> Option<ARef<Self>> {
        let sdev = sdev.as_ptr();

        // SAFETY: The caller guarantees that the device is valid, and one of a host whose commands
        // hold `D`. What is made a reference of is initialised.
        unsafe { DevicePdu::<D>::is_initialized(sdev).then(|| Self::from_raw(sdev).into()) }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::scsi_device {
        self.inner.get()
    }

    /// Returns the C host, to which the device holds a reference.
    pub(super) fn host(&self) -> *mut bindings::Scsi_Host {
        // SAFETY: By the type invariant the device is valid. The field does not change.
        unsafe { (*self.as_raw()).host }
    }

    /// Returns the driver's data of the device.
    #[inline]
    pub fn data(&self) -> &D::Device {
        // SAFETY: By the type invariant the data are initialised, and they live as long as the
        // device.
        unsafe { DevicePdu::<D>::data(self.as_raw()) }
    }

    /// Returns its target.
    #[inline]
    pub fn target(&self) -> u32 {
        // SAFETY: By the type invariant the device is valid. The field does not change.
        unsafe { (*self.as_raw()).id }
    }

    /// Returns its logical unit number, as the midlayer numbers them.
    #[inline]
    pub fn lun(&self) -> u64 {
        // SAFETY: By the type invariant the device is valid. The field does not change.
        unsafe { (*self.as_raw()).lun }
    }

    /// Returns whether it is a CD-ROM drive, or another device that follows MMC (`TYPE_ROM`).
    pub fn is_rom(&self) -> bool {
        // SAFETY: By the type invariant the device is valid. Scanning writes the field, possibly
        // now.
        let kind = unsafe { (&raw const (*self.as_raw()).type_).read_volatile() };

        c_uint::from(kind) == bindings::TYPE_ROM
    }

    /// Returns the first byte of its INQUIRY data, peripheral qualifier and device type (SPC), or
    /// `None` before the midlayer has them.
    pub fn inquiry_byte(&self) -> Option<u8> {
        // SAFETY: By the type invariant the device is valid. The field is set once, before the
        // device is added.
        let inquiry = unsafe { (&raw const (*self.as_raw()).inquiry).read_volatile() };
        let inquiry = NonNull::new(inquiry)?;

        // SAFETY: The data have 36 bytes or more, and live as long as the device.
        Some(unsafe { *inquiry.as_ptr() })
    }

    /// Returns whether the midlayer reads its VPD pages: `scsi_device_supports_vpd()`.
    pub fn supports_vpd(&self) -> bool {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::scsi_helper_supports_vpd(self.as_raw()) }
    }

    /// Makes the midlayer read its VPD pages even if it claims a standard too old to have them,
    /// unless the list of devices forbids it (`BLIST_SKIP_VPD_PAGES`): `try_vpd_pages`.
    ///
    /// Process context. From [`Driver::sdev_configure`], or later for the next rescan.
    ///
    /// [`Driver::sdev_configure`]: super::Driver::sdev_configure
    pub fn try_vpd_pages(&self) {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::scsi_helper_try_vpd_pages(self.as_raw()) };
    }

    /// Makes the midlayer no longer read its VPD pages: `skip_vpd_pages`.
    ///
    /// Process context, as for [`Device::try_vpd_pages`].
    pub fn skip_vpd_pages(&self) {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::scsi_helper_skip_vpd_pages(self.as_raw()) };
    }

    /// Lets the unit attention of an event reach user space: `supported_events`. By default none
    /// does, until the user permits it in sysfs.
    pub fn support_event(&self, event: DeviceEvent) {
        // SAFETY: By the type invariant the device is valid, and the event is one of the bits of
        // the field.
        unsafe { bindings::scsi_helper_support_event(self.as_raw(), event.as_raw()) };
    }

    /// Returns its state, which may change at any time.
    pub fn state(&self) -> DeviceState {
        // SAFETY: By the type invariant the device is valid. Others change the field at the same
        // time.
        let state = unsafe { (&raw const (*self.as_raw()).sdev_state).read_volatile() };

        match state {
            bindings::scsi_device_state_SDEV_CREATED
            | bindings::scsi_device_state_SDEV_CREATED_BLOCK => DeviceState::New,
            bindings::scsi_device_state_SDEV_CANCEL | bindings::scsi_device_state_SDEV_DEL => {
                DeviceState::Leaving
            }
            bindings::scsi_device_state_SDEV_OFFLINE
            | bindings::scsi_device_state_SDEV_TRANSPORT_OFFLINE => DeviceState::Offline,
            _ => DeviceState::Online,
        }
    }

    /// Takes it offline: commands sent to it from now on fail. In a state that does not permit
    /// this, it takes no commands of users anyway.
    ///
    /// Process context.
    pub fn set_offline(&self) {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::scsi_helper_set_offline(self.as_raw()) };
    }

    /// Returns how many of its commands have ended without error: done, less errors, less timeouts.
    /// A number to compare, because a timeout counts at once, and its command as done only later.
    pub fn successes(&self) -> i32 {
        let count = |counter: *const kernel::bindings::atomic_t| {
            // SAFETY: By the type invariant the device is valid. Others change the number at the
            // same time.
            unsafe { (&raw const (*counter).counter).read_volatile() }
        };
        let sdev = self.as_raw();

        // SAFETY: By the type invariant the device is valid, so the addresses are in bounds.
        let (done, errors, timeouts) = unsafe {
            (
                &raw const (*sdev).iodone_cnt,
                &raw const (*sdev).ioerr_cnt,
                &raw const (*sdev).iotmo_cnt,
            )
        };

        count(done)
            .wrapping_sub(count(errors))
            .wrapping_sub(count(timeouts))
    }

    /// Returns the number of commands that each device of its host can have in flight:
    /// `cmd_per_lun` of the host.
    pub fn host_cmd_per_lun(&self) -> u16 {
        // SAFETY: The host is valid, because the device is. Others change the field at the same
        // time.
        let depth = unsafe { (&raw const (*self.host()).cmd_per_lun).read_volatile() };

        u16::try_from(depth).unwrap_or(0)
    }

    /// Resumes it if it is runtime suspended, and keeps it so until the guard is dropped:
    /// `scsi_autopm_get_device()`.
    ///
    /// Process context.
    pub fn autopm_get(&self) -> AutopmGuard<'_, D> {
        // SAFETY: By the type invariant the device is valid.
        let counted = unsafe { bindings::scsi_helper_autopm_get_device(self.as_raw()) } == 0;

        // INVARIANT: On success the call above has counted the guard.
        AutopmGuard {
            device: self,
            counted,
        }
    }

    /// Reads again all that the midlayer and the upper level driver keep of it, its capacity
    /// included: `scsi_rescan_device()`.
    ///
    /// Process context. Fails if it is not running, or suspended: see [`Device::autopm_get`].
    pub fn rescan(&self) -> Result {
        // SAFETY: By the type invariant the device is valid.
        to_result(unsafe { bindings::scsi_rescan_device(self.as_raw()) })
    }

    /// Sends an event to user space, as a uevent: `sdev_evt_send_simple()`.
    ///
    /// Process context.
    pub fn send_event(&self, event: DeviceEvent) {
        // SAFETY: By the type invariant the device is valid.
        unsafe {
            bindings::sdev_evt_send_simple(
                self.as_raw(),
                event.as_raw(),
                kernel::bindings::GFP_KERNEL,
            );
        }
    }

    /// Sends it a command without data, or one that fills `data`, and waits for its end: `timeout`
    /// jiffies, plus error handling. The midlayer handles unit attentions that the device reports.
    ///
    /// Process context. Fails unless the command has ended with GOOD status.
    pub fn execute(&self, cdb: &[u8; 16], data: &mut [u8], timeout: Jiffies) -> Result {
        let args: bindings::scsi_exec_args = pin_init::zeroed();
        let len = c_uint::try_from(data.len())?;
        let buffer = if len == 0 {
            ptr::null_mut()
        } else {
            data.as_mut_ptr()
        };

        // SAFETY: By the type invariant the device is valid. The CDB is long enough for any
        // operation code that `COMMAND_SIZE()` knows, and `buffer` has `len` bytes, which are not
        // used after the call.
        let result = unsafe {
            bindings::scsi_execute_cmd(
                self.as_raw(),
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

    /// Removes it from the system, after its commands have ended: `scsi_remove_device()`.
    ///
    /// Process context, outside of the callbacks of [`Driver`](super::Driver).
    pub fn remove(&self) {
        // SAFETY: By the type invariant the device is valid. It may have been removed before.
        unsafe { bindings::scsi_remove_device(self.as_raw()) };
    }
}

/// Keeps a device from runtime suspend until it is dropped.
///
/// # Invariants
///
/// If `counted`, the usage count of the device includes this guard.
#[must_use = "the device may be suspended again at once"]
pub struct AutopmGuard<'a, D: CommandData> {
    device: &'a Device<D>,
    counted: bool,
}

impl<D: CommandData> Drop for AutopmGuard<'_, D> {
    fn drop(&mut self) {
        if self.counted {
            // SAFETY: The device is valid, and by the type invariant its usage count includes this
            // guard.
            unsafe { bindings::scsi_helper_autopm_put_device(self.device.as_raw()) };
        }
    }
}
