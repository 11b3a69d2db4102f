// SPDX-License-Identifier: GPL-2.0

//! What is counted of a device, for an operator to see.

use super::wire::TaskManagement;
use kernel::{
    fmt,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// Counts something that does not happen with every command. Any context.
pub struct Counter(Atomic<u64>);

impl Default for Counter {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Counter {
    /// Sets how many there are now, of something that comes and goes.
    pub fn set(&self, now: u64) {
        self.0.store(now, Relaxed);
    }

    /// Counts one.
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Returns how many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Writes a line: a name, a space, and how many there were.
    fn show(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        writeln!(f, "{name} {}", self.get())
    }
}

/// What became of the task management functions of one kind.
#[derive(Default)]
pub struct FunctionCounters {
    /// How many there were.
    pub sent: Counter,
    /// How many the device has not carried out.
    pub refused: Counter,
    /// How many were not answered in time, or could not be sent.
    pub unanswered: Counter,
}

impl FunctionCounters {
    /// Writes a line for each, whose names begin with the function's.
    fn show(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        self.sent.show(f, name)?;
        writeln!(f, "{name}_refused {}", self.refused.get())?;
        writeln!(f, "{name}_unanswered {}", self.unanswered.get())
    }
}

/// What the device has said of commands that it was asked for.
#[derive(Default)]
pub struct QueryCounters {
    /// QUERY TASK.
    pub function: FunctionCounters,
    /// Answers that the device has the command.
    pub held: Counter,
    /// Answers that it does not.
    pub lost: Counter,
}

impl QueryCounters {
    /// Writes a line for each.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.function.show(f, "queries")?;
        self.held.show(f, "queries_held")?;
        self.lost.show(f, "queries_lost")
    }
}

/// What is counted of a device, from probe to unbinding.
#[derive(Default)]
pub struct Counters {
    /// Commands that took too long.
    pub timeouts: Counter,
    /// Commands that were found to be done when they had taken too long.
    pub lost_interrupts: Counter,
    /// Commands that were done when the device was notified again.
    pub lost_notifications: Counter,
    /// Commands that are waited for now though they have taken too long: a number that also falls.
    pub waiting: Counter,
    /// Interrupts of request queues that had so much to do that softirq context went on with it.
    pub continued: Counter,
    /// Times that a command could not be sent because there was no memory for it.
    pub no_memory: Counter,
    /// QUERY TASK.
    pub queries: QueryCounters,
    /// ABORT TASK.
    pub abort_task: FunctionCounters,
    /// LOGICAL UNIT RESET.
    pub logical_unit_reset: FunctionCounters,
    /// I_T NEXUS RESET.
    pub nexus_reset: FunctionCounters,
    /// Times that the device was found not to work: it has asked for a reset, or has broken the
    /// protocol of a virtqueue.
    pub failures: Counter,
    /// Resets of the device by the driver.
    pub device_resets: Counter,
    /// Resets after which the device was given up.
    pub failed_device_resets: Counter,
    /// Commands that the device has completed without a response, or with one that does not exist.
    pub bad_responses: Counter,
    /// Commands that the driver has sent by itself, to find out which logical units there are.
    pub own_commands: Counter,
    /// Those among them that the device has not answered in time.
    pub own_commands_unanswered: Counter,
    /// Logical units that were removed because there was another one in their place.
    pub replaced_units: Counter,
    /// Events that the device has reported.
    pub events: Counter,
    /// Events among them that do not exist.
    pub bad_events: Counter,
    /// Times that the device has said that it had no buffer for an event.
    pub missed_events: Counter,
}

impl Counters {
    /// Returns what is counted of a task management function.
    pub(super) fn of(&self, function: TaskManagement) -> &FunctionCounters {
        match function {
            TaskManagement::AbortTask => &self.abort_task,
            TaskManagement::LogicalUnitReset => &self.logical_unit_reset,
            TaskManagement::NexusReset => &self.nexus_reset,
            TaskManagement::QueryTask => &self.queries.function,
        }
    }

    /// Writes a line for each: its name, a space, and how many there were.
    pub fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timeouts.show(f, "timeouts")?;
        self.lost_interrupts.show(f, "lost_interrupts")?;
        self.lost_notifications.show(f, "lost_notifications")?;
        self.waiting.show(f, "waiting")?;
        self.continued.show(f, "continued")?;
        self.no_memory.show(f, "no_memory")?;
        self.queries.show(f)?;
        self.abort_task.show(f, "abort_task")?;
        self.logical_unit_reset.show(f, "logical_unit_reset")?;
        self.nexus_reset.show(f, "nexus_reset")?;
        self.failures.show(f, "failures")?;
        self.device_resets.show(f, "device_resets")?;
        self.failed_device_resets.show(f, "failed_device_resets")?;
        self.bad_responses.show(f, "bad_responses")?;
        self.own_commands.show(f, "own_commands")?;
        self.own_commands_unanswered
            .show(f, "own_commands_unanswered")?;
        self.replaced_units.show(f, "replaced_units")?;
        self.events.show(f, "events")?;
        self.bad_events.show(f, "bad_events")?;
        self.missed_events.show(f, "missed_events")
    }
}
