// SPDX-License-Identifier: GPL-2.0

//! Task management functions: sent, counted and logged.

use super::ladder::Recovery;
use crate::{
    protocol::{
        address::Address,
        control::TaskManagement,
        response::{
            self,
            QueryAnswer, //
        }, //
    },
    trace_glue::{
        self,
        FunctionFacts,
        UnitFacts, //
    }, //
};
use kernel::{
    prelude::*,
    time::Jiffies, //
};

/// The reply to a task management function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// A response with this code.
    Code(u8),
    /// None within the user's time.
    None,
    /// The function could not be sent, or the device was reset meanwhile.
    NotSent,
}

impl Reply {
    /// Returns the name, in reports, of what has become of a function with this reply.
    fn outcome_of(self, function: TaskManagement) -> &'static str {
        match (self, function) {
            (Self::Code(code), TaskManagement::QueryTask) => QueryAnswer::of(code).name(),
            (Self::Code(code), _) if response::function_done(code) => "done",
            (Self::Code(_), _) => "refused",
            (Self::None, _) => "unanswered",
            (Self::NotSent, _) => "not_sent",
        }
    }
}

impl Recovery {
    /// Has the device carry out a task management function with effects, and returns whether it
    /// reports success.
    ///
    /// Process context.
    pub(super) fn task_management(
        &self,
        function: TaskManagement,
        address: Address,
        tag: u64,
    ) -> bool {
        let dev = self.shared().dev();
        let Address { target, lun } = address;

        if self.shared().may_complain() {
            dev_info!(dev, "target {} lun {}: {}\n", target, lun, function.name());
        }

        let reply = self.exchange(function, address, tag);
        let counters = self.shared().counters().of(function);

        match reply {
            Reply::Code(code) if response::function_done(code) => return true,
            Reply::Code(code) => {
                counters.refused.count();
                if self.shared().may_complain() {
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
            Reply::None | Reply::NotSent => {
                counters.unanswered.count();
                if self.shared().may_complain() {
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

    /// Sends a task management function, and waits for the reply. Then completes all commands that
    /// the device has used.
    ///
    /// Process context.
    pub(super) fn exchange(&self, function: TaskManagement, address: Address, tag: u64) -> Reply {
        let Some(lun) = address.encode() else {
            return Reply::NotSent;
        };

        let facts = || FunctionFacts {
            device: self.shared().dev().name(),
            unit: UnitFacts {
                target: address.target.into(),
                lun: address.lun,
            },
            function: function.key(),
            tag,
        };

        self.shared().counters().of(function).sent.count();
        trace_glue::send_function(facts);

        let result = self
            .control()
            .execute(function, lun, tag, self.policy().step());

        // A device uses the affected commands before it answers the function. But their queues have
        // other interrupts, which may come later.
        self.queues().poll_all();

        let reply = match result {
            Ok(code) => Reply::Code(code),
            // EBUSY: the device has as many functions as it may have, and answers none.
            Err(error) if error == ETIMEDOUT || error == EBUSY => Reply::None,
            Err(_) => Reply::NotSent,
        };

        let outcome = reply.outcome_of(function);

        trace_glue::answer_function(|| (facts(), outcome));
        self.shared()
            .history()
            .add(Some(address), function.key(), outcome);
        reply
    }

    /// Has the device abort a command of the driver's own, unless the user wants no aborts. Waits
    /// for the response up to `timeout` jiffies, and only counts it. Returns whether the device
    /// takes such functions, as far as is known then.
    ///
    /// Process context.
    pub(super) fn abort_own(&self, lun: [u8; 8], tag: u64, timeout: Jiffies) -> bool {
        if self.policy().waits() {
            return true;
        }

        let counters = &self.shared().counters().abort_task;

        counters.sent.count();

        let result = self
            .control()
            .execute(TaskManagement::AbortTask, lun, tag, timeout);

        match result {
            Ok(code) if response::function_done(code) => {}
            Ok(_) => counters.refused.count(),
            Err(_) => counters.unanswered.count(),
        }
        result.is_ok()
    }
}
