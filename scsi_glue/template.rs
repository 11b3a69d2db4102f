// SPDX-License-Identifier: GPL-2.0

//! The C host template of a [`Driver`].
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    bindings,
    command::{
        Area,
        Command, //
    },
    command_ref::CommandRef,
    driver::{
        Busy,
        Driver,
        RecoveryResult,
        TimeoutAction, //
    },
    host_data::{
        driver_of,
        hold_shared_of,
        host_data_of, //
    },
    logical_unit::LogicalUnit,
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::ffi::{
    c_int,
    c_uint, //
};

/// The C host template of a driver, and the functions in it.
///
/// Each function is only ever called by the midlayer, with a host that [`Host`] has made for `T`
/// and not removed yet, or with a command or a device of such a host. The handlers of resets alone are
/// also called for a host that is being removed, or was.
///
/// [`Host`]: super::Host
pub(super) struct Template<T: Driver>(PhantomData<T>);

impl<T: Driver> Template<T> {
    // `CStr::as_char_ptr()` cannot be called in a constant.
    #[expect(clippy::disallowed_methods)]
    const TEMPLATE: bindings::scsi_host_template = bindings::scsi_host_template {
        module: (&raw const kernel::bindings::__this_module).cast_mut(),
        name: T::NAME.as_ptr().cast(),
        proc_name: T::PROC_NAME.as_ptr().cast(),
        cmd_size: Area::<T>::SIZE,
        init_cmd_priv: Some(Self::init_command_callback),
        queuecommand: Some(Self::queue_command_callback),
        commit_rqs: Some(Self::commit_callback),
        map_queues: Some(Self::map_queues_callback),
        mq_poll: Some(Self::poll_callback),
        sdev_init: Some(Self::unit_init_callback),
        sdev_destroy: Some(Self::unit_destroy_callback),
        sdev_configure: Some(Self::configure_callback),
        change_queue_depth: Some(Self::change_queue_depth_callback),
        eh_timed_out: Some(Self::timed_out_callback),
        eh_should_retry_cmd: Some(Self::should_retry_callback),
        eh_abort_handler: Some(Self::abort_callback),
        eh_device_reset_handler: Some(Self::reset_logical_unit_callback),
        eh_target_reset_handler: Some(Self::reset_target_callback),
        // The bus of a virtio host adapter is all of its targets.
        eh_bus_reset_handler: Some(Self::reset_host_callback),
        eh_host_reset_handler: Some(Self::reset_host_callback),
        this_id: -1,
        // A segment may be anywhere, but not cross a 4 GiB boundary.
        dma_boundary: u32::MAX as kernel::ffi::c_ulong,
        _bitfield_1: Self::FLAGS,
        ..pin_init::zeroed()
    };

    /// The one-bit fields. The second is `track_queue_depth`: queue depths are lowered when a device
    /// reports TASK SET FULL, and raised again. The sixth is `skip_settle_delay`: there is no bus
    /// that would have to settle for ten seconds after a reset.
    ///
    /// bindgen's setters cannot be called in a constant.
    const FLAGS: bindings::__BindgenBitfieldUnit<[u8; 2usize]> =
        bindings::__BindgenBitfieldUnit::new([
            if cfg!(target_endian = "little") {
                1 << 1 | 1 << 5
            } else {
                1 << 6 | 1 << 2
            },
            0,
        ]);

