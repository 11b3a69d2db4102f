// SPDX-License-Identifier: GPL-2.0

//! The ladder of recovery, and the resets that the midlayer asks for.
//!
//! Rungs: another notification, if the device was not sent QUERY TASK; ABORT TASK, unless QUERY
//! TASK was not answered; LOGICAL UNIT RESET; I_T NEXUS RESET; a reset of the device.

use super::{
    policy::Policy,
    renotified::Renotified,
    reset::DeviceReset,
    strikes::Strikes,
    unit_set::UnitSet, //
};
use crate::{
    kernel_glue::{
        new_locked,
        Locked,
        RateLimit,
        WorkSlot, //
    },
    protocol::{
        address::Address,
        control::TaskManagement,
        states::State, //
    },
    queues::{
        address_of,
        Cmnd,
        ControlQueue,
        RequestQueues,
        SharedState,
        Stage, //
    },
    scsi_glue::EhResult, //
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
        Delta, //
    },
};

/// How often to check whether the device has used a command, in milliseconds.
const POLL_INTERVAL_MS: i64 = 20;

/// How long a device gets to use a command after another notification, in milliseconds.
pub(super) const RENOTIFY_GRACE_MS: i64 = 1_000;

/// After how many resets of the device in a row, for one logical unit, the unit is taken offline.
const STRIKES_MAX: u32 = 2;

/// Error recovery of a device.
#[pin_data]
pub struct Recovery {
    queues: Arc<RequestQueues>,
    control: Arc<ControlQueue>,
    reset: DeviceReset,
    policy: Policy,
    #[pin]
    strikes: Strikes,
    /// Reviews commands that have timed out. Set while the host exists.
    #[pin]
    review: WorkSlot,
    /// The logical units with commands that are waited for.
    #[pin]
    waiting: Locked<UnitSet>,
    /// The commands of which the device was notified again.
    renotified: Renotified,
    /// Whether the first lost interrupt or notification has been logged.
    loss_logged: Atomic<bool>,
    /// Limits the log lines about old commands, of which there may be hundreds.
    #[pin]
    reports: RateLimit,
}

