// SPDX-License-Identifier: GPL-2.0

//! What a low-level driver does.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{command::Command, command_ref::CommandRef, logical_unit::LogicalUnit};
use kernel::prelude::*;

/// A command that could not be queued now, and goes back to the midlayer, which tries again.
pub enum Busy<T: Driver> {
    /// The host has no room for any command. It is tried again when one of its commands has ended.
    Host(Command<T>),
    /// There is no room for this one, which says nothing of those for other logical units. It is tried again when
    /// one of its logical unit has ended or, if there is none, a little later.
    Unit(Command<T>),
}

/// What to do about a command that has taken too long: `enum scsi_timeout_action`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeoutAction {
    /// Wait for as long again.
    ResetTimer,
    /// Abort it, unless it is completed by now.
    Recover,
    /// Nothing: it has been completed.
    Done,
}

/// How a step of error handling ended: `SUCCESS` or `FAILED`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecoveryResult {
    /// It did what it is for: the commands it is about do not come back from the device any more.
    Success,
    /// It did not: the midlayer goes on to the next step.
    Failed,
}

/// How many hardware queues there are. Those that interrupt come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueCounts {
    /// Queues whose commands complete by interrupt. At least 1.
    pub interrupt: u32,
    /// Queues whose commands complete by polling.
    pub polled: u32,
}

/// A SCSI low-level driver: `struct scsi_host_template`.
///
/// An object of this type serves one host.
pub trait Driver: Send + Sync + Sized + 'static {
    /// The name of the kind of host, for the log.
    const NAME: &'static CStr;

    /// The name of the driver, in `/sys/class/scsi_host/*/proc_name`.
    const PROC_NAME: &'static CStr;

    /// What a device reads of a command. Kept in its private area.
    type Request: Default + Send + 'static;

    /// What a device writes of a command. Kept in its private area.
    type Response: Send + 'static;

    /// What a driver keeps with a command, and no device sees. Kept in its private area, and from
    /// one use of the command to the next.
    type Private: Default + Send + Sync + 'static;

    /// How many of the first interrupts of the host are not for hardware queues.
    const OTHER_INTERRUPTS: u32;

    /// Returns how many hardware queues there are. Must not change while the host is registered.
    fn queues(&self) -> QueueCounts;

    /// Called when the midlayer has found a logical unit, before it is there for others.
    ///
    /// Process context. Commands to the unit must not be waited for here.
    fn found(&self, unit: &LogicalUnit);

    /// Queues a command on hardware queue `queue`.
    ///
    /// Any context that cannot sleep. A command that is dropped ends with an error.
    fn queue_command(&self, queue: u32, command: Command<Self>) -> Result<(), Busy<Self>>;

    /// Notifies the device of the commands that were queued on hardware queue `queue`.
    ///
    /// Any context that cannot sleep.
    fn commit(&self, queue: u32);

    /// Completes the commands that the device has finished on polled hardware queue `queue`, and
    /// returns how many.
    ///
    /// Any context that cannot sleep.
    fn poll(&self, queue: u32) -> u32;

    /// Called when a command has taken longer than its time-out.
    ///
    /// Context of the block layer's time-out worker. Its device may finish the command at the same
    /// time.
    fn timed_out(&self, command: CommandRef<'_, Self>) -> TimeoutAction;

    /// Returns whether a command that was aborted or reset may be tried again, as far as its time-out and
    /// its retries allow.
    ///
    /// Error handling context, while the command is the midlayer's.
    fn should_retry(&self, command: CommandRef<'_, Self>) -> bool;

    /// Aborts a command.
    ///
    /// Error handling context, which can sleep. When this returns [`RecoveryResult::Success`] the
    /// device is through with the command.
    fn abort(&self, command: CommandRef<'_, Self>) -> RecoveryResult;

    /// Resets the logical unit that a command is for.
    ///
    /// Error handling context, which can sleep. When this returns [`RecoveryResult::Success`] the
    /// device is through with all commands of the logical unit. The command may be one that was
    /// made for this purpose and was never queued.
    fn reset_logical_unit(&self, command: CommandRef<'_, Self>) -> RecoveryResult;

    /// Resets the target that a command is for. Otherwise as for [`Driver::reset_logical_unit`].
    fn reset_target(&self, command: CommandRef<'_, Self>) -> RecoveryResult;

    /// Resets the host adapter, and so all its targets. Otherwise as for
    /// [`Driver::reset_logical_unit`].
    fn reset_host(&self, command: CommandRef<'_, Self>) -> RecoveryResult;
}
