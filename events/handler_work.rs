// SPDX-License-Identifier: GPL-2.0

//! Between inbox and handler: how the event handler is scheduled and stopped.

use crate::kernel_glue::{
    AnyWorker,
    WorkSlot, //
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
};

/// The work item that handles events, from [`Self::install`] to [`Self::stop`].
///
/// The work item owns the handler, which owns this and the host. So while it is installed, all of
/// these keep each other; [`Self::stop`] is the one place that cuts this.
#[pin_data]
pub(super) struct HandlerWork {
    #[pin]
    work: WorkSlot,
    /// Set by [`Self::stop`], and never cleared.
    stopped: Atomic<bool>,
}

impl HandlerWork {
    /// Creates one without a work item: it cannot be scheduled yet.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                work <- WorkSlot::new(),
                stopped: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// Installs the work item, unless this was stopped.
    pub(super) fn install(&self, worker: Arc<dyn AnyWorker>) {
        self.work.set(worker);
        if self.is_stopped() {
            self.work.clear();
        }
    }

    /// Schedules the handler, if it is installed. Any context.
    pub(super) fn schedule(&self) {
        self.work.schedule();
    }

    /// Stops the handler, and drops the work item. When this returns, the handler does not run, and
    /// will not run again.
    ///
    /// Process context, and not in the handler itself.
    pub(super) fn stop(&self) {
        // A handler that runs returns at its next step.
        self.stopped.store(true, Relaxed);
        self.work.clear();
    }

    /// Returns whether the handler was stopped. Whoever handles an event checks this before each
    /// step that may take long.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }
}
