// SPDX-License-Identifier: GPL-2.0

//! Events that wait to be handled.

use super::wire::Report;
use crate::virtio_glue::{
    new_locked,
    Locked, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// How many events can wait. If there are more, it is as if the device had not had buffers for
/// them, and the worker finds out what has changed by looking.
const LEN: usize = 256;

/// Events that wait to be handled, first in, first out.
struct Waiting {
    /// There is room for [`LEN`], so that adding one never needs memory.
    events: KVec<Report>,
    /// The index of the first.
    first: usize,
    /// Whether some did not find room.
    overflowed: bool,
}

/// Where interrupt context leaves events for the worker.
#[pin_data]
pub(super) struct Inbox {
    #[pin]
    waiting: Locked<Waiting>,
}

impl Inbox {
    /// Makes an empty one.
    pub(super) fn new() -> Result<Arc<Self>> {
        let waiting = Waiting {
            events: KVec::with_capacity(LEN, GFP_KERNEL)?,
            first: 0,
            overflowed: false,
        };

        Arc::pin_init(
            pin_init!(Self {
                waiting <- new_locked!(waiting, c"Inbox::waiting"),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds an event. Any context.
    pub(super) fn add(&self, report: Report) {
        let mut waiting = self.waiting.lock();

        if waiting.events.push_within_capacity(report).is_err() {
            waiting.overflowed = true;
        }
    }

    /// Takes the event that came first. If some did not find room, the last one says that events
    /// were missed.
    pub(super) fn take(&self) -> Option<Report> {
        let mut waiting = self.waiting.lock();
        let first = waiting.first;
        let mut report = waiting.events.get(first).copied()?;

        if first + 1 < waiting.events.len() {
            waiting.first = first + 1;
        } else {
            // That was the last: all the room is free again.
            waiting.events.clear();
            waiting.first = 0;
            report.missed |= waiting.overflowed;
            waiting.overflowed = false;
        }
        Some(report)
    }
}
