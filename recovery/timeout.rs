// SPDX-License-Identifier: GPL-2.0

//! The verdict on a command that has timed out.

use super::ladder::Recovery;
use crate::{
    queues::{
        address_of,
        facts_of,
        Cmnd,
        Counter,
        Stage, //
    },
    scsi_glue::TimeoutAction,
    trace_glue, //
};
use kernel::prelude::*;

/// Has the midlayer abort a command, again if it has retried the command after an abort. It would
/// stop the host otherwise.
const ABORT: TimeoutAction = TimeoutAction::NotHandledAbortAgain;

impl Recovery {
    /// Decides about a command that has timed out. Any context.
    pub(crate) fn timed_out(&self, command: &Cmnd) -> TimeoutAction {
        let counters = self.shared().counters();
        let state = command.private();

        counters.timeouts.count();
        trace_glue::time_out_command(|| facts_of(self.shared(), command));
        if !self.queues().holds(command) {
            // It is being completed, which the midlayer will see.
            return TimeoutAction::ResetTimer;
        }

        self.queues().poll_all();
        if !self.queues().holds(command) {
            self.note_loss("an interrupt", &counters.lost_interrupts);
            return TimeoutAction::Done;
        }
        state.note_timeout(command.timeout());
        if self.policy().waits() {
            // The command may be old enough to be logged.
            self.request_review();
            return TimeoutAction::ResetTimer;
        }
        if self.shared().life().is_leaving() || command.device().data().is_condemned() {
            return ABORT;
        }

        match state.stage() {
            Stage::Lost | Stage::Unanswered | Stage::ToAbort | Stage::Aborting => ABORT,
            Stage::Notified | Stage::ToQuery => {
                self.request_review();
                TimeoutAction::ResetTimer
            }
            Stage::Sent => {
                if state.advance(Stage::Sent, Stage::Notified) {
                    self.shared().history().add(
                        address_of(command.device()),
                        "time_out",
                        "notified_again",
                    );
                    self.renotified().enter(self.shared().life().resets());
                    self.queues().notify_again(command);
                    self.request_review();
                }
                TimeoutAction::ResetTimer
            }
            stage @ (Stage::Held | Stage::QueryRefused) => {
                if state.advance(stage, Stage::ToQuery) {
                    self.request_review();
                }
                TimeoutAction::ResetTimer
            }
        }
    }

    /// Returns whether the midlayer may retry a command that was aborted or reset.
    pub(crate) fn may_retry(&self, command: &Cmnd) -> bool {
        // Not after the user's time is up, nor if the sender can use another path.
        !command.private().is_given_up() && !command.is_failfast()
    }

    /// Counts the loss of something between device and driver, and logs the first one.
    pub(super) fn note_loss(&self, what: &str, counter: &Counter) {
        counter.count();
        if self.is_first_loss() {
            dev_warn!(
                self.shared().dev(),
                "{} was lost; debugfs counts further losses\n",
                what
            );
        }
    }
}
