// SPDX-License-Identifier: GPL-2.0

//! The functions in a host template that are about timeouts and error handling.
//!
//! C header: [`include/scsi/scsi_eh.h`](srctree/include/scsi/scsi_eh.h)

use super::{
    bindings,
    cmnd::Cmnd,
    driver::{
        Driver,
        EhResult,
        TimeoutAction, //
    },
    eh::{
        wait_until_given_back,
        Scope, //
    },
    host_data::{
        driver_of,
        hold_shared_of, //
    },
    pdu::Pdu,
    template::Template, //
};
use core::ptr::NonNull;
use kernel::{
    ffi::c_int,
    prelude::*, //
};

impl<T: Driver> Template<T> {
    /// Borrows the driver of the host of a command.
    ///
    /// # Safety
    ///
    /// `cmd` must be a valid command of a host of `T` whose `Host` is there for `'a`.
    #[inline]
    unsafe fn driver_of_command<'a>(cmd: NonNull<bindings::scsi_cmnd>) -> Option<&'a T> {
        // SAFETY: The command is valid, so its device is, so the host of the device is.
        unsafe { driver_of((*(*cmd.as_ptr()).device).host) }
    }

    /// # Safety
    ///
    /// Called by the block layer's timeout worker, at most one at a time for a command. The block
    /// layer holds the request, so `cmd` is valid during the call; the driver may complete it at
    /// the same time.
    pub(super) unsafe extern "C" fn eh_timed_out_callback(
        cmd: *mut bindings::scsi_cmnd,
    ) -> bindings::scsi_timeout_action {
        let action = NonNull::new(cmd).and_then(|cmd| {
            // SAFETY: The command is valid, and the `Host` is there, because its removal waits for
            // the command.
            let driver = unsafe { Self::driver_of_command(cmd) }?;

            // SAFETY: The command is a valid one of a host of `T` during this call.
            Some(driver.eh_timed_out(unsafe { Cmnd::from_raw(cmd) }))
        });

        match action {
            Some(TimeoutAction::Done) => bindings::scsi_timeout_action_SCSI_EH_DONE,
            Some(TimeoutAction::ResetTimer) => bindings::scsi_timeout_action_SCSI_EH_RESET_TIMER,
            Some(TimeoutAction::NotHandledAbortAgain) => {
                // As `scsi_prepare_cmd()` does for a command that is not a retry.
                //
                // SAFETY: The command is valid. While its timeout is handled, error handling does
                // not have it, so nobody else uses the flags, and no abort is pending.
                unsafe { (*cmd).eh_eflags = 0 };
                bindings::scsi_timeout_action_SCSI_EH_NOT_HANDLED
            }
            Some(TimeoutAction::NotHandled) | None => {
                bindings::scsi_timeout_action_SCSI_EH_NOT_HANDLED
            }
        }
    }

    /// # Safety
    ///
    /// Called by error handling, in process context, before it retries a command, which it owns.
    pub(super) unsafe extern "C" fn eh_should_retry_cmd_callback(
        cmd: *mut bindings::scsi_cmnd,
    ) -> bool {
        NonNull::new(cmd).is_none_or(|cmd| {
            // SAFETY: The command is valid, and the `Host` is there, because its removal waits for
            // the command.
            let driver = unsafe { Self::driver_of_command(cmd) };

            // SAFETY: The command is a valid one of a host of `T` during this call.
            driver.is_none_or(|driver| driver.eh_should_retry_cmd(unsafe { Cmnd::from_raw(cmd) }))
        })
    }

