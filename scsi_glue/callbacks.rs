// SPDX-License-Identifier: GPL-2.0

//! The functions in a host template that are about commands, queues and devices.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    bindings,
    device::Device,
    driver::{
        Busy,
        Driver, //
    },
    host_data::{
        driver_of,
        host_data_of, //
    },
    owned_cmnd::OwnedCmnd,
    pdu::{
        DevicePdu,
        Pdu, //
    },
    queue_map::{
        for_each_map,
        QueueMap, //
    },
    template::Template, //
};
use crate::kernel_glue::RcuSection;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    error::{
        code::ENODEV,
        from_result, //
    },
    ffi::{
        c_int,
        c_uint, //
    }, //
    sync::rcu,
};

impl<T: Driver> Template<T> {
    /// # Safety
    ///
    /// Called by the block layer when it allocates the requests of a tag set, those of a scheduler,
    /// and those for flushes, once for each, from pages of the linear mapping. The host may not
    /// have been added yet. `cmd` is a new command of a host of `T`, and nobody uses it.
    pub(super) unsafe extern "C" fn init_cmd_priv_callback(
        shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
    ) -> c_int {
        // SAFETY: The `Host` is there: it has data before it adds the host, and its removal waits
        // until the tag set is freed, after which nobody allocates requests.
        let Some(driver) = (unsafe { driver_of::<T>(shost) }) else {
            return ENODEV.to_errno();
        };

        if let Some(cmd) = NonNull::new(cmd) {
            // SAFETY: The command is one of a host of `T`, in the linear mapping, and nobody uses
            // it. It stays in place.
            unsafe { Pdu::<T::CommandData>::init(cmd, driver.lengths()) };
        }
        0
    }

    /// # Safety
    ///
    /// Called by the midlayer to send a command, from the block layer or from error handling, on
    /// any CPU, and on several at the same time. `cmd` is a valid command of a device of `shost`,
    /// whose data, CDB and sense buffer stay until `scsi_done()`. It becomes the driver's, unless
    /// this returns other than 0.
    pub(super) unsafe extern "C" fn queue_command_callback(
        shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
    ) -> bindings::scsi_qc_status {
        // The block layer calls this in an RCU read-side critical section, as the tag set is not
        // `BLK_MQ_F_BLOCKING`. Error handling does not.
        //
        // SAFETY: The command is valid.
        let _rcu = match unsafe { (*cmd).submitter } {
            // SAFETY: All that is required of this function is required of that one, and this is
            // an RCU read-side critical section.
            bindings::scsi_cmnd_submitter_SUBMITTED_BY_BLOCK_LAYER => unsafe {
                return Self::queue_command(shost, cmd, RcuSection::assume());
            },
            _ => rcu::read_lock(),
        };

        // SAFETY: As above.
        unsafe { Self::queue_command(shost, cmd, RcuSection::assume()) }
    }

    /// Hands a command over to the driver.
    ///
    /// # Safety
    ///
    /// As for [`Self::queue_command_callback`].
    #[inline(never)]
    unsafe fn queue_command(
        shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
        rcu: RcuSection<'_>,
    ) -> bindings::scsi_qc_status {
        // SAFETY: The command is valid.
        let ptr = unsafe { NonNull::new_unchecked(cmd) };

        // SAFETY: The command is one of a host of `T`, so it has an area, which `init_cmd_priv` has
        // made.
        let owned = unsafe { &(*Pdu::<T::CommandData>::of(ptr).as_ptr()).owned };

        // Error handling sends a command again that the driver has not given back.
        if owned.get() {
            return bindings::scsi_qc_status_SCSI_MLQUEUE_DEVICE_BUSY;
        }
        owned.set(true);

        // SAFETY: The midlayer hands the command over, `owned` is set, and it was not before.
        let cmnd = unsafe { OwnedCmnd::<T::CommandData>::from_ptr(ptr) };

        // SAFETY: The `Host` is there, because the host was added and its removal waits for this.
        // If it were not, the command would be dropped here, which completes it.
        let Some(driver) = (unsafe { driver_of::<T>(shost) }) else {
            return 0;
        };
        let queue = cmnd.queue();
        let (cmnd, status) = match driver.queue_command(queue, cmnd, rcu) {
            Ok(()) => return 0,
            Err(Busy::Host(cmnd)) => (cmnd, bindings::scsi_qc_status_SCSI_MLQUEUE_HOST_BUSY),
            Err(Busy::Device(cmnd)) => (cmnd, bindings::scsi_qc_status_SCSI_MLQUEUE_DEVICE_BUSY),
        };

        if !ptr::eq(cmnd.as_raw(), cmd) {
            // This is another command, which is completed here. The driver has the one that it was
            // called with.
            return 0;
        }
        cmnd.give_back();
        status
    }

    /// # Safety
    ///
    /// Called by the block layer after it has sent a batch whose last command was not marked as the
    /// last, on any CPU.
    pub(super) unsafe extern "C" fn commit_rqs_callback(
        shost: *mut bindings::Scsi_Host,
        queue: u16,
    ) {
        // SAFETY: The `Host` is there, because devices of the host are.
        if let Some(driver) = unsafe { driver_of::<T>(shost) } {
            driver.commit_rqs(queue.into());
        }
    }

