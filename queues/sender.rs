// SPDX-License-Identifier: GPL-2.0

//! The means that those of the driver's own commands share that are in flight at the same time.

use super::{
    own_command::OwnCommand,
    request_queues::RequestQueues, //
};
use crate::{
    kernel_glue::TimedCompletion,
    protocol::address::Address,
    virtio_glue::AddError, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::Jiffies, //
};

/// Sends commands, waits for them, and gives them up.
///
/// The device is not notified of each: one notification for many saves exits to the hypervisor.
/// Whatever waits for the device is a method of this, and notifies the device before.
pub(super) struct Sender<'q, A> {
    queues: &'q RequestQueues,
    /// Completed whenever a command ends.
    done: Arc<TimedCompletion>,
    /// Takes a command that was not answered back, by its address and tag. May sleep.
    abandon: A,
    /// Whether the ring has commands that the device was not notified of.
    is_behind: bool,
    /// Whether the ring had no room since the last wait.
    is_full: bool,
}

impl<'q, A: FnMut(Address, u64)> Sender<'q, A> {
    /// Makes one for commands on `queues`. For a command that is given up, `abandon` is called with
    /// its address and tag.
    pub(super) fn new(queues: &'q RequestQueues, abandon: A) -> Result<Self> {
        Ok(Self {
            queues,
            done: Arc::pin_init(TimedCompletion::new(), GFP_KERNEL)?,
            abandon,
            is_behind: false,
            is_full: false,
        })
    }

    /// Returns the queues.
    pub(super) fn queues(&self) -> &'q RequestQueues {
        self.queues
    }

    /// Returns what a command has to complete when it ends.
    pub(super) fn done(&self) -> Arc<TimedCompletion> {
        self.done.clone()
    }

    /// Adds a command to the ring. The device is notified of it later: see [`Self::notify`].
    pub(super) fn add(&mut self, command: Arc<OwnCommand>) -> Result<(), AddError> {
        let queue = self.queues.first().ok_or(AddError::Invalid)?;
        let added = queue.add_own(command, self.queues.limits().layout);

        self.is_behind |= added.is_ok();
        self.is_full |= added == Err(AddError::Full);
        added
    }

    /// Returns whether the ring had no room since the last wait, so that the next command need not
    /// be tried: each try notifies the device.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Notifies the device of the commands that were added, if it does not know of them.
    pub(super) fn notify(&mut self) {
        if core::mem::take(&mut self.is_behind) {
            if let Some(queue) = self.queues.first() {
                queue.commit();
            }
        }
    }

    /// Waits until a command has ended, for `timeout` jiffies at most. May return early, for one
    /// that was seen before.
    ///
    /// Process context.
    pub(super) fn wait(&mut self, timeout: Jiffies) {
        self.notify();
        self.is_full = false;
        if self.done.wait(timeout) {
            // Many end at the same time, and are all seen after this.
            while self.done.try_wait() {}
        }
    }

    /// Gives up a command that was not answered.
    ///
    /// Process context.
    pub(super) fn abandon(&mut self, address: Address, tag: u64) {
        self.notify();
        (self.abandon)(address, tag);
    }
}
