// SPDX-License-Identifier: GPL-2.0

//! What is done about a command that the device does not answer, and about a device that does not
//! work.
//!
//! A command that has taken too long goes up a ladder, each rung of which takes a bounded time:
//!
//! 1. Its queue is polled, in case that only the interrupt was lost.
//! 2. The device is notified again, in case that only the notification was lost, and gets a moment.
//! 3. ABORT TASK.
//! 4. LOGICAL UNIT RESET.
//! 5. I_T NEXUS RESET.
//! 6. The device is reset and its queues are built anew.
//!
//! The midlayer would stop the whole host for all but the third. So the ladder is climbed where the
//! midlayer asks for an abort, which it does command by command, while the host goes on. Logical
//! units that work are only disturbed by the last rung, and then their commands are tried again.
//!
//! A command is given back only when the device has answered it or was reset. Whatever a device
//! says of a task management function, the command that is still on its virtqueue is still its own,
//! and it may still transfer the data.

use super::{
    control::ControlQueue,
    counters::Counter,
    initiator::Initiator,
    limits::Settings,
    response,
    shared::Shared,
    wire::{
        Address,
        Notifications,
        TaskManagement,
        ASYNC_MEDIA_CHANGE,
        ASYNC_OPERATIONAL_CHANGE, //
    },
};
use crate::{
    scsi_glue::{
        CommandRef,
        RecoveryResult,
        TimeoutAction, //
    },
    virtio_glue::{
        wait_for_rcu,
        Flag,
        Resetter,
        Task, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
};

/// How often recovery looks whether something has happened, in milliseconds.
const LOOK: i64 = 20;

/// How long a device gets to answer a command that it was notified of again, in milliseconds.
const MOMENT: i64 = 1_000;

/// How long somebody else's reset of the device may take, in milliseconds.
const RESET_ELSEWHERE: i64 = 60_000;

/// The least time between two resets of the device that nobody asked for, in milliseconds: a device
/// that is broken again at once does not get to keep a CPU busy.
const BETWEEN_RESETS: i64 = 1_000;

/// What the user has set of recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Whether to wait for a command for as long as it takes.
    pub wait: bool,
    /// How long the device may take to answer a task management function, in seconds.
    pub step: u32,
}

impl From<&Settings> for Policy {
    fn from(settings: &Settings) -> Self {
        Self {
            wait: settings.recovery_wait != 0,
            step: match settings.recovery_step {
                0 => Settings::RECOVERY_STEP,
                seconds => seconds,
            },
        }
    }
}

/// Recovers commands and the device.
pub struct Recovery {
    shared: Arc<Shared>,
    control: Arc<ControlQueue>,
    resetter: Arc<Resetter>,
    policy: Policy,
    step: Jiffies,
    /// Whether a lost interrupt or notification was told of.
    told_of_loss: Flag,
}

/// Returns the target and the logical unit of a command.
fn address(command: &CommandRef<'_, Initiator>) -> Option<Address> {
    Some(Address {
        target: u8::try_from(command.target()).ok()?,
        lun: command.lun(),
    })
}

impl Recovery {
    /// Makes what recovers the commands of a device.
    pub(super) fn new(
        shared: Arc<Shared>,
        control: Arc<ControlQueue>,
        resetter: Arc<Resetter>,
        policy: Policy,
    ) -> Self {
        Self {
            shared,
            control,
            resetter,
            policy,
            step: msecs_to_jiffies(policy.step.saturating_mul(1000)),
            told_of_loss: Flag::default(),
        }
    }

    /// Returns whether commands are waited for as long as it takes.
    pub(super) fn waits(&self) -> bool {
        self.policy.wait
    }

    /// Returns how long the device may take to answer a step of recovery, in milliseconds.
    pub(super) fn step_milliseconds(&self) -> i64 {
        i64::from(self.policy.step) * 1000
    }

    /// Decides what to do about a command that has taken too long.
    pub(super) fn timed_out(
        &self,
        initiator: &Initiator,
        command: CommandRef<'_, Initiator>,
    ) -> TimeoutAction {
        let counters = self.shared.counters();

        counters.timeouts.count();
        if initiator.holds(&command) {
            initiator.poll_all();

            if !initiator.holds(&command) {
                self.tell_of_loss("an interrupt", &counters.lost_interrupts);
                return TimeoutAction::Recover;
            }
            if self.policy.wait {
                return TimeoutAction::ResetTimer;
            }
        }
        TimeoutAction::Recover
    }

