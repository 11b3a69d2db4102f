// SPDX-License-Identifier: GPL-2.0

//! Commands that have timed out and are older than the user allows: what is known of them goes to
//! the log, or the kernel panics, for a dump to be looked at later.

use super::ladder::Recovery;
use crate::{
    kernel_glue::{
        jiffies_to_msecs,
        panic_for_dump, //
    },
    queues::{
        age_of,
        Cmnd,
        CommandLine,
        Host,
        QueueLine, //
    },
};
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// How long ago a command has to have timed out, in milliseconds. When the whole guest was paused,
/// all commands seem to be old, and the device is about to complete them.
const GRACE_MS: u32 = 1_000;

impl Recovery {
    /// Logs the commands that have reached the age for that, each once for each time that it was
    /// sent. Then panics if one has reached the age for that. Returns whether to look again soon.
    ///
    /// Process context.
    pub(super) fn look_at_ages(&self, host: &Host) -> bool {
        let (report, panic) = (self.policy().report(), self.policy().panic());
        let reaches = |age, bound: Option<Jiffies>| bound.is_some_and(|bound| age >= bound);

        if report.is_none() && panic.is_none() {
            return false;
        }
        self.queues().poll_all();

        let mut is_any_overdue = false;
        let mut oldest = None;

        host.any_in_flight(|command| {
            let Some(overdue) = command.private().overdue() else {
                return false;
            };
            let age = age_of(command);

            is_any_overdue = true;
            if overdue < msecs_to_jiffies(GRACE_MS) || !command.private().is_on_ring() {
                return false;
            }
            if reaches(age, panic) && oldest.is_none_or(|(before, _)| age > before) {
                oldest = Some((age, command.unique_tag()));
            }
            if reaches(age, report) && !command.private().is_reported() && self.reports().pass() {
                command.private().note_report();
                self.log_command(command);
            }
            false
        });

        if let Some((age, unique_tag)) = oldest {
            host.any_in_flight(|command| {
                let found = command.unique_tag() == unique_tag;

                if found {
                    self.log_command(command);
                }
                found
            });
            panic_for_dump(fmt!(
                "virtio_scsi_rs {}: a command is {} s old, and recovery_panic is set",
                self.shared().dev().name(),
                jiffies_to_msecs(age) / 1000
            ));
        }
        is_any_overdue
    }

    /// Logs what is known of a command and of its request queue.
    fn log_command(&self, command: &Cmnd) {
        let dev = self.shared().dev();
        let number = (command.unique_tag() >> 16) as usize;
        let line = CommandLine::of(command);

        dev_warn!(dev, "a command is old: {line}\n");
        if let Some(line) = QueueLine::of(self.queues(), number) {
            dev_warn!(dev, "its request queue: {line}\n");
        }
    }
}
