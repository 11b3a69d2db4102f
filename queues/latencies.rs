// SPDX-License-Identifier: GPL-2.0

//! How long the device takes for commands, recorded while the user wants that: in debugfs.
//!
//! This rides on the tracepoints of commands, so that it costs nothing while it is off.

use super::command_state::Cmnd;
use crate::{
    kernel_glue::{
        now_ns,
        Pairs,
        Show, //
    },
    scsi_glue::DataDirection,
    trace_glue::Recording, //
};
use kernel::{
    fmt, new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
};

/// How many ranges of times there are. Each is twice as long as the one before, and the last has
/// all that is longer: half an hour, in microseconds.
const RANGES: usize = 32;

/// The ways that data go, by their names in the report.
const DIRECTIONS: [(DataDirection, &str); 3] = [
    (DataDirection::None, "none"),
    (DataDirection::FromDevice, "read"),
    (DataDirection::ToDevice, "write"),
];

/// How many commands took a time within each range, by direction.
type Counts = [[Atomic<u64>; RANGES]; DIRECTIONS.len()];

/// The times of the commands of a host.
#[pin_data]
pub struct Latencies {
    /// Keeps the tracepoints on. [`None`] while nothing is recorded.
    #[pin]
    recording: Mutex<Option<Recording>>,
    /// When the recording began, in nanoseconds; or 0 if nothing is recorded.
    since: Atomic<u64>,
    counts: Counts,
}

impl Latencies {
    /// Makes an initialiser for times of which none is recorded.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            recording <- new_mutex!(None),
            since: Atomic::new(0),
            counts: [const { [const { Atomic::new(0) }; RANGES] }; DIRECTIONS.len()],
        })
    }

    /// Returns whether times are recorded.
    pub fn is_on(&self) -> bool {
        self.since.load(Relaxed) != 0
    }

    /// Begins or ends to record. What was recorded before is forgotten when it begins.
    ///
    /// Process context.
    pub fn set(&self, on: bool) -> Result {
        let mut recording = self.recording.lock();

        if on == recording.is_some() {
            return Ok(());
        }
        if !on {
            self.since.store(0, Relaxed);
            *recording = None;
            return Ok(());
        }

        let new = Recording::new()?;

        for count in self.counts.iter().flatten() {
            count.store(0, Relaxed);
        }
        self.since.store(now_ns(), Relaxed);
        *recording = Some(new);
        Ok(())
    }

    /// Notes that a command is about to be sent. Any context.
    pub(super) fn begin(&self, command: &Cmnd) {
        if self.is_on() {
            command.private().note_begin(now_ns());
        }
    }

    /// Counts a command that was found used at a time, in nanoseconds. Any context.
    pub(super) fn end(&self, command: &Cmnd, direction: DataDirection, now: u64) {
        let since = self.since.load(Relaxed);
        let began = command.private().began();

        // The command was sent before this recording began.
        if since == 0 || began < since {
            return;
        }

        let micros = now.saturating_sub(began) / 1_000;
        let range = (u64::BITS - micros.leading_zeros()) as usize;
        let place = DIRECTIONS
            .iter()
            .zip(&self.counts)
            .find(|((each, _), _)| *each == direction)
            .and_then(|(_, counts)| counts.get(range.min(RANGES - 1)));

        if let Some(count) = place {
            count.fetch_add(1, Relaxed);
        }
    }
}

impl Show for Latencies {
    /// Writes a line for each range that has commands.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((_, direction), counts) in DIRECTIONS.iter().zip(&self.counts) {
            for (range, count) in counts.iter().enumerate() {
                let count = count.load(Relaxed);

                if count != 0 {
                    Pairs::new(f)
                        .word("direction", direction)
                        .number("below_us", 1 << range)
                        .number("count", count)
                        .end()?;
                }
            }
        }
        Ok(())
    }
}