impl Recovery {
    /// Makes the recovery of a device.
    pub fn new(
        queues: Arc<RequestQueues>,
        control: Arc<ControlQueue>,
        reset: DeviceReset,
        policy: Policy,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                queues,
                control,
                reset,
                policy,
                strikes <- Strikes::new(),
                review <- WorkSlot::new(),
                waiting <- new_locked!(UnitSet::EMPTY, c"Recovery::waiting"),
                renotified: Renotified::new(),
                loss_logged: Atomic::new(false),
                reports <- RateLimit::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the request queues.
    pub fn queues(&self) -> &RequestQueues {
        &self.queues
    }

    /// Returns the controlq.
    pub fn control(&self) -> &ControlQueue {
        &self.control
    }

    /// Returns the state of the device.
    pub fn shared(&self) -> &SharedState {
        self.queues.shared()
    }

    /// Returns the user's settings.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the reset of the device.
    pub(super) fn reset(&self) -> &DeviceReset {
        &self.reset
    }

    /// Returns the logical units for which the device was reset.
    pub(super) fn strikes(&self) -> &Strikes {
        &self.strikes
    }

    /// Returns the logical units with commands that are waited for.
    pub(super) fn waiting(&self) -> &Locked<UnitSet> {
        &self.waiting
    }

    /// Returns the place for the worker that reviews commands.
    pub fn review(&self) -> &WorkSlot {
        &self.review
    }

    /// Has commands that have timed out reviewed soon. Any context.
    pub fn request_review(&self) {
        self.review.schedule();
    }

    /// Returns the commands of which the device was notified again.
    pub(super) fn renotified(&self) -> &Renotified {
        &self.renotified
    }

    /// Returns the limit of log lines about old commands.
    pub(super) fn reports(&self) -> &RateLimit {
        &self.reports
    }

    /// Returns whether no loss was logged before.
    pub(super) fn is_first_loss(&self) -> bool {
        let first = !self.loss_logged.load(Relaxed);

        self.loss_logged.store(true, Relaxed);
        first
    }

    /// Gets a command back from the device: climbs the ladder until the device does not have it any
    /// more.
    ///
    /// Another CPU may still be completing the command then, which the glue waits for, as after the
    /// other steps.
    pub(crate) fn abort(&self, command: &Cmnd) -> EhResult {
        let seen = self.shared().life().resets();
        let state = command.private();

        if !self.queues.holds(command) {
            return EhResult::Success;
        }

        // Before QUERY TASK the device was notified again.
        let queried = matches!(state.stage(), Stage::Lost | Stage::Unanswered);
        // A device that does not answer QUERY TASK does not answer ABORT TASK either.
        let unanswered = state.stage() == Stage::Unanswered;

        if !queried && !state.is_given_up() {
            self.queues.notify_again(command);
            if self.wait_until_back(RENOTIFY_GRACE_MS, || self.queues.holds(command)) {
                self.note_loss(
                    "a notification",
                    &self.shared().counters().lost_notifications,
                );
                return EhResult::Success;
            }
        }

        if let Some(address) = address_of(command.device()) {
            state.request_abort();

            for function in [
                TaskManagement::AbortTask,
                TaskManagement::LogicalUnitReset,
                TaskManagement::NexusReset,
            ]
            .into_iter()
            .skip(usize::from(unanswered))
            {
                let tag = match function {
                    TaskManagement::AbortTask => state.tag(command.unique_tag()),
                    _ => 0,
                };

                self.task_management(function, address, tag);
                if !self.queues.holds(command) {
                    return EhResult::Success;
                }
            }

            self.strike(address, command);
        }

        // If this fails, the device is given up and does not have the command either. A command
        // that was sent just before a reset was counted needs the next reset.
        let _ = self.reset.reset(seen);
        if self.queues.holds(command) {
            let _ = self.reset.reset(self.shared().life().resets());
        }

        if self.queues.holds(command) {
            EhResult::Failed
        } else {
            EhResult::Success
        }
    }

    /// Counts a reset of the device for a command. If it is the second in a row, for the same
    /// command or for its logical unit without a success in between, the unit is taken offline
    /// before the device is reset, so that no more commands are sent to the unit.
    fn strike(&self, address: Address, command: &Cmnd) {
        let of_command = command.private().strike(command.retries() > 0);
        let of_unit =
            self.strikes
                .add(address, 4 * command.timeout(), command.device().successes());

        if of_command.max(of_unit) >= STRIKES_MAX {
            dev_err!(
                self.shared().dev(),
                "target {} lun {}: taken offline, as the device has to be reset for it again\n",
                address.target,
                address.lun
            );
            command.device().set_offline();
            self.shared()
                .history()
                .add(Some(address), "give_up_unit", "offline");
        }
    }

    /// Waits up to `timeout_ms` milliseconds until `holds` returns false, and returns whether it
    /// does.
    pub(super) fn wait_until_back(&self, timeout_ms: i64, holds: impl Fn() -> bool) -> bool {
        for _ in 0..timeout_ms / POLL_INTERVAL_MS {
            fsleep(Delta::from_millis(POLL_INTERVAL_MS));
            self.queues.poll_all();
            if !holds() {
                return true;
            }
        }
        false
    }

    /// Resets a logical unit. Succeeds if the device does not have any of its commands any more.
    pub(crate) fn reset_logical_unit(&self, command: &Cmnd) -> EhResult {
        self.reset_commands(command, TaskManagement::LogicalUnitReset, |other| {
            (other.target(), other.lun()) == (command.target(), command.lun())
        })
    }

    /// Resets a target. Succeeds if the device does not have any of its commands any more.
    pub(crate) fn reset_target(&self, command: &Cmnd) -> EhResult {
        self.reset_commands(command, TaskManagement::NexusReset, |other| {
            other.target() == command.target()
        })
    }

    /// Carries out a function that ends the commands for which `affects` returns true.
    fn reset_commands(
        &self,
        command: &Cmnd,
        function: TaskManagement,
        affects: impl Fn(&Cmnd) -> bool,
    ) -> EhResult {
        let done = address_of(command.device())
            .is_some_and(|address| self.task_management(function, address, 0));

        if !done || command.any_in_flight(|other| affects(other) && self.queues.holds(other)) {
            return EhResult::Failed;
        }

        EhResult::Success
    }

    /// Resets the device for a command or for the user. Whatever the result, the device has no
    /// command any more.
    pub(crate) fn reset_host(&self, command: &Cmnd) -> EhResult {
        if let Some(address) = address_of(command.device()).filter(|_| self.queues.holds(command)) {
            self.strike(address, command);
        }

        match self.reset.reset(self.shared().life().resets()) {
            Ok(()) => EhResult::Success,
            Err(_) => EhResult::Failed,
        }
    }

    /// Resets the device because the user has written an attribute. Fails with [`EBUSY`] if it is
    /// being reset: the user does not take part in what gives up a device that does not come back.
    ///
    /// Process context.
    pub(crate) fn reset_for_user(&self) -> Result {
        let life = self.shared().life();

        match life.state() {
            State::Down(_) => Err(EBUSY),
            State::Gone => Err(ENODEV),
            State::Live | State::Waiting => self.reset.reset(life.resets()),
        }
    }
}
