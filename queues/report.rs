// SPDX-License-Identifier: GPL-2.0

//! The request queues of a device and its commands in flight, in debugfs.
//!
//! Each line is about one object: pairs of a name and a value, separated by spaces. Names do not
//! change, and new ones come at the end of a line.

use super::{
    command_state::{
        Cmnd,
        Host, //
    },
    request::Traffic,
    request_queues::RequestQueues, //
};
use crate::kernel_glue::{
    jiffies_to_msecs,
    Pairs,
    Show, //
};
use kernel::fmt;

impl Show for RequestQueues {
    /// Writes a line for each request queue.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, queue) in self.queues().iter().enumerate() {
            let report = queue.report();
            let Traffic { in_flight, used } = report.traffic;
            let kind = match queue.is_polled() {
                true => "polled",
                false => "interrupt",
            };

            Pairs::new(f)
                .number("queue", number as u64)
                .word("kind", kind)
                .number("size", report.size.into())
                .number("sent", used.wrapping_add(in_flight))
                .number("completed", used)
                .number("in_flight", in_flight)
                .word("ring", report.ring)
                .end()?;
        }
        Ok(())
    }
}

impl Show for Host {
    /// Writes a line for each command that the midlayer has started, and that has not ended.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());

        self.any_in_flight(|command| {
            result = show_command(command, f);
            result.is_err()
        });
        result
    }
}

/// Writes a line for a command. It may end meanwhile.
fn show_command(command: &Cmnd, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let state = command.private();
    let unique_tag = command.unique_tag();
    let place = match state.is_on_ring() {
        true => "device",
        false => "driver",
    };

    Pairs::new(f)
        .number("target", command.target().into())
        .number("lun", command.lun())
        .number("queue", (unique_tag >> 16).into())
        .number("tag", (unique_tag & 0xffff).into())
        .number("age_ms", jiffies_to_msecs(command.allocated_for()))
        .number("timeout_ms", jiffies_to_msecs(command.timeout()))
        .number("retries", command.retries().into())
        .word("place", place)
        .word("stage", state.stage().name())
        .bytes("cdb", command.copy_cdb().bytes())
        .end()
}
