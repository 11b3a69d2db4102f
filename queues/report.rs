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
    request_queues::RequestQueues, //
};
use crate::kernel_glue::{
    jiffies_to_msecs,
    Show, //
};
use kernel::fmt;

impl Show for RequestQueues {
    /// Writes a line for each request queue.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, queue) in self.queues().iter().enumerate() {
            let report = queue.report();
            let kind = match queue.is_polled() {
                true => "polled",
                false => "interrupt",
            };

            writeln!(
                f,
                "queue {number} kind {kind} size {} sent {} completed {} in_flight {} ring {}",
                report.size,
                report.used.wrapping_add(report.in_flight),
                report.used,
                report.in_flight,
                report.ring
            )?;
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

    write!(
        f,
        "target {} lun {} queue {} tag {} age_ms {} timeout_ms {} retries {} place {place} stage {} cdb ",
        command.target(),
        command.lun(),
        unique_tag >> 16,
        unique_tag & 0xffff,
        jiffies_to_msecs(command.allocated_for()),
        jiffies_to_msecs(command.timeout()),
        command.retries(),
        state.stage().name()
    )?;
    for byte in command.copy_cdb().bytes() {
        write!(f, "{byte:02x}")?;
    }
    writeln!(f)
}
