// SPDX-License-Identifier: GPL-2.0

//! Removing a host whose device does not answer.

use super::initiator::Initiator;
use crate::{
    scsi_glue::Host,
    virtio_glue::{
        Flag,
        Queue,
        Stamp,
        Task,
        Virtqueues,
        Worker, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta,
        Jiffies, //
    },
};

/// How often to look whether the device goes on, in milliseconds.
const LOOK: i64 = 100;

/// Watches over the removal of a host.
///
/// The midlayer waits for all commands before a host is removed, and sends some more, such as
/// SYNCHRONIZE CACHE. Each would go up the ladder of recovery before it is given up. So if the
/// device has a command for longer than a step of recovery may take, or takes none for as long, it is reset for
/// good, and what it had ends.
struct Watch {
    initiator: Arc<Initiator>,
    host: Arc<Host<Initiator>>,
    virtqueues: Arc<Virtqueues>,
    removed: Arc<Flag>,
}

impl Watch {
    /// Returns how long the device has had the oldest of its commands since this began to look, in jiffies.
    fn oldest(&self) -> Jiffies {
        let mut oldest = 0;

        self.host.any_in_flight(|command| {
            if command.private().is_on_ring() {
                oldest = oldest.max(command.private().seen_for());
            }
            false
        });
        oldest
    }
}

impl Task for Watch {
    fn run(&self) -> Option<Jiffies> {
        let shared = self.initiator.shared();
        let patience = self.initiator.recovery().step();
        let mut unsent = self.initiator.unsent();
        let mut finished = self.initiator.progress().1;
        // Since when commands are sent back to the midlayer, and none comes back from the device.
        let mut stuck: Option<Stamp> = None;

        while !self.removed.is_set() && !shared.life().is_gone() {
            fsleep(Delta::from_millis(LOOK));

            let now = (self.initiator.unsent(), self.initiator.progress().1);

            if now.1 != finished {
                stuck = None;
            } else if now.0 != unsent {
                stuck.get_or_insert(Stamp::now());
            }
            (unsent, finished) = now;

            let oldest = self.oldest();
            let reason = if oldest >= patience {
                "keeps a command"
            } else if stuck.is_some_and(|since| since.elapsed() >= patience) {
                "takes no command"
            } else {
                continue;
            };

            if shared.life().give_up() {
                dev_warn!(
                    shared.dev(),
                    "the device {} while it is removed: giving up {} commands\n",
                    reason,
                    self.initiator.progress().0
                );
            }
            self.virtqueues.delete();
        }
        None
    }
}

/// What watches over the removal of a host, made when there is memory for it.
pub struct Removal {
    worker: Arc<Worker<Watch>>,
    removed: Arc<Flag>,
    /// Whether the user wants commands to be waited for.
    waits: bool,
}

impl Removal {
    /// Makes what watches over the removal of `host`, and does not watch yet.
    pub fn new(
        initiator: Arc<Initiator>,
        host: Arc<Host<Initiator>>,
        virtqueues: Arc<Virtqueues>,
    ) -> Result<Self> {
        let waits = initiator.recovery().waits();
        let removed = Arc::new(Flag::default(), GFP_KERNEL)?;
        let watch = Watch {
            initiator,
            host,
            virtqueues,
            removed: removed.clone(),
        };
        let worker = Arc::pin_init(Worker::new(watch, Queue::Recovery), GFP_KERNEL)?;

        Ok(Self {
            worker,
            removed,
            waits,
        })
    }

    /// Watches until what this returns is dropped.
    pub fn watch(&self) -> RemovalGuard<'_> {
        if !self.waits {
            self.worker.schedule();
        }
        RemovalGuard(self)
    }
}

/// Watches over the removal of a host until it is dropped.
pub struct RemovalGuard<'a>(&'a Removal);

impl Drop for RemovalGuard<'_> {
    fn drop(&mut self) {
        self.0.removed.set();
        self.0.worker.cancel();
    }
}
