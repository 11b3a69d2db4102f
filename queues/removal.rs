// SPDX-License-Identifier: GPL-2.0

//! Removing a host whose device does not answer.

use super::initiator::Initiator;
use crate::virtio_glue::{
    Flag,
    Task,
    Virtqueues,
    Worker, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// How often to look whether the device goes on, in milliseconds.
const LOOK: i64 = 100;

/// Watches over the removal of a host.
///
/// The midlayer waits for all commands before a host is removed, and sends some more, such as
/// SYNCHRONIZE CACHE. Each would go up the ladder of recovery before it is given up. So if the
/// device has commands and finishes none for the time of a step of recovery, it is reset for good,
/// and what it had ends.
struct Watch {
    initiator: Arc<Initiator>,
    virtqueues: Arc<Virtqueues>,
    removed: Arc<Flag>,
}

impl Task for Watch {
    fn run(&self) {
        let shared = self.initiator.shared();
        let patience = self.initiator.recovery().step_milliseconds();
        let mut idle = 0;
        let mut former = self.initiator.progress().1;

        while !self.removed.is_set() {
            fsleep(Delta::from_millis(LOOK));

            let (in_flight, finished) = self.initiator.progress();

            idle = if in_flight > 0 && finished == former {
                idle + LOOK
            } else {
                0
            };
            former = finished;

            if idle >= patience {
                dev_warn!(
                    shared.dev(),
                    "the device does not answer while it is removed: giving up {} commands\n",
                    in_flight
                );
                shared.give_up();
                self.virtqueues.delete();
                break;
            }
        }
    }
}

/// Watches over the removal of a host until it is dropped.
pub struct RemovalGuard {
    worker: Arc<Worker<Watch>>,
    removed: Arc<Flag>,
}

impl RemovalGuard {
    /// Starts to watch. There is none if the user wants commands to be waited for, or if there is no
    /// memory for it.
    pub fn start(initiator: Arc<Initiator>, virtqueues: Arc<Virtqueues>) -> Option<Self> {
        if initiator.recovery().waits() {
            return None;
        }

        let removed = Arc::new(Flag::default(), GFP_KERNEL).ok()?;
        let watch = Watch {
            initiator,
            virtqueues,
            removed: removed.clone(),
        };
        let worker = Arc::pin_init(Worker::new(watch), GFP_KERNEL).ok()?;

        worker.schedule();
        Some(Self { worker, removed })
    }
}

impl Drop for RemovalGuard {
    fn drop(&mut self) {
        self.removed.set();
        self.worker.cancel();
    }
}