    /// Returns the template.
    pub(super) fn get() -> &'static bindings::scsi_host_template {
        &Self::TEMPLATE
    }

    /// Returns the driver of the host of a command.
    ///
    /// # Safety
    ///
    /// `cmd` must be a valid command of a host of `T` that is not removed, for `'a`.
    #[inline]
    unsafe fn driver_of_command<'a>(cmd: NonNull<bindings::scsi_cmnd>) -> Option<&'a T> {
        // SAFETY: By the safety requirements of this function, the command is valid, and it has a
        // valid device, which has a valid host of `T`.
        unsafe { driver_of((*(*cmd.as_ptr()).device).host) }
    }

    /// # Safety
    ///
    /// See the type. The command is new.
    unsafe extern "C" fn init_command_callback(
        _shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
    ) -> c_int {
        if let Some(cmd) = NonNull::new(cmd) {
            // SAFETY: The command is one of a host of `T`, and new.
            unsafe { Area::<T>::init(cmd) };
        }
        0
    }

    /// # Safety
    ///
    /// See the type. The command becomes the driver's, unless this returns other than 0.
    unsafe extern "C" fn queue_command_callback(
        shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
    ) -> bindings::scsi_qc_status {
        let Some(cmd) = NonNull::new(cmd) else {
            return 0;
        };

        // SAFETY: The midlayer hands the command over.
        let command = unsafe { Command::<T>::from_ptr(cmd) };
        let queue = command.as_ref().unique_tag() >> kernel::bindings::BLK_MQ_UNIQUE_TAG_BITS;

        // SAFETY: The host is one of `T` that is not removed. Were it without a driver, the
        // command would be dropped here, which completes it.
        let Some(driver) = (unsafe { driver_of::<T>(shost) }) else {
            return 0;
        };

        match driver.queue_command(queue, command) {
            Ok(()) => 0,
            Err(Busy::Host(command)) => {
                // It is the midlayer's again.
                let _ = command.into_ptr();
                bindings::scsi_qc_status_SCSI_MLQUEUE_HOST_BUSY
            }
            Err(Busy::Unit(command)) => {
                let _ = command.into_ptr();
                bindings::scsi_qc_status_SCSI_MLQUEUE_DEVICE_BUSY
            }
        }
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn commit_callback(shost: *mut bindings::Scsi_Host, queue: u16) {
        // SAFETY: The host is one of `T` that is not removed.
        if let Some(driver) = unsafe { driver_of::<T>(shost) } {
            driver.commit(queue.into());
        }
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn poll_callback(shost: *mut bindings::Scsi_Host, queue: c_uint) -> c_int {
        // SAFETY: The host is one of `T` that is not removed.
        let found = unsafe { driver_of::<T>(shost) }.map_or(0, |driver| driver.poll(queue));

        c_int::try_from(found).unwrap_or(c_int::MAX)
    }

    /// # Safety
    ///
    /// See the type. The host's tag set is being set up.
    unsafe extern "C" fn map_queues_callback(shost: *mut bindings::Scsi_Host) {
        // SAFETY: The host is one of `T` that is not removed.
        let Some(driver) = (unsafe { driver_of::<T>(shost) }) else {
            return;
        };
        let counts = driver.queues();

        // SAFETY: The host is valid, and so is the device that it was registered for.
        let parent = unsafe { (*shost).shost_gendev.parent };

        // SAFETY: The host is valid, and only this thread uses its tag set.
        let maps = unsafe { &mut (*shost).tag_set.map };
        let mut offset = 0;

        for (kind, map) in (0..).zip(maps) {
            let polled = kind == kernel::bindings::hctx_type_HCTX_TYPE_POLL;

            map.nr_queues = match kind {
                kernel::bindings::hctx_type_HCTX_TYPE_DEFAULT => counts.interrupt,
                _ if polled => counts.polled,
                _ => 0,
            };
            map.queue_offset = offset;
            offset += map.nr_queues;

            // A kind that the host does not have has no map to fill.
            if map.nr_queues == 0 || map.mq_map.is_null() {
                continue;
            }

            // Queues that interrupt serve the CPUs that their interrupt goes to. Those that are
            // polled have none, so the block layer can spread them as it likes.
            //
            // SAFETY: The map has room for all CPUs, and the device is valid.
            unsafe {
                if polled {
                    kernel::bindings::blk_mq_map_queues(map);
                } else {
                    kernel::bindings::blk_mq_map_hw_queues(map, parent, T::OTHER_INTERRUPTS);
                }
            }
        }
    }

    /// # Safety
    ///
    /// See the type. The device is new, and nobody else uses it.
    unsafe extern "C" fn unit_init_callback(sdev: *mut bindings::scsi_device) -> c_int {
        // SAFETY: The device is valid, and its host is one of `T` that is not removed.
        if let Some(shared) = unsafe { host_data_of::<T>((*sdev).host) } {
            const KNOWN: usize = bindings::scsi_helper_mark_SCSI_HELPER_KNOWN as usize;

            shared.unit_comes();
            // SAFETY: The device is valid and new. Its `hostdata` is the driver's to use, and no address.
            unsafe { (*sdev).hostdata = core::ptr::without_provenance_mut(KNOWN) };
        }
        0
    }

    /// # Safety
    ///
    /// See the type. The device is not used any more.
    unsafe extern "C" fn unit_destroy_callback(sdev: *mut bindings::scsi_device) {
        // SAFETY: The device is valid.
        if unsafe { (*sdev).hostdata.is_null() } {
            // It was never heard of.
            return;
        }
        // SAFETY: The device is valid, and the removal of its host, which is one of `T`, has not ended.
        if let Some(shared) = unsafe { host_data_of::<T>((*sdev).host) } {
            shared.unit_goes();
        }
    }

    /// # Safety
    ///
    /// See the type. The device is new, and nobody else uses it.
    unsafe extern "C" fn configure_callback(
        sdev: *mut bindings::scsi_device,
        _limits: *mut kernel::bindings::queue_limits,
    ) -> c_int {
        // The limits of a logical unit that is passed through may come from the machine that does
        // it. It says so in its VPD pages, even where the unit itself is too old to be asked.
        //
        // SAFETY: The device is valid, and nobody else uses it.
        unsafe {
            bindings::scsi_helper_try_vpd_pages(sdev);
            bindings::scsi_helper_support_events(sdev);
        }

        if let Some(sdev) = NonNull::new(sdev) {
            // SAFETY: The device is valid, and its host is one of `T` that is not removed.
            let driver = unsafe { driver_of::<T>((*sdev.as_ptr()).host) };

            // SAFETY: The device is valid for as long as this runs. The reference is given up again
            // without being put.
            let unit = ManuallyDrop::new(unsafe { LogicalUnit::from_ptr(sdev) });

            if let Some(driver) = driver {
                driver.found(&unit);
            }
        }
        0
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn change_queue_depth_callback(
        sdev: *mut bindings::scsi_device,
        depth: c_int,
    ) -> c_int {
        // SAFETY: The device is valid, and so is its host.
        let most = unsafe { (*(*sdev).host).cmd_per_lun };

        // SAFETY: The device is valid.
        unsafe { bindings::scsi_change_queue_depth(sdev, depth.min(most.into())) }
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn timed_out_callback(
        cmd: *mut bindings::scsi_cmnd,
    ) -> bindings::scsi_timeout_action {
        let action = NonNull::new(cmd).and_then(|cmd| {
            // SAFETY: The command is valid, and its host is not removed.
            let driver = unsafe { Self::driver_of_command(cmd) }?;

            // SAFETY: The block layer keeps the command for as long as this runs.
            Some(driver.timed_out(unsafe { CommandRef::from_ptr(cmd) }))
        });

        match action {
            Some(TimeoutAction::Done) => bindings::scsi_timeout_action_SCSI_EH_DONE,
            Some(TimeoutAction::ResetTimer) => bindings::scsi_timeout_action_SCSI_EH_RESET_TIMER,
            Some(TimeoutAction::Recover) | None => {
                bindings::scsi_timeout_action_SCSI_EH_NOT_HANDLED
            }
        }
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn should_retry_callback(cmd: *mut bindings::scsi_cmnd) -> bool {
        NonNull::new(cmd).is_none_or(|cmd| {
            // SAFETY: The command is valid, and its host is not removed.
            let driver = unsafe { Self::driver_of_command(cmd) };

            // SAFETY: The midlayer has the command for as long as this runs.
            driver.is_none_or(|driver| driver.should_retry(unsafe { CommandRef::from_ptr(cmd) }))
        })
    }

    /// Runs a step of error handling.
    ///
    /// It is also what the ioctl `SG_SCSI_RESET` runs, which has a reference to the device, and nothing that
    /// keeps the host from being removed meanwhile. So the driver is held for as long as this takes.
    ///
    /// # Safety
    ///
    /// `cmd` must be a valid command of a host of `T`, and one that error handling is about.
    unsafe fn recover(
        cmd: *mut bindings::scsi_cmnd,
        step: impl FnOnce(&T, CommandRef<'_, T>) -> RecoveryResult,
    ) -> c_int {
        let result = NonNull::new(cmd).and_then(|cmd| {
            // SAFETY: By the safety requirements of this function the command is valid, and so are its
            // device and host.
            let shared = unsafe { hold_shared_of::<T>((*(*cmd.as_ptr()).device).host) }?;

            // SAFETY: By the safety requirements of this function, the midlayer keeps the command
            // for as long as this runs.
            Some(step(&shared.driver, unsafe { CommandRef::from_ptr(cmd) }))
        });

        // CAST: Both values are small and positive.
        match result {
            Some(RecoveryResult::Success) => bindings::scsi_disposition_SUCCESS as c_int,
            Some(RecoveryResult::Failed) | None => bindings::scsi_disposition_FAILED as c_int,
        }
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn abort_callback(cmd: *mut bindings::scsi_cmnd) -> c_int {
        // SAFETY: By the safety requirements of this function.
        unsafe { Self::recover(cmd, T::abort) }
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn reset_logical_unit_callback(cmd: *mut bindings::scsi_cmnd) -> c_int {
        // SAFETY: By the safety requirements of this function.
        unsafe { Self::recover(cmd, T::reset_logical_unit) }
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn reset_target_callback(cmd: *mut bindings::scsi_cmnd) -> c_int {
        // SAFETY: By the safety requirements of this function.
        unsafe { Self::recover(cmd, T::reset_target) }
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn reset_host_callback(cmd: *mut bindings::scsi_cmnd) -> c_int {
        // SAFETY: By the safety requirements of this function.
        unsafe { Self::recover(cmd, T::reset_host) }
    }
}
