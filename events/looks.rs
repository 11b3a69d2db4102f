// SPDX-License-Identifier: GPL-2.0

//! What is looked at again a little later.
//!
//! Devices do not always say things at the right moment: some announce a logical unit before it answers, and some
//! that a unit is gone before it is.

use crate::{
    queues::wire::Address,
    virtio_glue::{
        new_locked,
        Locked,
        Stamp, //
    },
};
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// How many addresses can wait. If there are more, everything is looked at.
const LOOKS: usize = 64;

/// When everything is looked at, in milliseconds.
const ALL: u32 = 5_000;

/// Why an address is looked at again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// The device has said that a logical unit is there, and it did not answer yet.
    Announced,
    /// The device has said that a logical unit is gone; by LUN 0 it can mean that something else of the target is.
    Removed,
    /// The logical unit was in trouble when the device reported something of it.
    Troubled,
}

impl Why {
    /// Returns how long to wait before a look, of which there were `attempt` before, in milliseconds.
    fn delay(self, attempt: usize) -> Option<u32> {
        let delays: &[u32] = match self {
            Self::Announced => &[500, 2_000, 5_000],
            // A unit that announces early that it goes must not be found once more before it does.
            Self::Removed => &[2_000, 10_000],
            // Trouble ends, or the unit does.
            Self::Troubled => {
                return [2_000, 5_000, 10_000]
                    .get(attempt)
                    .copied()
                    .or(Some(30_000))
            }
        };

        delays.get(attempt).copied()
    }
}

/// A look at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Look {
    pub(super) why: Why,
    pub(super) address: Address,
    /// How often it was looked at before.
    pub(super) attempt: usize,
}

/// Something that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// A look at an address.
    Look(Look),
    /// A look at everything.
    All,
}

/// Something that waits for its time.
#[derive(Clone, Copy)]
struct Waiting {
    due: Due,
    since: Stamp,
    delay: Jiffies,
}

impl Waiting {
    /// Returns how long it still has to wait, in jiffies.
    fn rest(&self) -> Jiffies {
        self.delay.saturating_sub(self.since.elapsed())
    }
}

/// What is looked at again a little later.
#[pin_data]
pub(super) struct Looks {
    /// The last place is for a look at everything.
    #[pin]
    waiting: Locked<[Option<Waiting>; LOOKS + 1]>,
}

impl Looks {
    /// Makes an empty list.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            waiting <- new_locked!([None; LOOKS + 1], c"Looks::waiting"),
        })
    }

    /// Adds a look, unless it was looked at often enough. What waits for the same address is not needed any more.
    pub(super) fn add(&self, look: Look) {
        let Some(delay) = look.why.delay(look.attempt) else {
            return;
        };
        let mut waiting = self.waiting.lock();
        let [places @ .., _] = &mut *waiting;

        for place in places.iter_mut() {
            place.take_if(
                |other| matches!(other.due, Due::Look(other) if other.address == look.address),
            );
        }
        match places.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(Waiting {
                    due: Due::Look(look),
                    since: Stamp::now(),
                    delay: msecs_to_jiffies(delay),
                });
            }
            None => {
                drop(waiting);
                self.add_all();
            }
        }
    }

    /// Adds a look at everything.
    pub(super) fn add_all(&self) {
        let mut waiting = self.waiting.lock();
        let [.., all] = &mut *waiting;

        all.get_or_insert(Waiting {
            due: Due::All,
            since: Stamp::now(),
            delay: msecs_to_jiffies(ALL),
        });
    }

    /// Takes what is due.
    pub(super) fn take_due(&self) -> Option<Due> {
        let mut waiting = self.waiting.lock();

        waiting
            .iter_mut()
            .find_map(|place| place.take_if(|one| one.rest() == 0))
            .map(|one| one.due)
    }

    /// Returns in how many jiffies the next is due.
    pub(super) fn next(&self) -> Option<Jiffies> {
        self.waiting
            .lock()
            .iter()
            .flatten()
            .map(Waiting::rest)
            .min()
    }
}
