// SPDX-License-Identifier: GPL-2.0

//! Fourth stop of some events: a check that is due later.
//!
//! Devices do not always report at the right moment: some report a logical unit before it answers,
//! and some report a unit as removed before it is.

use crate::{
    kernel_glue::{
        new_locked,
        Locked,
        Stamp, //
    },
    protocol::address::Address, //
};
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// How many addresses can wait for a check. On overflow all units are reconciled.
const CAPACITY: usize = 64;

/// After how long all units are reconciled, in milliseconds.
const RECONCILE_DELAY_MS: u32 = 5_000;

/// After how long all units are reconciled again of which some were not asked, in milliseconds.
const RECONCILE_AGAIN_DELAYS_MS: [u32; 2] = [10_000, 60_000];

/// After how long another census is taken, in milliseconds.
const CENSUS_DELAYS_MS: [u32; 2] = [10_000, 60_000];

/// Why an address is checked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    /// The device has reported a logical unit that did not answer yet.
    Rescan,
    /// The device has reported a logical unit as removed; LUN 0 can stand for its target.
    Removed,
    /// The device has reported something of a logical unit that does not work for now.
    Trouble,
}

impl Reason {
    /// Returns the delay before the check, in milliseconds, after `attempt` earlier ones. [`None`]
    /// after the last.
    fn delay_ms(self, attempt: usize) -> Option<u32> {
        let delays: &[u32] = match self {
            Self::Rescan => &[500, 2_000, 5_000],
            // A unit that is reported as removed too early must not be added again before it goes.
            Self::Removed => &[2_000, 10_000],
            // Without end: either the unit works again or it is removed.
            Self::Trouble => {
                return [2_000, 5_000, 10_000]
                    .get(attempt)
                    .copied()
                    .or(Some(30_000))
            }
        };

        delays.get(attempt).copied()
    }
}

/// A check of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Recheck {
    pub(super) reason: Reason,
    pub(super) address: Address,
    /// How many checks there were before.
    pub(super) attempt: usize,
}

/// A check that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// A check of one address.
    Recheck(Recheck),
    /// A reconciliation of all units, after `attempt` that have not asked all of them.
    Reconcile { attempt: usize },
    /// Another census from the target `first` on, after `attempt` that have left something out.
    Census { first: u8, attempt: usize },
}

/// An entry of [`Rechecks`].
#[derive(Clone, Copy)]
struct Waiting {
    due: Due,
    since: Stamp,
    delay: Jiffies,
}

impl Waiting {
    /// Returns for how long the check has been due, in jiffies.
    fn overdue(&self) -> Jiffies {
        self.since.elapsed().saturating_sub(self.delay)
    }

    /// Returns the time until the check is due, in jiffies.
    fn remaining(&self) -> Jiffies {
        self.delay.saturating_sub(self.since.elapsed())
    }
}

/// The checks that are due later.
#[pin_data]
pub(super) struct Rechecks {
    /// The last places are for [`Due::Reconcile`] and [`Due::Census`].
    #[pin]
    waiting: Locked<[Option<Waiting>; CAPACITY + 2]>,
}

impl Rechecks {
    /// Makes an initialiser for an empty list.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            waiting <- new_locked!([None; CAPACITY + 2], c"Rechecks::waiting"),
        })
    }

    /// Adds a check, unless `attempt` was the last. It replaces one of the same address.
    pub(super) fn add(&self, recheck: Recheck) {
        let Some(delay) = recheck.reason.delay_ms(recheck.attempt) else {
            return;
        };
        let mut waiting = self.waiting.lock();
        let [places @ .., _, _] = &mut *waiting;

        for place in places.iter_mut() {
            place.take_if(|other| {
                matches!(other.due, Due::Recheck(other) if other.address == recheck.address)
            });
        }
        match places.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(Waiting {
                    due: Due::Recheck(recheck),
                    since: Stamp::now(),
                    delay: msecs_to_jiffies(delay),
                });
            }
            None => {
                drop(waiting);
                self.add_reconcile();
            }
        }
    }

    /// Adds a reconciliation, unless one waits.
    pub(super) fn add_reconcile(&self) {
        self.add_reconcile_after(RECONCILE_DELAY_MS, 0);
    }

    /// Adds another reconciliation, after `attempt` that have not asked all units, unless there
    /// were enough or one waits.
    pub(super) fn add_reconcile_again(&self, attempt: usize) {
        if let Some(delay) = RECONCILE_AGAIN_DELAYS_MS.get(attempt) {
            self.add_reconcile_after(*delay, attempt + 1);
        }
    }

    /// Adds a reconciliation that is due in `delay_ms` milliseconds, unless one waits.
    fn add_reconcile_after(&self, delay_ms: u32, attempt: usize) {
        let mut waiting = self.waiting.lock();
        let [.., reconcile, _] = &mut *waiting;

        reconcile.get_or_insert(Waiting {
            due: Due::Reconcile { attempt },
            since: Stamp::now(),
            delay: msecs_to_jiffies(delay_ms),
        });
    }

    /// Adds another census from the target `first` on, after `attempt` that have left something
    /// out, unless there were enough. It replaces one that waits.
    pub(super) fn add_census(&self, first: u8, attempt: usize) {
        let Some(delay) = CENSUS_DELAYS_MS.get(attempt) else {
            return;
        };
        let mut waiting = self.waiting.lock();
        let [.., census] = &mut *waiting;

        *census = Some(Waiting {
            due: Due::Census {
                first,
                attempt: attempt + 1,
            },
            since: Stamp::now(),
            delay: msecs_to_jiffies(*delay),
        });
    }

    /// Takes the check that has been due for longest.
    pub(super) fn take_due(&self) -> Option<Due> {
        let mut waiting = self.waiting.lock();

        waiting
            .iter_mut()
            .filter(|place| matches!(place, Some(entry) if entry.remaining() == 0))
            .max_by_key(|place| place.map(|entry| entry.overdue()))
            .and_then(Option::take)
            .map(|entry| entry.due)
    }

    /// Returns the time until the next check is due, in jiffies, if there is one.
    pub(super) fn next(&self) -> Option<Jiffies> {
        self.waiting
            .lock()
            .iter()
            .flatten()
            .map(Waiting::remaining)
            .min()
    }
}
