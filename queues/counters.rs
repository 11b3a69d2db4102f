// SPDX-License-Identifier: GPL-2.0

//! The counters of a device, in debugfs.

use crate::{
    kernel_glue::Pairs,
    protocol::control::TaskManagement, //
};
use kernel::{
    fmt,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// A counter of rare events: it is not for every command. Any context.
pub struct Counter(Atomic<u64>);

impl Default for Counter {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Counter {
    /// Sets the value.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Returns the value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Writes a line: a name, a space, and the value.
    fn show(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        Pairs::new(f).number(name, self.get()).end()
    }
}

/// The counters of a task management function.
#[derive(Default)]
pub struct FunctionCounters {
    /// All.
    pub sent: Counter,
    /// Those that the device has not carried out.
    pub refused: Counter,
    /// Those that were not answered in time, or could not be sent.
    pub unanswered: Counter,
}

impl FunctionCounters {
    /// Writes a line for each counter. `name` is the name of the function.
    fn show(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        self.sent.show(f, name)?;
        writeln!(f, "{name}_refused {}", self.refused.get())?;
        writeln!(f, "{name}_unanswered {}", self.unanswered.get())
    }
}

/// The counters of QUERY TASK and its answers.
#[derive(Default)]
pub struct QueryCounters {
    /// The function.
    pub function: FunctionCounters,
    /// The device has the command.
    pub held: Counter,
    /// The device does not have the command.
    pub lost: Counter,
}

impl QueryCounters {
    /// Writes a line for each counter.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.function.show(f, "queries")?;
        self.held.show(f, "queries_held")?;
        self.lost.show(f, "queries_lost")
    }
}

/// The counters of a device, from probe to unbinding.
#[derive(Default)]
pub struct Counters {
    /// Commands that have timed out.
    pub timeouts: Counter,
    /// Commands that had been used when they timed out.
    pub lost_interrupts: Counter,
    /// Commands that were used when the device was notified again.
    pub lost_notifications: Counter,
    /// Commands that are waited for at the moment although they have timed out.
    pub waiting: Counter,
    /// Interrupts of request queues whose work went on in softirq context.
    pub continued: Counter,
    /// Times that a command could not be sent for lack of memory.
    pub no_memory: Counter,
    /// QUERY TASK.
    pub queries: QueryCounters,
    /// ABORT TASK.
    pub abort_task: FunctionCounters,
    /// LOGICAL UNIT RESET.
    pub logical_unit_reset: FunctionCounters,
    /// I_T NEXUS RESET.
    pub nexus_reset: FunctionCounters,
    /// Times that the device asked for a reset, or broke the protocol of a virtqueue.
    pub failures: Counter,
    /// Resets of the device by the driver.
    pub device_resets: Counter,
    /// Resets after which the device was given up.
    pub failed_device_resets: Counter,
    /// Commands that the device has used without a response, or with one that does not exist.
    pub bad_responses: Counter,
    /// Commands of the driver's own.
    pub own_commands: Counter,
    /// Those of them that the device has not answered in time.
    pub own_commands_unanswered: Counter,
    /// Times that the driver has looked for logical units that the midlayer does not have.
    pub censuses: Counter,
    /// Logical units that were removed because their address has another unit.
    pub replaced_units: Counter,
    /// Times that a logical unit was left out because the device has too many.
    pub units_left_out: Counter,
    /// Events that the device has reported.
    pub events: Counter,
    /// Those of them that do not exist.
    pub bad_events: Counter,
    /// Times that the device reported that it had no buffer for an event.
    pub missed_events: Counter,
}

impl Counters {
    /// Returns the counters of a task management function.
    pub(crate) fn of(&self, function: TaskManagement) -> &FunctionCounters {
        match function {
            TaskManagement::AbortTask => &self.abort_task,
            TaskManagement::LogicalUnitReset => &self.logical_unit_reset,
            TaskManagement::NexusReset => &self.nexus_reset,
            TaskManagement::QueryTask => &self.queries.function,
        }
    }

    /// Writes a line for each counter: its name, a space, and its value.
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
        self.censuses.show(f, "censuses")?;
        self.replaced_units.show(f, "replaced_units")?;
        self.units_left_out.show(f, "units_left_out")?;
        self.events.show(f, "events")?;
        self.bad_events.show(f, "bad_events")?;
        self.missed_events.show(f, "missed_events")
    }
}
