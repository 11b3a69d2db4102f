// SPDX-License-Identifier: GPL-2.0

//! The removal of a host whose device does not answer.

use super::ladder::Recovery;
use crate::{
    kernel_glue::{
        Queue,
        Stamp,
        Task,
        Worker, //
    },
    queues::Host,
    virtio_glue::Virtqueues, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta,
        Jiffies, //
    },
};

/// How often to check whether the device makes progress, in milliseconds.
const POLL_INTERVAL_MS: i64 = 100;

/// The task that watches over the removal of a host.
///
/// The midlayer waits for all commands before it removes a host, and sends some more, as
/// SYNCHRONIZE CACHE. Each would climb the ladder of recovery before it fails. So if the device has
/// a command for longer than a step of recovery may take, or takes no command for as long, it is
/// given up, which ends all commands. As long as the user wants commands to be waited for, it only
/// waits for the user to want otherwise.
struct Watchdog {
    recovery: Arc<Recovery>,
    host: Arc<Host>,
    virtqueues: Arc<Virtqueues>,
    removed: Arc<Atomic<bool>>,
}

impl Watchdog {
    /// Returns how long this has seen the oldest command of the device, in jiffies.
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

impl Task for Watchdog {
    fn run(&self) -> Option<Jiffies> {
        let shared = self.recovery.shared();
        let queues = self.recovery.queues();
        let mut unsent = queues.unsent();
        let mut used = queues.traffic().used;
        // Since when commands are requeued, and the device uses none.
        let mut stuck: Option<Stamp> = None;

        while !self.removed.load(Relaxed) && !shared.life().is_gone() {
            fsleep(Delta::from_millis(POLL_INTERVAL_MS));
            if self.recovery.policy().waits() {
                stuck = None;
                continue;
            }

            let patience = self.recovery.policy().step();
            let (unsent_now, used_now) = (queues.unsent(), queues.traffic().used);

            if used_now != used {
                stuck = None;
            } else if unsent_now != unsent {
                stuck.get_or_insert(Stamp::now());
            }
            (unsent, used) = (unsent_now, used_now);

            let oldest = self.oldest();
            let reason = if oldest >= patience {
                "keeps a command"
            } else if stuck.is_some_and(|since| since.elapsed() >= patience) {
                "takes no command"
            } else {
                continue;
            };

            if shared.life().give_up() {
                shared.history().add(None, "give_up", "removal");
                dev_warn!(
                    shared.dev(),
                    "the device {} while it is removed: giving up {} commands\n",
                    reason,
                    queues.traffic().in_flight
                );
            }
            self.virtqueues.delete();
        }
        None
    }
}

/// The watch over the removal of a host, made at probe, when an error can still be returned.
pub struct Removal {
    worker: Arc<Worker<Watchdog>>,
    removed: Arc<Atomic<bool>>,
}

impl Removal {
    /// Makes the watch over the removal of `host`.
    pub(crate) fn new(
        recovery: Arc<Recovery>,
        host: Arc<Host>,
        virtqueues: Arc<Virtqueues>,
    ) -> Result<Self> {
        let removed = Arc::new(Atomic::new(false), GFP_KERNEL)?;
        let watchdog = Watchdog {
            recovery,
            host,
            virtqueues,
            removed: removed.clone(),
        };
        let worker = Arc::pin_init(Worker::new(watchdog, Queue::Recovery), GFP_KERNEL)?;

        Ok(Self { worker, removed })
    }

    /// Starts the watchdog, which runs until the guard is dropped.
    pub fn watch(&self) -> RemovalGuard<'_> {
        self.worker.schedule();
        RemovalGuard(self)
    }
}

/// Stops the watchdog when dropped.
pub struct RemovalGuard<'a>(&'a Removal);

impl Drop for RemovalGuard<'_> {
    fn drop(&mut self) {
        self.0.removed.store(true, Relaxed);
        self.0.worker.cancel();
    }
}