    /// Runs a step of error handling. Returns only when the driver owns none of the commands that
    /// the midlayer takes for its own from then on: those within `scope` if the step has succeeded,
    /// and all if it has not and is the last.
    ///
    /// # Safety
    ///
    /// Called in process context by error handling, for a command of which it holds the request; or
    /// by the ioctl `SG_SCSI_RESET`, with a command of its own that was never queued, of a device
    /// to which it holds a reference. In the latter case the host may be removed at any time.
    unsafe fn recover(
        cmd: *mut bindings::scsi_cmnd,
        scope: Scope,
        is_last: bool,
        step: fn(&T, &Cmnd<T::CommandData>) -> EhResult,
    ) -> c_int {
        let result = NonNull::new(cmd).and_then(|ptr| {
            // SAFETY: The command is valid, so its device is, which holds a reference to its host.
            let shared = unsafe { hold_shared_of::<T>((*(*cmd).device).host) }?;

            // SAFETY: The command is valid.
            let is_from_ioctl = unsafe { (*cmd).submitter }
                == bindings::scsi_cmnd_submitter_SUBMITTED_BY_SCSI_RESET_IOCTL;

            if is_from_ioctl {
                // SAFETY: The ioctl has allocated the command with an area, with `kmalloc()`, and
                // nobody else uses it.
                unsafe { Pdu::<T::CommandData>::init(ptr, shared.driver.lengths()) };
            }

            // SAFETY: The command is a valid one of a host of `T` during this call, and has an
            // area.
            let cmnd = unsafe { Cmnd::from_raw(ptr) };
            let result = step(&shared.driver, cmnd);

            // The ioctl only reports the result.
            if !is_from_ioctl && (result == EhResult::Success || is_last) {
                // SAFETY: These are the devices of the host of the command.
                unsafe { wait_until_given_back(cmnd, scope, &shared.units) };
            }
            Some(result)
        });

        // CAST: Both values are small and positive.
        match result {
            Some(EhResult::Success) => bindings::scsi_disposition_SUCCESS as c_int,
            Some(EhResult::Failed) | None => bindings::scsi_disposition_FAILED as c_int,
        }
    }

    /// # Safety
    ///
    /// As for [`Template::recover`]. Called for each command that has timed out, while the host
    /// goes on.
    pub(super) unsafe extern "C" fn eh_abort_callback(cmd: *mut bindings::scsi_cmnd) -> c_int {
        // SAFETY: The requirements are the same.
        unsafe { Self::recover(cmd, Scope::Command, false, T::eh_abort) }
    }

    /// # Safety
    ///
    /// As for [`Template::recover`].
    pub(super) unsafe extern "C" fn eh_device_reset_callback(
        cmd: *mut bindings::scsi_cmnd,
    ) -> c_int {
        // SAFETY: The requirements are the same.
        unsafe { Self::recover(cmd, Scope::Device, false, T::eh_device_reset) }
    }

    /// # Safety
    ///
    /// As for [`Template::recover`].
    pub(super) unsafe extern "C" fn eh_target_reset_callback(
        cmd: *mut bindings::scsi_cmnd,
    ) -> c_int {
        // SAFETY: The requirements are the same.
        unsafe { Self::recover(cmd, Scope::Target, false, T::eh_target_reset) }
    }

    /// # Safety
    ///
    /// As for [`Template::recover`].
    pub(super) unsafe extern "C" fn eh_bus_reset_callback(cmd: *mut bindings::scsi_cmnd) -> c_int {
        // SAFETY: The requirements are the same.
        unsafe { Self::recover(cmd, Scope::Host, false, T::eh_bus_reset) }
    }

    /// # Safety
    ///
    /// As for [`Template::recover`].
    pub(super) unsafe extern "C" fn eh_host_reset_callback(cmd: *mut bindings::scsi_cmnd) -> c_int {
        let step = |driver: &T, cmnd: &Cmnd<T::CommandData>| {
            if T::HAS_EH_HOST_RESET {
                driver.eh_host_reset(cmnd)
            } else {
                EhResult::Failed
            }
        };

        // SAFETY: The requirements are the same.
        unsafe { Self::recover(cmd, Scope::Host, true, step) }
    }

    /// # Safety
    ///
    /// Called by the midlayer in process context, when root has written the attribute `host_reset`
    /// of a host of `T`, which is not removed before this returns.
    pub(super) unsafe extern "C" fn host_reset_callback(
        shost: *mut bindings::Scsi_Host,
        kind: c_int,
    ) -> c_int {
        // The host is all that there is: it has no firmware.
        //
        // CAST: The constants are small and positive. The kernel crate of 7.2 does not have this
        // error.
        if kind != bindings::SCSI_ADAPTER_RESET as c_int {
            return -(kernel::bindings::EOPNOTSUPP as c_int);
        }

        // SAFETY: The host is one of `T`, and its `Host` is there.
        let result = match unsafe { driver_of::<T>(shost) } {
            Some(driver) => driver.host_reset(),
            None => Err(ENODEV),
        };

        result.map_or_else(Error::to_errno, |()| 0)
    }
}
