// SPDX-License-Identifier: GPL-2.0

//! The logical units for which the device had to be reset.

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

/// The most logical units on the list. With more, the device as a whole is at fault, and the oldest
/// entry is dropped.
const UNITS: usize = 32;

/// How long a strike counts at least, in milliseconds.
const WINDOW_MS: u32 = 600_000;

/// A logical unit for which the device was reset.
#[derive(Clone, Copy)]
struct Strike {
    address: Address,
    count: u32,
    last: Stamp,
    /// How many of its commands had succeeded by then.
    successes: i32,
}

/// The logical units for which the device had to be reset, and how many times in a row.
#[pin_data]
pub(crate) struct Strikes {
    #[pin]
    units: Locked<[Option<Strike>; UNITS]>,
}

impl Strikes {
    /// Makes an empty list.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            units <- new_locked!([None; UNITS], c"Strikes::units"),
        })
    }

    /// Counts a reset for a logical unit, and returns the number of those in a row: each at most
    /// [`WINDOW_MS`], or `within` jiffies if that is more, after the one before, and without a
    /// success in between. `successes` is the number of commands of the unit that have succeeded.
    pub(crate) fn add(&self, address: Address, within: Jiffies, successes: i32) -> u32 {
        let window = msecs_to_jiffies(WINDOW_MS).max(within);
        let mut units = self.units.lock();
        let mut count = 1;

        for place in units.iter_mut() {
            if let Some(strike) = place.take_if(|strike| strike.address == address) {
                if strike.last.elapsed() <= window && successes.wrapping_sub(strike.successes) <= 0
                {
                    count = strike.count.saturating_add(1);
                }
            }
        }

        let strike = Strike {
            address,
            count,
            last: Stamp::now(),
            successes,
        };
        let free = units.iter().position(Option::is_none);

        if free.is_none() {
            units.rotate_left(1);
        }
        if let Some(place) = units.get_mut(free.unwrap_or(UNITS - 1)) {
            *place = Some(strike);
        }
        count
    }

    /// Returns whether the device was reset for a logical unit not long ago.
    pub(crate) fn has(&self, address: Address) -> bool {
        self.units.lock().iter().flatten().any(|strike| {
            strike.address == address && strike.last.elapsed() <= msecs_to_jiffies(WINDOW_MS)
        })
    }

    /// Forgets an address, at which another logical unit was found.
    pub(crate) fn forget(&self, address: Address) {
        for place in self.units.lock().iter_mut() {
            place.take_if(|strike| strike.address == address);
        }
    }
}
