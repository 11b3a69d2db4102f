// SPDX-License-Identifier: GPL-2.0

//! The facts of a command for tracepoints.

use super::{
    command_state::Cmnd,
    shared_state::SharedState, //
};
use crate::trace_glue::CommandFacts;
/// Returns what tracepoints tell of a command of a device.
#[cold]
#[inline(never)]
pub(crate) fn facts_of<'a>(shared: &'a SharedState, command: &Cmnd) -> CommandFacts<'a> {
    let unique_tag = command.unique_tag();
    let (cdb, cdb_len) = command.copy_cdb().padded();

    CommandFacts {
        device: shared.dev().name(),
        host: command.host_number(),
        target: command.target(),
        lun: command.lun(),
        queue: unique_tag >> 16,
        tag: command.private().tag(unique_tag),
        cdb,
        cdb_len,
    }
}