    /// # Safety
    ///
    /// Called by the block layer for a polled hardware queue, by whoever waits for one of its
    /// commands.
    pub(super) unsafe extern "C" fn mq_poll_callback(
        shost: *mut bindings::Scsi_Host,
        queue: c_uint,
    ) -> c_int {
        // SAFETY: The `Host` is there, because devices of the host are.
        let found = unsafe { driver_of::<T>(shost) }.map_or(0, |driver| driver.mq_poll(queue));

        c_int::try_from(found).unwrap_or(c_int::MAX)
    }

    /// # Safety
    ///
    /// Called by the block layer while `scsi_add_host_with_dma()` allocates the tag set, by one
    /// thread. The parent of the host is set, and bound.
    pub(super) unsafe extern "C" fn map_queues_callback(shost: *mut bindings::Scsi_Host) {
        // SAFETY: The `Host` is there, because it is adding the host.
        let Some(shared) = (unsafe { host_data_of::<T>(shost) }) else {
            return;
        };

        // SAFETY: The host is valid, and only this thread uses its tag set.
        let (maps, parent) = unsafe { (&mut (*shost).tag_set.map, (*shost).shost_gendev.parent) };
        let map = |map: QueueMap<'_>| {
            if T::HAS_MAP_QUEUES {
                shared.driver.map_queues(map);
            } else {
                map.map_queues();
            }
        };

        // SAFETY: These are the maps of a host that is being added, and the counts that it was made
        // with.
        unsafe { for_each_map(maps, shared.queues, parent, map) };
    }

    /// # Safety
    ///
    /// Called by a scan, in process context, once for a device that it has allocated. `sdev` is a
    /// valid device of a host of `T`. Others can find it, and no command was sent to it.
    pub(super) unsafe extern "C" fn sdev_init_callback(sdev: *mut bindings::scsi_device) -> c_int {
        // SAFETY: The device is valid, and the `Host` is there, because a scan ends before its
        // removal does.
        let Some(shared) = (unsafe { host_data_of::<T>((*sdev).host) }) else {
            return 0;
        };
        let count = shared.units.add();

        if T::HAS_SDEV_INIT {
            // SAFETY: The device is valid. Its address does not change.
            let (target, lun) = unsafe { ((*sdev).id, (*sdev).lun) };

            if let Err(error) = shared.driver.sdev_init(target, lun, count) {
                // The midlayer destroys it, and then it does not count, as it is not initialised.
                shared.units.remove();
                return error.to_errno();
            }
        }
        // SAFETY: The device is one of a host of `T`, and this is the only call for it.
        unsafe { DevicePdu::<T::CommandData>::init(sdev) };
        0
    }

    /// # Safety
    ///
    /// Called when a device is removed, in process context, once, after its last command has ended.
    /// Also for a device for which `sdev_init` was not called.
    pub(super) unsafe extern "C" fn sdev_destroy_callback(sdev: *mut bindings::scsi_device) {
        // SAFETY: The device is a valid one of a host of `T`.
        if !unsafe { DevicePdu::<T::CommandData>::is_initialized(sdev) } {
            return;
        }
        // SAFETY: The `Host` is there, because its removal waits for that of its devices.
        if let Some(shared) = unsafe { host_data_of::<T>((*sdev).host) } {
            shared.units.remove();
        }
    }

    /// # Safety
    ///
    /// Called by a scan, in process context, for a device that has answered INQUIRY, before it is
    /// added. `sdev_init` was called for it.
    pub(super) unsafe extern "C" fn sdev_configure_callback(
        sdev: *mut bindings::scsi_device,
        _limits: *mut kernel::bindings::queue_limits,
    ) -> c_int {
        // SAFETY: The device is valid, and the `Host` is there, because a scan ends before its
        // removal does.
        let Some(driver) = (unsafe { driver_of::<T>((*sdev).host) }) else {
            return 0;
        };

        // SAFETY: The device is a valid one of a host of `T` during this call, and initialised.
        let device = unsafe { Device::from_raw(sdev) };

        from_result(|| driver.sdev_configure(device).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called in process context when the user writes `queue_depth` in sysfs. `sdev` is a valid
    /// device of a host of `T`, and initialised.
    pub(super) unsafe extern "C" fn change_queue_depth_callback(
        sdev: *mut bindings::scsi_device,
        depth: c_int,
    ) -> c_int {
        // SAFETY: The device is valid, and the `Host` is there, because its removal waits for that
        // of the attributes of its devices.
        let driver = unsafe { driver_of::<T>((*sdev).host) };

        // SAFETY: The device is a valid one of a host of `T` during this call, and initialised.
        let device = unsafe { Device::from_raw(sdev) };
        let depth = u16::try_from(depth.max(0)).unwrap_or(u16::MAX);
        let depth = driver.map_or(depth, |driver| driver.change_queue_depth(device, depth));

        // SAFETY: The device is valid.
        unsafe { bindings::scsi_change_queue_depth(sdev, depth.into()) }
    }
}
