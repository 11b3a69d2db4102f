// SPDX-License-Identifier: GPL-2.0

//! The review of commands that have timed out: QUERY TASK, and what follows from its answer.

use super::{
    ladder::{
        Recovery,
        RENOTIFY_GRACE_MS, //
    },
    task_management::Reply,
    unit_set::UnitSet, //
};
use crate::{
    kernel_glue::{
        new_locked,
        Locked,
        Task, //
    },
    protocol::{
        address::Address,
        control::TaskManagement,
        response::QueryAnswer,
        states::State, //
    },
    queues::{
        address_of,
        Cmnd,
        Host,
        SharedState,
        Stage, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// The time between two reviews while commands are waited for, in milliseconds.
const REVIEW_INTERVAL_MS: u32 = 500;

/// The time before the next review if QUERY TASK is still to be sent for commands, in milliseconds.
const BATCH_INTERVAL_MS: u32 = 50;

/// The most commands for which one review sends QUERY TASK.
const BATCH: usize = 16;

/// A command that has timed out, to be found again by its tag.
#[derive(Clone, Copy)]
struct Suspect {
    address: Address,
    unique_tag: u32,
    /// The tag by which the device knows it. No other use of the command has the same for long.
    tag: u64,
    /// Whether this is its first QUERY TASK.
    is_new: bool,
    /// Whether it was sent by `LogicalUnit::execute`.
    is_own: bool,
}

impl Suspect {
    /// Returns whether a command is the suspect, which may have been completed and sent again
    /// meanwhile.
    fn is(self, command: &Cmnd) -> bool {
        let unique_tag = command.unique_tag();

        unique_tag == self.unique_tag && command.private().tag(unique_tag) == self.tag
    }
}

/// The task that reviews commands that have timed out.
#[pin_data]
pub struct Review {
    recovery: Arc<Recovery>,
    #[pin]
    host: Locked<Option<Arc<Host>>>,
}

impl Review {
    /// Makes the task for a host that is set later.
    pub fn new(recovery: Arc<Recovery>) -> impl PinInit<Self> {
        pin_init!(Self {
            recovery,
            host <- new_locked!(None, c"Review::host"),
        })
    }

    /// Sets the host whose commands are reviewed.
    pub fn set_host(&self, host: Arc<Host>) {
        let former = self.host.lock().replace(host);

        // Not dropped under the lock.
        drop(former);
    }

    fn shared(&self) -> &SharedState {
        self.recovery.shared()
    }

    /// Visits the commands of the host that the device has.
    fn for_each(&self, host: &Host, mut visit: impl FnMut(&Cmnd)) {
        host.any_in_flight(|command| {
            if command.private().is_on_ring() {
                visit(command);
            }
            false
        });
    }

    /// Returns commands for which QUERY TASK is to be sent.
    fn suspects(&self, host: &Host) -> [Option<Suspect>; BATCH] {
        let mut suspects = [None; BATCH];
        let mut places = suspects.iter_mut();

        self.for_each(host, |command| {
            let stage = command.private().stage();

            if !stage.needs_query() {
                return;
            }
            let unique_tag = command.unique_tag();
            let tag = command.private().tag(unique_tag);

            match address_of(command.device()) {
                Some(address) => {
                    if let Some(place) = places.next() {
                        *place = Some(Suspect {
                            address,
                            unique_tag,
                            tag,
                            is_new: stage == Stage::Notified,
                            is_own: command.is_own(),
                        });
                    }
                }
                // A command without an address was never sent.
                None => self.decide(command, Stage::ToAbort),
            }
        });
        suspects
    }

    /// Notes the result of QUERY TASK. If the command is not waited for, expires its timer, so that
    /// the midlayer aborts it.
    fn decide(&self, command: &Cmnd, stage: Stage) {
        let state = command.private();
        let from = state.stage();

        if from.needs_query() && self.advance(command, from, stage) && !stage.waits() {
            command.abort_request();
        }
    }

    /// As [`Self::decide`], for a suspect.
    fn decide_for(&self, host: &Host, suspect: Suspect, stage: Stage) {
        self.for_each(host, |command| {
            if suspect.is(command) {
                self.decide(command, stage);
            }
        });
    }

    /// Returns whether the device still has a suspect.
    fn holds(&self, host: &Host, suspect: Suspect) -> bool {
        host.any_in_flight(|command| suspect.is(command) && self.recovery.queues().holds(command))
    }

    /// Sends QUERY TASK for a suspect. Returns [`None`] if the device does not answer.
    fn query(&self, suspect: Suspect) -> Option<QueryAnswer> {
        let counters = &self.shared().counters().queries;
        let reply = self
            .recovery
            .exchange(TaskManagement::QueryTask, suspect.address, suspect.tag);

        match reply {
            Reply::Code(code) => {
                let answer = QueryAnswer::of(code);

                match answer {
                    QueryAnswer::Held => counters.held.count(),
                    QueryAnswer::NotHeld => counters.lost.count(),
                    QueryAnswer::Refused => counters.function.refused.count(),
                }
                Some(answer)
            }
            Reply::None => {
                counters.function.unanswered.count();
                None
            }
            // The device is being reset, or will be: that ends the command.
            Reply::NotSent => {
                counters.function.unanswered.count();
                Some(QueryAnswer::Refused)
            }
        }
    }

    /// Changes the stage of a command that the device has, if it is still `from`.
    fn advance(&self, command: &Cmnd, from: Stage, to: Stage) -> bool {
        let advanced = command.private().advance(from, to);

        if advanced && from == Stage::Notified {
            self.recovery.renotified().leave();
        }
        advanced
    }

    /// Returns how many commands the device has of which it was notified again.
    fn held_notified(&self, host: &Host) -> i32 {
        let mut count = 0;

        self.for_each(host, |command| {
            if command.private().stage() == Stage::Notified {
                count += 1;
            }
        });
        count
    }

    /// Counts none of the commands that return although the device was notified of them again: they
    /// were waited for longer than the grace period.
    fn forget_notified(&self, host: &Host) {
        let renotified = self.recovery.renotified();

        renotified.take_new();
        renotified.take_back(|| self.held_notified(host));
    }

    /// Gives the device a grace period for the commands of which it was notified again, and counts
    /// those that return.
    fn wait_for_notified(&self, host: &Host) {
        let renotified = self.recovery.renotified();
        let held = || self.held_notified(host);

        if renotified.take_new() {
            self.recovery
                .wait_until_back(RENOTIFY_GRACE_MS, || held() > 0);
        }

        let back = renotified.take_back(held);
        let life = self.shared().life();

        // A reset brings them all back.
        if life.state() == State::Live && !renotified.is_before(life.resets()) {
            for _ in 0..back {
                self.recovery.note_loss(
                    "a notification",
                    &self.shared().counters().lost_notifications,
                );
            }
        }
    }

    /// Sends QUERY TASK for a suspect, and decides what follows.
    fn review(&self, host: &Host, suspect: Suspect) {
        if !self.holds(host, suspect) {
            return;
        }

        let answer = self.query(suspect);

        if answer == Some(QueryAnswer::Held) && suspect.is_own && !suspect.is_new {
            // The handler of events waits for the command, and handles no other event meanwhile.
            self.recovery
                .task_management(TaskManagement::AbortTask, suspect.address, suspect.tag);
        }

        let stage = match answer {
            Some(QueryAnswer::Held) => Stage::Held,
            Some(QueryAnswer::NotHeld) => Stage::Lost,
            Some(QueryAnswer::Refused) => Stage::QueryRefused,
            None => Stage::Unanswered,
        };
        let Address { target, lun } = suspect.address;

        match stage {
            Stage::Lost if self.shared().may_complain() => dev_warn!(
                self.shared().dev(),
                "target {} lun {}: the device has lost a command\n",
                target,
                lun
            ),
            Stage::Unanswered if self.shared().may_complain() => dev_warn!(
                self.shared().dev(),
                "target {} lun {}: QUERY TASK was not answered\n",
                target,
                lun
            ),
            _ => {}
        }

        if stage == Stage::Unanswered {
            // It would not answer for the other commands either.
            self.for_each(host, |command| self.decide(command, stage));
        } else {
            self.decide_for(host, suspect, stage);
        }
    }

    /// Returns whether a command must not be waited for any longer, and notes that.
    fn is_over(&self, command: &Cmnd) -> bool {
        let state = command.private();
        let stage = state.stage();
        let policy = self.recovery.policy();

        if !stage.waits() || policy.waits() {
            return false;
        }
        if self.shared().life().is_leaving() || command.device().data().is_condemned() {
            return self.advance(command, stage, Stage::ToAbort);
        }

        let bound = match stage {
            Stage::Held => policy.patience(command.is_failfast()),
            Stage::QueryRefused => policy.refused(command.is_failfast()),
            _ => None,
        };

        if bound.is_some_and(|bound| state.age() >= bound)
            && self.advance(command, stage, Stage::ToAbort)
        {
            // A command that the device still has is not retried.
            if stage == Stage::Held {
                state.give_up();
            }
            return true;
        }
        false
    }

    /// Expires the timers of commands that must not be waited for any longer. Returns how many are
    /// waited for.
    fn update_waiting(&self, host: &Host) -> u64 {
        let before = *self.recovery.waiting().lock();
        let mut now = UnitSet::EMPTY;
        let mut count: u64 = 0;

        self.for_each(host, |command| {
            if self.is_over(command) {
                command.abort_request();
            } else if command.private().stage().waits() {
                let undecided = command.private().stage().needs_query();

                count += 1;
                // Before the first answer a command does not count, before a further one it does.
                if let Some(address) = address_of(command.device())
                    .filter(|address| !undecided || before.contains(*address))
                {
                    now.add(address);
                }
            }
        });

        self.shared().counters().waiting.set(count);
        *self.recovery.waiting().lock() = now;
        self.log_changes(&before, &now);
        count
    }

    /// Logs for which logical units commands are waited for, and for which not any more.
    fn log_changes(&self, before: &UnitSet, now: &UnitSet) {
        for address in now.without(before) {
            if self.shared().may_complain() {
                dev_info!(
                    self.shared().dev(),
                    "target {} lun {}: waiting for a command that the device holds\n",
                    address.target,
                    address.lun
                );
            }
        }
        for address in before.without(now) {
            if self.shared().may_complain() {
                dev_info!(
                    self.shared().dev(),
                    "target {} lun {}: no command is waited for any more\n",
                    address.target,
                    address.lun
                );
            }
        }
    }
}

impl Task for Review {
    fn run(&self) -> Option<Jiffies> {
        let host = self.host.lock().clone()?;

        if self.recovery.policy().waits() {
            self.forget_notified(&host);

            let waiting = self.update_waiting(&host) > 0;
            let again = self.recovery.look_at_ages(&host) || waiting;

            // The next time-out reviews what has timed out already, if the user wants otherwise.
            return again.then(|| msecs_to_jiffies(REVIEW_INTERVAL_MS));
        }
        if !self.shared().life().is_leaving() {
            self.wait_for_notified(&host);
            for suspect in self.suspects(&host).into_iter().flatten() {
                self.review(&host, suspect);
            }
        }

        // More commands than a batch, or commands that have timed out meanwhile.
        let more = self.suspects(&host).iter().any(Option::is_some);
        let waiting = self.update_waiting(&host) > 0;
        let again = self.recovery.look_at_ages(&host) || waiting;

        if more && !self.shared().life().is_leaving() {
            Some(msecs_to_jiffies(BATCH_INTERVAL_MS))
        } else {
            again.then(|| msecs_to_jiffies(REVIEW_INTERVAL_MS))
        }
    }
}
