// SPDX-License-Identifier: GPL-2.0-or-later

//! Counters that a test can ask for.

use std::collections::BTreeMap;

use serde::Serialize;

/// Requests of one unit.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct UnitStats {
    /// Commands that came.
    pub commands: u64,
    /// Commands that are not answered.
    pub in_flight: usize,
    /// The most there were.
    pub most: usize,
}

/// All counters.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Requests by queue.
    pub queues: BTreeMap<usize, u64>,
    /// Notifications by queue, those that were ignored included.
    pub kicks: BTreeMap<usize, u64>,
    /// Commands by unit.
    pub units: BTreeMap<String, UnitStats>,
    /// Commands by name.
    pub commands: BTreeMap<String, u64>,
    /// Task management functions by name.
    pub tmfs: BTreeMap<String, u64>,
    /// Answers.
    pub answers: u64,
    /// Those of them that a rule had its way with, and entries of the used ring that were ordered.
    pub answers_ruled: u64,
    /// Requests that a rule has had wait.
    pub waits: u64,
    /// Event buffers that came.
    pub event_buffers: u64,
    /// Events that were sent.
    pub events: u64,
    /// Those of them that were ordered: the others tell of what has happened.
    pub events_ordered: u64,
    /// Events that found no buffer.
    pub events_missed: u64,
    /// How often the driver has set up the control queue: when it found the device, and after
    /// each reset.
    pub starts: u64,
    /// Offers that a front-end has got.
    pub offers: u64,
    /// The tag of the last command, which should tell nothing about the driver's memory.
    pub last_tag: u64,
}

impl Stats {
    /// A command came. Returns how many its unit has now.
    pub fn begin(&mut self, queue: usize, unit: &str, name: String) -> usize {
        *self.queues.entry(queue).or_default() += 1;
        *self.commands.entry(name).or_default() += 1;
        let unit = self.units.entry(unit.to_owned()).or_default();
        unit.commands += 1;
        unit.in_flight += 1;
        unit.most = unit.most.max(unit.in_flight);
        unit.in_flight
    }

    /// A command of a unit is answered, or was forgotten with its queue.
    pub fn end(&mut self, unit: &str) {
        if let Some(unit) = self.units.get_mut(unit) {
            unit.in_flight = unit.in_flight.saturating_sub(1);
        }
    }
}
