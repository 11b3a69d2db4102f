// SPDX-License-Identifier: GPL-2.0

//! The request queues of a device and its commands in flight, in debugfs and in the log.
//!
//! Each line is about one object: pairs of a name and a value, separated by spaces. Names do not
//! change, and new ones come at the end of a line.

use super::{
    age::{
        age_of,
        sent_for, //
    },
    command_state::{
        Cmnd,
        Host, //
    },
    request::{
        QueueReport,
        Traffic, //
    },
    request_queues::RequestQueues, //
};
use crate::{
    kernel_glue::{
        jiffies_to_msecs,
        Pairs,
        Show, //
    },
    scsi_glue::CdbCopy, //
};
use kernel::fmt;

impl Show for RequestQueues {
    /// Writes a line for each request queue.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for number in 0..self.queues().len() {
            if let Some(line) = QueueLine::of(self, number) {
                line.write(&mut Pairs::new(f)).end()?;
            }
        }
        Ok(())
    }
}

impl Show for Host {
    /// Writes a line for each command that the midlayer has started, and that has not ended.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());

        self.any_in_flight(|command| {
            result = CommandLine::of(command).write(&mut Pairs::new(f)).end();
            result.is_err()
        });
        result
    }
}

/// The state of a request queue at one time. A line of the log is formatted twice, and has to
/// be the same each time.
pub(crate) struct QueueLine {
    number: usize,
    is_polled: bool,
    report: QueueReport,
}

impl QueueLine {
    /// Looks at the request queue with a number, if there is one.
    pub(crate) fn of(queues: &RequestQueues, number: usize) -> Option<Self> {
        let queue = queues.queues().get(number)?;

        Some(Self {
            number,
            is_polled: queue.is_polled(),
            report: queue.report(),
        })
    }

    fn write<'p, 'a, 'f>(&self, pairs: &'p mut Pairs<'a, 'f>) -> &'p mut Pairs<'a, 'f> {
        let Traffic { in_flight, used } = self.report.traffic;
        let kind = match self.is_polled {
            true => "polled",
            false => "interrupt",
        };

        pairs
            .number("queue", self.number as u64)
            .word("kind", kind)
            .number("size", self.report.size.into())
            .number("sent", used.wrapping_add(in_flight))
            .number("completed", used)
            .number("in_flight", in_flight)
            .word("ring", self.report.ring)
    }
}

impl fmt::Display for QueueLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(&mut Pairs::new(f)).stop()
    }
}

/// The state of a command at one time. It may end meanwhile.
pub(crate) struct CommandLine {
    numbers: [(&'static str, u64); 7],
    sent_ms: u64,
    place: &'static str,
    stage: &'static str,
    cdb: CdbCopy,
}

impl CommandLine {
    /// Looks at a command.
    pub(crate) fn of(command: &Cmnd) -> Self {
        let state = command.private();
        let unique_tag = command.unique_tag();

        Self {
            numbers: [
                ("target", command.target().into()),
                ("lun", command.lun()),
                ("queue", (unique_tag >> 16).into()),
                ("tag", (unique_tag & 0xffff).into()),
                ("age_ms", jiffies_to_msecs(age_of(command))),
                ("timeout_ms", jiffies_to_msecs(command.timeout())),
                ("retries", command.retries().into()),
            ],
            sent_ms: jiffies_to_msecs(sent_for(command)),
            place: match state.is_on_ring() {
                true => "device",
                false => "driver",
            },
            stage: state.stage().name(),
            cdb: command.copy_cdb(),
        }
    }

    fn write<'p, 'a, 'f>(&self, pairs: &'p mut Pairs<'a, 'f>) -> &'p mut Pairs<'a, 'f> {
        for (name, value) in self.numbers {
            pairs.number(name, value);
        }
        pairs
            .word("place", self.place)
            .word("stage", self.stage)
            .bytes("cdb", self.cdb.bytes())
            .number("sent_ms", self.sent_ms)
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(&mut Pairs::new(f)).stop()
    }
}
