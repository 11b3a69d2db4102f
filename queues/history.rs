// SPDX-License-Identifier: GPL-2.0

//! The last steps of recovery, in debugfs.

use crate::{
    kernel_glue::{
        jiffies_to_msecs,
        new_locked,
        Locked,
        Pairs,
        Show,
        Stamp, //
    },
    protocol::address::Address,
};
use kernel::{
    fmt,
    prelude::*,
    sync::Arc, //
};

/// How many steps are kept.
const CAPACITY: usize = 32;

/// A step of recovery.
#[derive(Clone, Copy)]
struct Step {
    at: Stamp,
    /// The logical unit, unless the step is about the device.
    address: Option<Address>,
    name: &'static str,
    outcome: &'static str,
    /// How many times in a row it was taken.
    times: u64,
}

impl Step {
    /// Returns whether another step is the same at another time.
    fn is_like(&self, other: &Self) -> bool {
        (self.address, self.name, self.outcome) == (other.address, other.name, other.outcome)
    }
}

/// The state of [`History`].
struct Steps {
    places: [Option<Step>; CAPACITY],
    /// How many places were ever filled.
    count: usize,
}

/// The last steps of recovery of a device.
#[pin_data]
pub struct History {
    #[pin]
    steps: Locked<Steps>,
}

impl History {
    /// Creates an empty history.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                steps <- new_locked!(
                    Steps {
                        places: [None; CAPACITY],
                        count: 0,
                    },
                    c"History::steps"
                ),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds a step, or counts it if it is the same as the last: a hundred commands that time out
    /// must not push out the rest. `name` and `outcome` are without spaces. Any context.
    pub(crate) fn add(&self, address: Option<Address>, name: &'static str, outcome: &'static str) {
        let mut steps = self.steps.lock();
        let Steps { places, count } = &mut *steps;
        let step = Step {
            at: Stamp::now(),
            address,
            name,
            outcome,
            times: 1,
        };

        match places.get_mut(count.wrapping_sub(1) % CAPACITY) {
            Some(Some(last)) if last.is_like(&step) => {
                last.at = step.at;
                last.times += 1;
            }
            _ => {
                if let Some(place) = places.get_mut(*count % CAPACITY) {
                    *place = Some(step);
                }
                *count = count.wrapping_add(1);
            }
        }
    }

    /// Returns the step with a number, unless it was never taken or is not kept any more.
    fn get(&self, number: usize) -> Option<Step> {
        let steps = self.steps.lock();

        if steps.count.wrapping_sub(number) > CAPACITY {
            return None;
        }
        steps.places.get(number % CAPACITY).copied().flatten()
    }
}

impl Show for History {
    /// Writes a line for each step that is kept, the oldest first.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.steps.lock().count;

        for number in count.saturating_sub(CAPACITY)..count {
            // While this is shown, the oldest may go.
            let Some(step) = self.get(number) else {
                continue;
            };

            let mut line = Pairs::new(f);

            line.number("ago_ms", jiffies_to_msecs(step.at.elapsed()));
            if let Some(Address { target, lun }) = step.address {
                line.number("target", target.into()).number("lun", lun);
            }
            line.word("step", step.name)
                .word("outcome", step.outcome)
                .number("times", step.times)
                .end()?;
        }
        Ok(())
    }
}
