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
    /// Counts one.
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Returns how many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
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

/// What is counted of a device, from probe to unbinding.
#[derive(Default)]
pub struct Counters {
    /// Commands that took too long.
    pub timeouts: Counter,
    /// Commands that were found to be done when they had taken too long.
    pub lost_interrupts: Counter,
    /// Commands that were done when the device was notified again.
    pub lost_notifications: Counter,
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
        }
    }

    /// Writes a line for each: its name, a space, and how many there were.
    pub fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, counter: &Counter| writeln!(f, "{name} {}", counter.get());

        line("timeouts", &self.timeouts)?;
        line("lost_interrupts", &self.lost_interrupts)?;
        line("lost_notifications", &self.lost_notifications)?;
        line("abort_task", &self.abort_task.sent)?;
        line("abort_task_refused", &self.abort_task.refused)?;
        line("abort_task_unanswered", &self.abort_task.unanswered)?;
        line("logical_unit_reset", &self.logical_unit_reset.sent)?;
        line(
            "logical_unit_reset_refused",
            &self.logical_unit_reset.refused,
        )?;
        line(
            "logical_unit_reset_unanswered",
            &self.logical_unit_reset.unanswered,
        )?;
        line("nexus_reset", &self.nexus_reset.sent)?;
        line("nexus_reset_refused", &self.nexus_reset.refused)?;
        line("nexus_reset_unanswered", &self.nexus_reset.unanswered)?;
        line("failures", &self.failures)?;
        line("device_resets", &self.device_resets)?;
        line("failed_device_resets", &self.failed_device_resets)?;
        line("bad_responses", &self.bad_responses)?;
        line("events", &self.events)?;
        line("bad_events", &self.bad_events)?;
        line("missed_events", &self.missed_events)
    }
}
