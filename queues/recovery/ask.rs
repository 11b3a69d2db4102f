// SPDX-License-Identifier: GPL-2.0

//! Asking the device whether it has the commands that take too long, and waiting for those that it has.

use super::{
    functions::Reply,
    ladder::{
        address,
        Recovery,
        MOMENT, //
    }, //
};
use crate::{
    queues::{
        initiator::Initiator,
        progress::{
            Progress,
            Stage, //
        },
        response::{
            whereabouts,
            Whereabouts, //
        },
        shared::Shared,
        wire::{
            Address,
            TaskManagement, //
        },
    },
    scsi_glue::{
        CommandRef,
        Host, //
    },
    virtio_glue::{
        new_locked,
        Locked,
        Task, //
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

/// How often commands that are waited for are looked at, in milliseconds.
const LOOK_AGAIN: u32 = 500;

/// How many commands are found at a time.
const BATCH: usize = 16;

/// How many logical units with commands that are waited for are remembered, to be told of.
const UNITS: usize = 64;

/// A use of a command that takes too long.
#[derive(Clone, Copy)]
struct Suspect {
    address: Address,
    unique_tag: u32,
    /// The tag by which the device knows it. For long, no other use of the command has the same.
    tag: u64,
    /// Whether it was not asked for before: the device was notified again just now.
    is_new: bool,
    /// Whether the driver has sent it by itself.
    is_own: bool,
}

/// How to find a command again: it may have come back, and be on its way again, meanwhile.
fn is(suspect: Suspect, command: &CommandRef<'_, Initiator>) -> bool {
    let unique_tag = command.unique_tag();

    unique_tag == suspect.unique_tag && command.private().tag(unique_tag) == suspect.tag
}

/// Some logical units.
type Units = [Option<Address>; UNITS];

/// Adds a logical unit that is not there yet. If there is no room, it is left out.
fn add_unit(units: &mut Units, address: Address) {
    if !units.contains(&Some(address)) {
        if let Some(place) = units.iter_mut().find(|place| place.is_none()) {
            *place = Some(address);
        }
    }
}

/// Asks the device whether it has the commands that take too long.
#[pin_data]
pub struct Asker {
    shared: Arc<Shared>,
    initiator: Arc<Initiator>,
    #[pin]
    host: Locked<Option<Arc<Host<Initiator>>>>,
    /// The logical units whose commands are waited for.
    #[pin]
    waiting: Locked<Units>,
}

impl Asker {
    /// Makes one that does not know its host yet.
    pub fn new(initiator: Arc<Initiator>) -> impl PinInit<Self> {
        pin_init!(Self {
            shared: initiator.shared().clone(),
            initiator,
            host <- new_locked!(None, c"Asker::host"),
            waiting <- new_locked!([None; UNITS], c"Asker::waiting"),
        })
    }

    /// Sets the host whose commands are looked at, or takes it away.
    pub fn set_host(&self, host: Option<Arc<Host<Initiator>>>) {
        let former = core::mem::replace(&mut *self.host.lock(), host);

        // It is not dropped under the lock.
        drop(former);
    }

    /// Returns whether commands of a logical unit are waited for though they take too long.
    pub(super) fn waits_for(&self, address: Address) -> bool {
        self.waiting.lock().contains(&Some(address))
    }

    fn recovery(&self) -> &Recovery {
        self.initiator.recovery()
    }

    /// Visits the commands of the host that the device has.
    fn for_each(&self, host: &Host<Initiator>, mut visit: impl FnMut(CommandRef<'_, Initiator>)) {
        host.any_in_flight(|command| {
            if command.private().is_on_ring() {
                visit(command);
            }
            false
        });
    }

    /// Finds commands that the device is to be asked for.
    fn to_ask(&self, host: &Host<Initiator>) -> [Option<Suspect>; BATCH] {
        let mut found = [None; BATCH];
        let mut places = found.iter_mut();

        self.for_each(host, |command| {
            let stage = command.private().stage();

            if !stage.is_asked_for() {
                return;
            }
            let unique_tag = command.unique_tag();
            let tag = command.private().tag(unique_tag);

            match address(&command) {
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
                // The driver has not sent it: it has no address.
                None => self.decide(&command, Stage::ToAbort),
            }
        });
        found
    }

    /// Notes what was found out about a command. One that is not waited for has its time-out come, from which
    /// the midlayer has it aborted.
    fn decide(&self, command: &CommandRef<'_, Initiator>, stage: Stage) {
        let progress = command.private();
        let from = progress.stage();

        if from.is_asked_for() && progress.go(from, stage) && !stage.waits() {
            command.expire();
        }
    }

    /// The same for a command that has to be found again.
    fn decide_for(&self, host: &Host<Initiator>, suspect: Suspect, stage: Stage) {
        self.for_each(host, |command| {
            if is(suspect, &command) {
                self.decide(&command, stage);
            }
        });
    }

    /// Returns whether the device still has a command, as far as the driver knows.
    fn holds(&self, host: &Host<Initiator>, suspect: Suspect) -> bool {
        host.any_in_flight(|command| is(suspect, &command) && self.initiator.holds(&command))
    }

    /// Has the device say whether it has a command.
    fn query(&self, suspect: Suspect) -> Option<Whereabouts> {
        let counters = &self.shared.counters().queries;

        match self.recovery().exchange(
            &self.initiator,
            TaskManagement::QueryTask,
            suspect.address,
            suspect.tag,
        ) {
            Reply::Code(code) => {
                let answer = whereabouts(code);

                match answer {
                    Whereabouts::Held => counters.held.count(),
                    Whereabouts::NotHeld => counters.lost.count(),
                    Whereabouts::Untold => counters.function.refused.count(),
                }
                Some(answer)
            }
            Reply::Silence => {
                counters.function.unanswered.count();
                None
            }
            // It is being reset, or about to be: then the command comes back.
            Reply::NotSent => {
                counters.function.unanswered.count();
                Some(Whereabouts::Untold)
            }
        }
    }

    /// Gives the device a moment for the commands that it was notified of again, and counts those that come back.
    fn wait_a_moment(&self, host: &Host<Initiator>) {
        let resets = self.shared.life().resets();
        let notified = self.recovery().take_notified();
        let held = || {
            let mut count: u32 = 0;

            self.for_each(host, |command| {
                if command.private().stage() == Stage::Notified {
                    count += 1;
                }
            });
            count
        };

        if notified == 0 {
            return;
        }
        self.recovery()
            .comes_back(&self.initiator, MOMENT, || held() > 0);
        if self.shared.life().resets() != resets {
            return;
        }
        for _ in held()..notified {
            self.recovery()
                .tell_of_loss("a notification", &self.shared.counters().lost_notifications);
        }
    }

    /// Asks the device for a command, and decides what becomes of it.
    fn ask(&self, host: &Host<Initiator>, suspect: Suspect) {
        if !self.holds(host, suspect) {
            return;
        }

        let answer = self.query(suspect);

        if answer == Some(Whereabouts::Held) && suspect.is_own && !suspect.is_new {
            // What the driver wants to know for itself must not keep it from everything else.
            self.recovery().task_management(
                &self.initiator,
                TaskManagement::AbortTask,
                suspect.address,
                suspect.tag,
            );
        }

        let stage = match answer {
            Some(Whereabouts::Held) => Stage::Held,
            Some(Whereabouts::NotHeld) => Stage::Lost,
            Some(Whereabouts::Untold) => Stage::Untold,
            None => Stage::Silent,
        };
        let Address { target, lun } = suspect.address;

        match stage {
            Stage::Lost if self.shared.may_complain() => dev_warn!(
                self.shared.dev(),
                "target {} lun {}: the device does not have a command that it has not answered\n",
                target,
                lun
            ),
            Stage::Silent if self.shared.may_complain() => dev_warn!(
                self.shared.dev(),
                "target {} lun {}: QUERY TASK was not answered\n",
                target,
                lun
            ),
            _ => {}
        }

        if stage == Stage::Silent {
            // It would not answer for the others either.
            self.for_each(host, |command| self.decide(&command, stage));
        } else {
            self.decide_for(host, suspect, stage);
        }
    }

    /// Returns whether a command is not to be waited for any longer, and notes it.
    fn is_over(&self, command: &CommandRef<'_, Initiator>) -> bool {
        let progress: &Progress = command.private();
        let stage = progress.stage();
        let policy = self.recovery().policy();

        if !stage.waits() {
            return false;
        }
        if self.shared.life().is_leaving() || command.is_condemned() {
            return progress.go(stage, Stage::ToAbort);
        }

        let bound = match stage {
            Stage::Held => policy.patience(command.is_failfast()),
            Stage::Untold => policy.refused(command.is_failfast()),
            _ => None,
        };

        if bound.is_some_and(|bound| progress.age() >= bound) && progress.go(stage, Stage::ToAbort)
        {
            // What the device still has is not sent to it again.
            if stage == Stage::Held {
                progress.give_up();
            }
            return true;
        }
        false
    }

    /// Looks at the commands that are waited for, and returns how many there are.
    fn look(&self, host: &Host<Initiator>) -> u64 {
        let before = *self.waiting.lock();
        let mut now: Units = [None; UNITS];
        let mut count: u64 = 0;

        self.for_each(host, |command| {
            if self.is_over(&command) {
                command.expire();
            } else if command.private().stage().waits() {
                let asking = command.private().stage().is_asked_for();

                count += 1;
                // One that is asked for again is still waited for.
                if let Some(address) =
                    address(&command).filter(|address| !asking || before.contains(&Some(*address)))
                {
                    add_unit(&mut now, address);
                }
            }
        });

        self.shared.counters().waiting.set(count);
        *self.waiting.lock() = now;
        self.tell(&before, &now);
        count
    }

    /// Says once for which logical units commands are waited for, and for which not any more.
    fn tell(&self, before: &Units, now: &Units) {
        for (units, others, what) in [
            (
                now,
                before,
                "the device has had a command for too long: waiting for it",
            ),
            (
                before,
                now,
                "the device has no command any more that is waited for",
            ),
        ] {
            for address in units.iter().flatten() {
                if !others.contains(&Some(*address)) && self.shared.may_complain() {
                    dev_info!(
                        self.shared.dev(),
                        "target {} lun {}: {}\n",
                        address.target,
                        address.lun,
                        what
                    );
                }
            }
        }
    }
}

impl Task for Asker {
    fn run(&self) -> Option<Jiffies> {
        let host = self.host.lock().clone()?;

        if !self.shared.life().is_leaving() {
            self.wait_a_moment(&host);
            for suspect in self.to_ask(&host).into_iter().flatten() {
                self.ask(&host, suspect);
            }
        }

        // Some may be left to be asked for, or may not have been decided upon.
        let again = self.to_ask(&host).iter().any(Option::is_some);
        let waiting = self.look(&host);

        if again && !self.shared.life().is_leaving() {
            Some(msecs_to_jiffies(LOOK_AGAIN / 10))
        } else {
            (waiting > 0).then(|| msecs_to_jiffies(LOOK_AGAIN))
        }
    }
}
