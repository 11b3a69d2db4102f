// SPDX-License-Identifier: GPL-2.0

//! Commands that are older than the user allows: what is known of them goes to the log, or the
//! kernel panics, for a dump to be looked at later.

use super::ladder::Recovery;
use crate::{
    kernel_glue::{
        jiffies_to_msecs,
        panic_for_dump, //
    },
    queues::{
        Cmnd,
        CommandLine,
        Host,
        QueueLine, //
    },
};
use kernel::{
    prelude::*,
    time::Jiffies, //
};

impl Recovery {
    /// Logs the commands that have reached the age for that, each once for each time that it was
    /// sent. Then panics if one has reached the age for that.
    ///
    /// Process context.
    pub(super) fn look_at_ages(&self, host: &Host) {
        let (report, panic) = (self.policy().report(), self.policy().panic());
        let reaches =
            |age: Jiffies, bound: Option<Jiffies>| bound.is_some_and(|bound| age >= bound);

        if report.is_none() && panic.is_none() {
            return;
        }

        let mut oldest = 0;

        host.any_in_flight(|command| {
            let age = command.allocated_for();

            oldest = oldest.max(age);
            if reaches(age, panic) || reaches(age, report) {
                self.log_command(command);
            }
            false
        });

        if reaches(oldest, panic) {
            panic_for_dump(fmt!(
                "virtio_scsi_rs {}: a command is {} s old, and recovery_panic is set",
                self.shared().dev().name(),
                jiffies_to_msecs(oldest) / 1000
            ));
        }
    }

    /// Logs what is known of a command and of its request queue, unless that was done since it was
    /// sent.
    fn log_command(&self, command: &Cmnd) {
        let state = command.private();

        if state.is_reported() || !self.shared().may_complain() {
            return;
        }
        state.note_report();

        let queue = (command.unique_tag() >> 16) as usize;

        dev_warn!(
            self.shared().dev(),
            "a command is old: {}\n",
            CommandLine(command)
        );
        dev_warn!(
            self.shared().dev(),
            "its request queue: {}\n",
            QueueLine(self.queues(), queue)
        );
    }
}
