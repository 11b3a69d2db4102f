// SPDX-License-Identifier: GPL-2.0

//! The ladder of recovery, each rung of which takes a bounded time:
//!
//! 1. The device is notified again, and gets a moment, unless it was asked for the command.
//! 2. ABORT TASK, unless the device has not answered QUERY TASK.
//! 3. LOGICAL UNIT RESET.
//! 4. I_T NEXUS RESET.
//! 5. The device is reset and its queues are built anew.
//!
//! The midlayer would stop the whole host for all but the second. So the ladder is climbed where the
//! midlayer asks for an abort, which it does command by command, while the host goes on. Logical
//! units that work are only disturbed by the last rung, and then their commands are tried again. A unit for
//! which that had to be done twice running is taken offline.

use super::{
    ask::Asker,
    policy::Policy,
    reset::DeviceReset,
    strikes::Strikes, //
};
use crate::{
    queues::{
        control::ControlQueue,
        counters::Counter,
        initiator::Initiator,
        progress::Stage,
        shared::Shared,
        wire::{
            Address,
            TaskManagement, //
        },
    },
    scsi_glue::{
        CommandRef,
        RecoveryResult,
        TimeoutAction, //
    },
    virtio_glue::{
        new_locked,
        wait_for_rcu,
        Flag,
        Locked,
        Worker, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta,
        Jiffies, //
    },
};

/// How often recovery looks whether something has happened, in milliseconds.
pub(super) const LOOK: i64 = 20;

/// How long a device gets to answer a command that it was notified of again, in milliseconds.
pub(super) const MOMENT: i64 = 1_000;

/// After how many resets of the device running, for one logical unit, the unit is taken offline.
const STRIKES: u32 = 2;

/// Recovers commands and the device.
#[pin_data]
pub struct Recovery {
    pub(super) shared: Arc<Shared>,
    pub(super) control: Arc<ControlQueue>,
    pub(super) reset: DeviceReset,
    pub(super) policy: Policy,
    #[pin]
    pub(super) strikes: Strikes,
    /// Asks the device for commands that take too long, while the host is there.
    #[pin]
    pub(super) asker: Locked<Option<Arc<Worker<Asker>>>>,
    /// How many commands the device was notified of again since the asker has looked.
    notified: Atomic<i32>,
    /// Whether a lost interrupt or notification was told of.
    told_of_loss: Flag,
}

/// Returns the target and the logical unit of a command.
pub(super) fn address(command: &CommandRef<'_, Initiator>) -> Option<Address> {
    Some(Address {
        target: u8::try_from(command.target()).ok()?,
        lun: command.lun(),
    })
}

