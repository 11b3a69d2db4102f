// SPDX-License-Identifier: GPL-2.0

//! Sending task management functions, and saying what came of them.

use super::Recovery;
use crate::queues::{
    initiator::Initiator,
    response,
    wire::{
        Address,
        TaskManagement, //
    },
};
use kernel::{
    prelude::*,
    time::Jiffies, //
};

/// How a task management function ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// The device has answered with this response code.
    Code(u8),
    /// The device has not answered in time.
    Silence,
    /// The function could not be sent, or the device was reset meanwhile.
    NotSent,
}

impl Recovery {
    /// Has the device carry out a task management function that changes something, and waits for it. Returns
    /// whether it says that it has.
    pub(super) fn task_management(
        &self,
        initiator: &Initiator,
        function: TaskManagement,
        address: Address,
        tag: u64,
    ) -> bool {
        let dev = self.shared.dev();
        let Address { target, lun } = address;

        if self.shared.may_complain() {
            dev_info!(dev, "target {} lun {}: {}\n", target, lun, function.name());
        }

        let reply = self.exchange(initiator, function, address, tag);
        let counters = self.shared.counters().of(function);

        match reply {
            Reply::Code(code) if response::function_done(code) => return true,
            Reply::Code(code) => {
                counters.refused.count();
                if self.shared.may_complain() {
                    dev_warn!(
                        dev,
                        "target {} lun {}: {} was refused with response {}\n",
                        target,
                        lun,
                        function.name(),
                        code
                    );
                }
            }
            Reply::Silence | Reply::NotSent => {
                counters.unanswered.count();
                if self.shared.may_complain() {
                    dev_warn!(
                        dev,
                        "target {} lun {}: {} was not answered\n",
                        target,
                        lun,
                        function.name()
                    );
                }
            }
        }
        false
    }

    /// Sends a task management function to the device, and waits for its answer.
    ///
    /// Process context.
    pub(super) fn exchange(
        &self,
        initiator: &Initiator,
        function: TaskManagement,
        address: Address,
        tag: u64,
    ) -> Reply {
        let Some(lun) = address.encode() else {
            return Reply::NotSent;
        };

        self.shared.counters().of(function).sent.count();
        let result = self.control.execute(function, lun, tag, self.policy.step());

        // The device has completed the commands that the function is about before the function.
        // But it has done so on other queues, whose interrupts may not have come yet.
        initiator.poll_all();

        match result {
            Ok(code) => Reply::Code(code),
            // With the latter, all that can be under way wait for their answers.
            Err(error) if error == ETIMEDOUT || error == EBUSY => Reply::Silence,
            Err(_) => Reply::NotSent,
        }
    }

    /// Has the device abort a command that the driver has sent by itself and does not wait for any longer, unless the
    /// user wants none aborted. Waits `patience` jiffies at the most; whatever is answered, nothing follows from it.
    ///
    /// Process context.
    pub(in crate::queues) fn abort_own(&self, lun: [u8; 8], tag: u64, patience: Jiffies) {
        if !self.policy.wait {
            let counters = &self.shared.counters().abort_task;

            counters.sent.count();
            match self
                .control
                .execute(TaskManagement::AbortTask, lun, tag, patience)
            {
                Ok(code) if response::function_done(code) => {}
                Ok(_) => counters.refused.count(),
                Err(_) => counters.unanswered.count(),
            }
        }
    }
}
