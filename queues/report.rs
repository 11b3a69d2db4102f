// SPDX-License-Identifier: GPL-2.0

//! The request queues of a device and its commands in flight, in debugfs and in the log.
//!
//! Each line is about one object: pairs of a name and a value, separated by spaces. Names do not
//! change, and new ones come at the end of a line.

use super::{
    command_state::{
        Cmnd,
        Host, //
    },
    request::{
        RequestQueue,
        Traffic, //
    },
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
            pairs_of_queue(number, queue, &mut Pairs::new(f)).end()?;
        }
        Ok(())
    }
}

impl Show for Host {
    /// Writes a line for each command that the midlayer has started, and that has not ended.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());

        self.any_in_flight(|command| {
            result = pairs_of_command(command, &mut Pairs::new(f)).end();
            result.is_err()
        });
        result
    }
}

/// A request queue of a number, as in debugfs, for a log line.
pub(crate) struct QueueLine<'a>(pub(crate) &'a RequestQueues, pub(crate) usize);

impl fmt::Display for QueueLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(queues, number) = *self;

        queues.queues().get(number).map_or(Ok(()), |queue| {
            pairs_of_queue(number, queue, &mut Pairs::new(f)).stop()
        })
    }
}

/// A command, as in debugfs, for a log line.
pub(crate) struct CommandLine<'a>(pub(crate) &'a Cmnd);

impl fmt::Display for CommandLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        pairs_of_command(self.0, &mut Pairs::new(f)).stop()
    }
}

/// Writes what a request queue has done.
fn pairs_of_queue<'p, 'a, 'f>(
    number: usize,
    queue: &RequestQueue,
    pairs: &'p mut Pairs<'a, 'f>,
) -> &'p mut Pairs<'a, 'f> {
    let report = queue.report();
    let Traffic { in_flight, used } = report.traffic;
    let kind = match queue.is_polled() {
        true => "polled",
        false => "interrupt",
    };

    pairs
        .number("queue", number as u64)
        .word("kind", kind)
        .number("size", report.size.into())
        .number("sent", used.wrapping_add(in_flight))
        .number("completed", used)
        .number("in_flight", in_flight)
        .word("ring", report.ring)
}

/// Writes what is known of a command. It may end meanwhile.
fn pairs_of_command<'p, 'a, 'f>(
    command: &Cmnd,
    pairs: &'p mut Pairs<'a, 'f>,
) -> &'p mut Pairs<'a, 'f> {
    let state = command.private();
    let unique_tag = command.unique_tag();
    let place = match state.is_on_ring() {
        true => "device",
        false => "driver",
    };

    pairs
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
}