impl Recovery {
    /// Makes what recovers the commands of a device.
    pub fn new(
        control: Arc<ControlQueue>,
        reset: DeviceReset,
        policy: Policy,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                shared: reset.shared.clone(),
                control,
                reset,
                policy,
                strikes <- Strikes::new(),
                asker <- new_locked!(None, c"Recovery::asker"),
                notified: Atomic::new(0),
                told_of_loss: Flag::default(),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns what the user has set.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns whether commands are waited for as long as it takes.
    pub fn waits(&self) -> bool {
        self.policy.wait
    }

    /// Returns how long the device may take to answer a step of recovery, in jiffies.
    pub fn step(&self) -> Jiffies {
        self.policy.step()
    }

    /// Sets what asks the device for commands that take too long, or takes it away. In that case, when it
    /// returns, nobody asks, and nobody will.
    ///
    /// Process context.
    pub fn set_asker(&self, worker: Option<Arc<Worker<Asker>>>) {
        let former = core::mem::replace(&mut *self.asker.lock(), worker);

        if let Some(former) = former {
            former.cancel();
        }
    }

    /// Returns how many commands the device was notified of again since this was last called.
    pub(super) fn take_notified(&self) -> u32 {
        u32::try_from(self.notified.xchg(0, Relaxed)).unwrap_or(0)
    }

    /// Has the commands that take too long looked at soon. Any context.
    pub fn look(&self) {
        if let Some(worker) = &*self.asker.lock() {
            worker.schedule();
        }
    }

    /// Decides what to do about a command that has taken too long. Any context.
    pub(in crate::queues) fn timed_out(
        &self,
        initiator: &Initiator,
        command: CommandRef<'_, Initiator>,
    ) -> TimeoutAction {
        let counters = self.shared.counters();
        let progress = command.private();

        counters.timeouts.count();
        if !initiator.holds(&command) {
            // It is on its way to the midlayer, which knows what to do with it.
            return TimeoutAction::ResetTimer;
        }

        initiator.poll_all();
        if !initiator.holds(&command) {
            self.tell_of_loss("an interrupt", &counters.lost_interrupts);
            return TimeoutAction::Done;
        }
        if self.policy.wait {
            return TimeoutAction::ResetTimer;
        }
        if self.shared.life().is_leaving() || command.is_condemned() {
            return self.recover(&command);
        }

        match progress.stage() {
            Stage::Lost | Stage::Silent | Stage::ToAbort | Stage::Aborting => {
                self.recover(&command)
            }
            Stage::Notified | Stage::ToAsk => {
                self.look();
                TimeoutAction::ResetTimer
            }
            Stage::Sent => {
                progress.note_timeout(command.timeout());
                if progress.go(Stage::Sent, Stage::Notified) {
                    // The device may have missed the notification.
                    self.notified.fetch_add(1, Relaxed);
                    initiator.notify_again(&command);
                    self.look();
                }
                TimeoutAction::ResetTimer
            }
            stage @ (Stage::Held | Stage::Untold) => {
                if progress.go(stage, Stage::ToAsk) {
                    self.look();
                }
                TimeoutAction::ResetTimer
            }
        }
    }

    /// Has the midlayer abort a command. It would do so only once for a command that is tried again, and stop the
    /// host the next time.
    fn recover(&self, command: &CommandRef<'_, Initiator>) -> TimeoutAction {
        command.allow_abort();
        TimeoutAction::Recover
    }

    /// Counts that something was lost on the way, and says so once.
    pub(super) fn tell_of_loss(&self, what: &str, counter: &Counter) {
        counter.count();
        if !self.told_of_loss.is_set() {
            self.told_of_loss.set();
            dev_warn!(
                self.shared.dev(),
                "{} was lost between the device and the driver; this is said once, and counted in debugfs\n",
                what
            );
        }
    }

    /// Gets a command back from the device: climbs the ladder.
    pub(in crate::queues) fn abort(
        &self,
        initiator: &Initiator,
        command: CommandRef<'_, Initiator>,
    ) -> RecoveryResult {
        let result = self.climb(initiator, &command);

        // A command that the device does not have any more may just be on its way to the midlayer,
        // which must not get it twice.
        wait_for_rcu();
        result
    }

    /// Climbs the ladder until the device does not have a command any more.
    fn climb(&self, initiator: &Initiator, command: &CommandRef<'_, Initiator>) -> RecoveryResult {
        let seen = self.shared.life().resets();
        let progress = command.private();

        if !initiator.holds(command) {
            return RecoveryResult::Success;
        }

        // A device that was asked for the command was notified of it again before that.
        let asked = matches!(progress.stage(), Stage::Lost | Stage::Silent);
        // One that does not answer QUERY TASK has had its time for functions about one command.
        let silent = progress.stage() == Stage::Silent;

        if !asked && !progress.is_given_up() {
            initiator.notify_again(command);
            if self.comes_back(initiator, MOMENT, || initiator.holds(command)) {
                self.tell_of_loss("a notification", &self.shared.counters().lost_notifications);
                return RecoveryResult::Success;
            }
        }

        if let Some(address) = address(command) {
            progress.request_abort();

            for function in [
                TaskManagement::AbortTask,
                TaskManagement::LogicalUnitReset,
                TaskManagement::NexusReset,
            ]
            .into_iter()
            .skip(usize::from(silent))
            {
                let tag = match function {
                    TaskManagement::AbortTask => progress.tag(command.unique_tag()),
                    _ => 0,
                };

                self.task_management(initiator, function, address, tag);
                if !initiator.holds(command) {
                    return RecoveryResult::Success;
                }
            }

            self.strike(address, command);
        }

        // If this fails the device is given up, and does not have the command either. A command may have been sent
        // just before a reset was counted, and would need the next one.
        let _ = self.reset.carry_out(seen);
        if initiator.holds(command) {
            let _ = self.reset.carry_out(self.shared.life().resets());
        }

        if initiator.holds(command) {
            RecoveryResult::Failed
        } else {
            RecoveryResult::Success
        }
    }

    /// Notes that the device has to be reset for a command of a logical unit. If that is so again, for the same
    /// command or with nothing that has ended well in between, the unit is taken offline, before the device is
    /// reset, so that nothing is sent to it again.
    fn strike(&self, address: Address, command: &CommandRef<'_, Initiator>) {
        let of_command = command.private().strike(command.retries() > 0);
        let of_unit = self
            .strikes
            .add(address, 4 * command.timeout(), command.unit_successes());

        if of_command.max(of_unit) >= STRIKES {
            dev_err!(
                self.shared.dev(),
                "target {} lun {}: taken offline, as the device has to be reset for it again\n",
                address.target,
                address.lun
            );
            command.take_unit_offline();
        }
    }

    /// Waits until the device does not hold something any more, `most` milliseconds at most.
    pub(super) fn comes_back(
        &self,
        initiator: &Initiator,
        most: i64,
        holds: impl Fn() -> bool,
    ) -> bool {
        for _ in 0..most / LOOK {
            fsleep(Delta::from_millis(LOOK));
            initiator.poll_all();
            if !holds() {
                return true;
            }
        }
        false
    }

    /// Resets a logical unit. Succeeds if the device does not have any of its commands any more.
    pub(in crate::queues) fn reset_logical_unit(
        &self,
        initiator: &Initiator,
        command: &CommandRef<'_, Initiator>,
    ) -> RecoveryResult {
        self.reset_commands(
            initiator,
            command,
            TaskManagement::LogicalUnitReset,
            |other| (other.target(), other.lun()) == (command.target(), command.lun()),
        )
    }

    /// Resets a target. Succeeds if the device does not have any of its commands any more.
    pub(in crate::queues) fn reset_target(
        &self,
        initiator: &Initiator,
        command: &CommandRef<'_, Initiator>,
    ) -> RecoveryResult {
        self.reset_commands(initiator, command, TaskManagement::NexusReset, |other| {
            other.target() == command.target()
        })
    }

    /// Carries out a function that affects the commands which `affects` says.
    fn reset_commands(
        &self,
        initiator: &Initiator,
        command: &CommandRef<'_, Initiator>,
        function: TaskManagement,
        affects: impl Fn(&CommandRef<'_, Initiator>) -> bool,
    ) -> RecoveryResult {
        let done = address(command)
            .is_some_and(|address| self.task_management(initiator, function, address, 0));

        if !done || command.any_in_flight(|other| affects(&other) && initiator.holds(&other)) {
            return RecoveryResult::Failed;
        }

        wait_for_rcu();
        RecoveryResult::Success
    }

    /// Resets the device, for the sake of a command or because the user wants it. Whatever comes of it, it does
    /// not have any command any more.
    pub(in crate::queues) fn reset_host(
        &self,
        initiator: &Initiator,
        command: &CommandRef<'_, Initiator>,
    ) -> RecoveryResult {
        if let Some(address) = address(command).filter(|_| initiator.holds(command)) {
            self.strike(address, command);
        }

        let result = self.reset.carry_out(self.shared.life().resets());

        wait_for_rcu();
        match result {
            Ok(()) => RecoveryResult::Success,
            Err(_) => RecoveryResult::Failed,
        }
    }
}
