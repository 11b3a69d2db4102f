// SPDX-License-Identifier: GPL-2.0

//! The callbacks of a low-level driver.
//!
//! # Misuse
//!
//! In `examples/scsi_null/misuse/`: an implementation without `#[vtable]`, which would offer no
//! optional callback, does not compile (E0046).
//!
//! The callbacks are safe, so the glue does not trust them. A command that
//! [`Driver::queue_command`] returns is compared with the one that it got. After
//! [`EhResult::Success`], and after the last step of error handling, the glue waits for commands
//! that the driver has not given back.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    attribute_groups::HostAttributes,
    cmnd::Cmnd,
    device::Device,
    owned_cmnd::OwnedCmnd,
    pdu::{
        CommandData,
        Lengths, //
    },
    queue_map::QueueMap, //
};
use crate::kernel_glue::RcuSection;
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    ffi::c_ulong,
    fmt,
    prelude::*, //
};

/// A command that could not be queued now. It goes back to the midlayer, which tries again.
///
/// It has to be the command that [`Driver::queue_command`] was called with. Any other is completed
/// with an error.
pub enum Busy<D: CommandData> {
    /// The host has no room for any command (`SCSI_MLQUEUE_HOST_BUSY`). The midlayer tries again
    /// when one of the commands of the host has ended.
    Host(OwnedCmnd<D>),
    /// There is no room for this command, which has no bearing on other devices
    /// (`SCSI_MLQUEUE_DEVICE_BUSY`). The midlayer tries again when one of the commands of the
    /// device has ended or, without any, a little later.
    Device(OwnedCmnd<D>),
}

/// The way to deal with a command that has timed out: `enum scsi_timeout_action`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeoutAction {
    /// Wait for another timeout.
    ResetTimer,
    /// Start error handling: abort the command, or wake the error handler if it was aborted before
    /// and retried.
    NotHandled,
    /// As [`TimeoutAction::NotHandled`], but abort it even if it was aborted before and retried.
    NotHandledAbortAgain,
    /// Nothing: the command has been completed.
    Done,
}

/// The result of a step of error handling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EhResult {
    /// `SUCCESS`: the driver has given back, or is about to give back, all commands that the step
    /// affects.
    ///
    /// The glue waits for these before it returns to the midlayer, so a command that is not given
    /// back hangs error handling.
    Success,
    /// `FAILED`: the midlayer escalates to the next step. After the last one the glue waits for all
    /// commands.
    Failed,
}