    /// Counts that something was lost on the way, and says so once.
    fn tell_of_loss(&self, what: &str, counter: &Counter) {
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
    pub(super) fn abort(
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
        if !initiator.holds(command) {
            return RecoveryResult::Success;
        }

        initiator.notify_again(command);
        if self.comes_back(initiator, command, MOMENT) {
            self.tell_of_loss("a notification", &self.shared.counters().lost_notifications);
            return RecoveryResult::Success;
        }

        if let Some(address) = address(command) {
            let private = command.private();

            private.request_abort();

            for function in [
                TaskManagement::AbortTask,
                TaskManagement::LogicalUnitReset,
                TaskManagement::NexusReset,
            ] {
                let tag = match function {
                    TaskManagement::AbortTask => private.tag(command.unique_tag()),
                    _ => 0,
                };

                self.task_management(initiator, function, address, tag);
                if !initiator.holds(command) {
                    return RecoveryResult::Success;
                }
            }
        }

        // If this fails, the device has been reset all the same, or given up, or is being unbound.
        let _ = self.reset_device();

        if initiator.holds(command) {
            RecoveryResult::Failed
        } else {
            RecoveryResult::Success
        }
    }

    /// Waits until the device does not have a command any more, `most` milliseconds at most.
    fn comes_back(
        &self,
        initiator: &Initiator,
        command: &CommandRef<'_, Initiator>,
        most: i64,
    ) -> bool {
        for _ in 0..most / LOOK {
            fsleep(Delta::from_millis(LOOK));
            initiator.poll_all();
            if !initiator.holds(command) {
                return true;
            }
        }
        false
    }

    /// Has the device carry out a task management function, and waits for it. Returns whether it
    /// says that it has.
    fn task_management(
        &self,
        initiator: &Initiator,
        function: TaskManagement,
        address: Address,
        tag: u64,
    ) -> bool {
        let Some(lun) = address.encode() else {
            return false;
        };
        let dev = self.shared.dev();
        let Address { target, lun: unit } = address;

        if self.shared.may_complain() {
            dev_info!(dev, "target {} lun {}: {}\n", target, unit, function.name());
        }

        let counters = self.shared.counters().of(function);

        counters.sent.count();
        let result = self.control.execute(function, lun, tag, self.step);

        // The device has completed the commands that the function is about before the function.
        // But it has done so on other queues, whose interrupts may not have come yet.
        initiator.poll_all();

        let done = result.is_ok_and(response::function_done);

        match result {
            Ok(_) if done => {}
            Ok(code) => {
                counters.refused.count();
                if self.shared.may_complain() {
                    dev_warn!(
                        dev,
                        "target {} lun {}: {} was refused with response {}\n",
                        target,
                        unit,
                        function.name(),
                        code
                    );
                }
            }
            Err(error) => {
                counters.unanswered.count();
                if self.shared.may_complain() {
                    dev_warn!(
                        dev,
                        "target {} lun {}: {} was not answered: {:?}\n",
                        target,
                        unit,
                        function.name(),
                        error
                    );
                }
            }
        }
        done
    }

    /// Resets a logical unit. Succeeds if the device does not have any of its commands any more.
    pub(super) fn reset_logical_unit(
        &self,
        initiator: &Initiator,
        command: &CommandRef<'_, Initiator>,
    ) -> RecoveryResult {
        self.reset(
            initiator,
            command,
            TaskManagement::LogicalUnitReset,
            |other| (other.target(), other.lun()) == (command.target(), command.lun()),
        )
    }

    /// Resets a target. Succeeds if the device does not have any of its commands any more.
    pub(super) fn reset_target(
        &self,
        initiator: &Initiator,
        command: &CommandRef<'_, Initiator>,
    ) -> RecoveryResult {
        self.reset(initiator, command, TaskManagement::NexusReset, |other| {
            other.target() == command.target()
        })
    }

    /// Carries out a function that affects the commands which `affects` says.
    fn reset(
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

    /// Gets all commands of a logical unit that is gone back from the device.
    ///
    /// The device has said that the unit is gone, so it has no reason to keep them. If it does, the
    /// unit is reset, and the device if that does not help: whoever waits for the commands keeps
    /// the whole host from being scanned.
    ///
    /// Process context. `busy` is whether the device has any of the unit's commands.
    pub fn release(&self, initiator: &Initiator, address: Address, busy: impl Fn() -> bool) {
        let mut waited = 0;

        while busy() {
            if waited >= MOMENT {
                self.task_management(initiator, TaskManagement::LogicalUnitReset, address, 0);
                if busy() {
                    let _ = self.reset_device();
                }
                return;
            }
            fsleep(Delta::from_millis(LOOK));
            waited += LOOK;
            initiator.poll_all();
        }
    }

    /// Has a logical unit tell of media and operational changes, if it can. A device that refuses
    /// is left alone.
    ///
    /// Process context.
    pub fn subscribe(&self, address: Address) {
        const WANTED: u32 = ASYNC_MEDIA_CHANGE | ASYNC_OPERATIONAL_CHANGE;

        let Some(lun) = address.encode() else {
            return;
        };
        let ask = |what, events| {
            self.control
                .notifications(what, lun, events, self.step)
                .ok()
                .filter(|answer| response::function_done(answer.response))
                .map(|answer| answer.events & WANTED)
                .filter(|events| *events != 0)
        };

        if let Some(events) = ask(Notifications::Query, WANTED) {
            if ask(Notifications::Subscribe, events).is_some() {
                dev_dbg!(
                    self.shared.dev(),
                    "target {} lun {}: tells of events {:#x}\n",
                    address.target,
                    address.lun,
                    events
                );
            }
        }
    }

    /// Resets the device. Whatever comes of it, it does not have any command any more.
    pub(super) fn reset_host(&self) -> RecoveryResult {
        let result = self.reset_device();

        wait_for_rcu();
        match result {
            Ok(()) => RecoveryResult::Success,
            Err(_) => RecoveryResult::Failed,
        }
    }

    /// Resets the device and builds its queues anew. If that fails, the device is given up.
    ///
    /// Process context.
    pub fn reset_device(&self) -> Result {
        reset_device(&self.shared, &self.resetter)
    }
}

/// Resets a device and builds its queues anew. If that fails, the device is given up.
fn reset_device(shared: &Shared, resetter: &Resetter) -> Result {
    let mut waited = 0;

    loop {
        if shared.is_given_up() {
            return Err(ENODEV);
        }

        match resetter.reset() {
            Ok(()) => {
                shared.counters().device_resets.count();
                if shared.may_complain() {
                    dev_warn!(shared.dev(), "the device was reset\n");
                }
                return Ok(());
            }
            // Somebody else resets it, which does as well, once it is done.
            Err(error) if error == EBUSY && waited < RESET_ELSEWHERE => {
                fsleep(Delta::from_millis(LOOK));
                waited += LOOK;
            }
            Err(error) if error == ENODEV => return Err(error),
            Err(error) => {
                shared.counters().failed_device_resets.count();
                dev_err!(
                    shared.dev(),
                    "the device could not be reset and is given up: {:?}\n",
                    error
                );
                shared.give_up();
                return Err(error);
            }
        }
    }
}

/// Resets a device that was found not to work: one that has asked for it, or has broken the
/// protocol of a virtqueue.
pub struct SelfHealing {
    shared: Arc<Shared>,
    resetter: Arc<Resetter>,
}

impl SelfHealing {
    /// Makes what heals a device.
    pub fn new(shared: Arc<Shared>, resetter: Arc<Resetter>) -> Self {
        Self { shared, resetter }
    }
}

impl Task for SelfHealing {
    fn run(&self) {
        self.shared.counters().failures.count();
        if self.shared.may_complain() {
            dev_warn!(
                self.shared.dev(),
                "the device does not work: resetting it\n"
            );
        }
        let _ = reset_device(&self.shared, &self.resetter);

        fsleep(Delta::from_millis(BETWEEN_RESETS));
    }
}
