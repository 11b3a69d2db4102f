// SPDX-License-Identifier: GPL-2.0

//! The age of a command, from when the midlayer began with it, over all its retries.

use super::command_state::{
    Cmnd,
    OwnedCmnd, //
};
use kernel::time::Jiffies;

/// Returns the age of a command, in jiffies. The time for retries may have begun anew since.
pub(crate) fn age_of(command: &Cmnd) -> Jiffies {
    let since = command.allocated_at();

    since
        .elapsed()
        .saturating_add(command.private().carried(since))
}

/// Returns how long ago the midlayer sent a command last, in jiffies: of one that it retries, or
/// has put back into its queue, the present try.
pub(super) fn sent_for(command: &Cmnd) -> Jiffies {
    let state = command.private();

    // Each time-out that does not end the command sets a new deadline.
    match state.overdue() {
        Some(_) => state.age(),
        None => command.started_at().elapsed(),
    }
}

/// Restarts the time for which the midlayer retries a command, which keeps its age.
pub(super) fn renew(command: &mut OwnedCmnd) {
    let age = age_of(command);

    command.renew();
    command.private().carry(age, command.allocated_at());
}