/// A SCSI low-level driver: `struct scsi_host_template`.
///
/// An object of this type serves one host. Its callbacks are called from when [`Host::new`] adds
/// the host until [`Host::remove`] has returned. The four steps of error handling can be called
/// later, too, for an ioctl that was under way.
///
/// [`Host::new`]: super::Host::new
/// [`Host::remove`]: super::Host::remove
#[vtable]
pub trait Driver: Send + Sync + Sized + 'static {
    /// The name of the kind of host, for the log.
    const NAME: &'static CStr;

    /// The name of the driver, in `/sys/class/scsi_host/*/proc_name`.
    const PROC_NAME: &'static CStr;

    /// The SCSI ID of the host itself, or -1 if it has none.
    const THIS_ID: i32 = -1;

    /// The boundary that no segment of the data may cross, less one.
    const DMA_BOUNDARY: c_ulong = u32::MAX as c_ulong;

    /// Whether the midlayer lowers the queue depth of a device that reports TASK SET FULL, and
    /// raises it again.
    const TRACK_QUEUE_DEPTH: bool = false;

    /// Whether the midlayer goes on at once after a reset of the bus or the host, instead of after
    /// ten seconds.
    const SKIP_SETTLE_DELAY: bool = false;

    /// The data that the host keeps with each of its commands and devices.
    type CommandData: CommandData;

    /// Returns how much of the memory of each command is the device's.
    ///
    /// Process context: while the host or a device is added, when the scheduler of a device is
    /// changed, and for `SG_SCSI_RESET`. Locks of the block layer may be held, so it must not wait
    /// for a command. The result must always be the same.
    fn lengths(&self) -> Lengths {
        Lengths::ALL
    }

    /// Queues a command on hardware queue `queue`.
    ///
    /// Any context that cannot sleep; `rcu` proves that it is an RCU read-side critical section. A
    /// command that is dropped ends with an error.
    fn queue_command(
        &self,
        queue: u32,
        cmnd: OwnedCmnd<Self::CommandData>,
        rcu: RcuSection<'_>,
    ) -> Result<(), Busy<Self::CommandData>>;

    /// Notifies the device of the commands that were queued on hardware queue `queue`.
    ///
    /// Any context that cannot sleep. Without it, each command has to be notified of.
    fn commit_rqs(&self, _queue: u32) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Completes the commands that the device has finished on polled hardware queue `queue`, and
    /// returns how many.
    ///
    /// Any context that cannot sleep.
    fn mq_poll(&self, _queue: u32) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Maps CPUs to hardware queues. Called for the queues that interrupt and, if there are any,
    /// for those that are polled.
    ///
    /// Process context, while the host is added. Without it, [`QueueMap::map_queues`] does it.
    fn map_queues(&self, _map: QueueMap<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Decides whether the midlayer may look for a device at an address, with which the host has
    /// `count` devices. If this fails, it has no device there: [`ENXIO`] for one that is left out.
    ///
    /// Process context, while the target is scanned, before any command to the device. Without it,
    /// the midlayer may.
    fn sdev_init(&self, _target: u32, _lun: u64, _count: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Configures a device that the midlayer has found, before it is added.
    ///
    /// Process context. Commands to the device must not be waited for. If it fails, the device is
    /// not added.
    fn sdev_configure(&self, _device: &Device<Self::CommandData>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the queue depth that a device gets if the user asks for `depth`.
    ///
    /// Process context. Without it, the user cannot change the queue depth.
    fn change_queue_depth(&self, _device: &Device<Self::CommandData>, _depth: u16) -> u16 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Decides about a command that has timed out. The device may finish it at the same time.
    ///
    /// Context of the block layer's timeout worker. Without it, error handling starts.
    fn eh_timed_out(&self, _cmnd: &Cmnd<Self::CommandData>) -> TimeoutAction {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns whether a command that was aborted or reset may be retried, as far as its timeout
    /// and its retries allow.
    ///
    /// Context of error handling. Without it, it may.
    fn eh_should_retry_cmd(&self, _cmnd: &Cmnd<Self::CommandData>) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Aborts a command. [`EhResult::Success`] is about this command.
    ///
    /// Context of error handling, which can sleep.
    fn eh_abort(&self, _cmnd: &Cmnd<Self::CommandData>) -> EhResult {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Resets the device that a command is for. [`EhResult::Success`] is about all commands of the
    /// device.
    ///
    /// Context of error handling, which can sleep. The command may be one that was made for this
    /// purpose and was never queued. This is so for all resets.
    fn eh_device_reset(&self, _cmnd: &Cmnd<Self::CommandData>) -> EhResult {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Resets the target that a command is for. [`EhResult::Success`] is about all commands of the
    /// target.
    fn eh_target_reset(&self, _cmnd: &Cmnd<Self::CommandData>) -> EhResult {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Resets the bus. [`EhResult::Success`] is about all commands of the host, which has one bus.
    fn eh_bus_reset(&self, _cmnd: &Cmnd<Self::CommandData>) -> EhResult {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Resets the host. [`EhResult::Success`] is about all commands of the host.
    fn eh_host_reset(&self, _cmnd: &Cmnd<Self::CommandData>) -> EhResult {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Resets the host because root has written `adapter` to its attribute `host_reset`.
    ///
    /// Process context. Without it, the attribute cannot be written.
    fn host_reset(&self) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the attributes of each host beside those of the midlayer, as `host_attributes!`
    /// declares them.
    fn attributes() -> Option<&'static HostAttributes<Self>> {
        None
    }

    /// Writes the text of the attribute with a number.
    ///
    /// Process context.
    fn show_attribute(&self, _number: usize, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }

    /// Takes what root has written to the attribute with a number, without white space around it.
    ///
    /// Process context.
    fn store_attribute(&self, _number: usize, _text: &str) -> Result {
        Err(EINVAL)
    }
}
