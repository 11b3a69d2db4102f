// SPDX-License-Identifier: GPL-2.0

//! Third stop when events were missed, second part: the midlayer reads the logical units again that
//! a reconciliation has kept, one after the other.
//!
//! For each of them the midlayer sends some thirty commands and stops the unit's queue. Without
//! rests in between, the disks of a host with many would lose most of their reads and writes
//! meanwhile. The handler does other work in the rests. A host without I/O needs none.

use super::{
    reread::reread_when_well,
    topology::Kept,
    units::{
        is_settled,
        Units, //
    },
};
use crate::{
    kernel_glue::Stamp,
    protocol::address::Address,
    queues::address_of, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex,
    time::{
        msecs_to_jiffies,
        Instant,
        Jiffies,
        Monotonic, //
    },
};

/// The rest after a logical unit, in multiples of the time that it took.
const REST: i64 = 19;

/// How long all rests take together, in milliseconds, but for rounding.
const RESTS_MS: i64 = 30_000;

/// The state of [`Rereads`].
struct Waiting {
    /// The units that are still to be read. The last is the next.
    units: KVec<Kept>,
    /// The number of device resets when the units were compared. After another one they are
    /// compared again, and nothing here matters.
    resets: u64,
    /// The longest rest, in milliseconds.
    rest_max_ms: i64,
    /// The unit that was read last.
    last: Option<Address>,
    rest_began: Stamp,
    rest: Jiffies,
}

/// The logical units that are to be read again. Only the handler uses them.
#[pin_data]
pub(super) struct Rereads {
    #[pin]
    waiting: Mutex<Waiting>,
}

impl Rereads {
    /// Makes an initialiser for an empty list.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            waiting <- new_mutex!(
                Waiting {
                    units: KVec::new(),
                    resets: 0,
                    rest_max_ms: 0,
                    last: None,
                    rest_began: Stamp::now(),
                    rest: 0,
                },
                "Rereads::waiting"
            ),
        })
    }

    /// Has `units` read instead of those that still wait: all units of the host that are to be read
    /// after `resets` device resets.
    ///
    /// Process context.
    pub(super) fn replace(&self, mut units: KVec<Kept>, resets: u64) {
        let mut waiting = self.waiting.lock();
        let is_begun = !waiting.units.is_empty() && waiting.resets == resets;

        // Goes on behind the unit that was read last: if this is called often, each has its turn.
        let position = units
            .iter()
            .position(|kept| is_begun && address_of(&kept.unit) == waiting.last);

        if let Some((former, next)) =
            units.split_at_mut_checked(position.map_or(0, |position| position + 1))
        {
            former.reverse();
            next.reverse();
        }
        waiting.rest_max_ms = RESTS_MS / units.len().max(1) as i64;
        waiting.units = units;
        waiting.resets = resets;
    }

    /// Has the midlayer read the next unit again, if it is time. Returns false if it is not, or if
    /// none waits.
    ///
    /// Process context.
    pub(super) fn read_next(&self, units: &Units) -> bool {
        let Some(kept) = self.take(units.shared().life().resets()) else {
            return false;
        };
        let began = Instant::<Monotonic>::now();

        if is_settled(&kept.unit) {
            reread_when_well(units, &kept.unit, kept.vpd_list(), 0);
        }

        let took_us = began.elapsed().as_micros_ceil();
        let needs_rest = self.next().is_some() && units.host().any_in_flight(|_| true);
        let mut waiting = self.waiting.lock();
        let rest_ms = match needs_rest {
            true => (took_us * REST / 1_000).min(waiting.rest_max_ms),
            false => 0,
        };

        waiting.rest_began = Stamp::now();
        waiting.rest = msecs_to_jiffies(rest_ms.try_into().unwrap_or(0));
        true
    }

    /// Takes the next unit, if it is time. After `resets` device resets that are not those of the
    /// list, drops the list.
    fn take(&self, resets: u64) -> Option<Kept> {
        let mut waiting = self.waiting.lock();

        if waiting.resets != resets {
            waiting.units = KVec::new();
            waiting.rest = 0;
        }
        if waiting.remaining() > 0 {
            return None;
        }

        let kept = waiting.units.pop()?;

        waiting.last = address_of(&kept.unit);
        Some(kept)
    }

    /// Returns the time until the next unit is read, in jiffies, if one waits.
    pub(super) fn next(&self) -> Option<Jiffies> {
        let waiting = self.waiting.lock();

        (!waiting.units.is_empty()).then(|| waiting.remaining())
    }
}

impl Waiting {
    /// Returns what is left of the rest, in jiffies.
    fn remaining(&self) -> Jiffies {
        self.rest.saturating_sub(self.rest_began.elapsed())
    }
}
