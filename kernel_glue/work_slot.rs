// SPDX-License-Identifier: GPL-2.0

//! A place for a worker whose task need not be named, and which can be set and removed.
//!
//! It holds a [`Worker`], and goes or stays with that.

use super::{
    new_locked,
    Locked,
    Task,
    Worker, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A [`Worker`] without the type of its task.
pub trait AnyWorker: Send + Sync {
    /// See [`Worker::schedule`].
    fn schedule(&self);

    /// See [`Worker::cancel`].
    fn cancel(&self);
}

impl<T: Task> AnyWorker for Worker<T> {
    fn schedule(&self) {
        Worker::schedule(self);
    }

    fn cancel(&self) {
        Worker::cancel(self);
    }
}

/// A place for a worker. An object to which its own worker refers keeps the worker here, and clears
/// the place to cut the circle of references.
#[pin_data]
pub struct WorkSlot {
    #[pin]
    worker: Locked<Option<Arc<dyn AnyWorker>>>,
}

impl WorkSlot {
    /// Makes an empty place.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            worker <- new_locked!(None, c"WorkSlot::worker"),
        })
    }

    /// Sets the worker. Cancels the former one, if any, as [`WorkSlot::clear`] does.
    ///
    /// Process context.
    pub fn set(&self, worker: Arc<dyn AnyWorker>) {
        self.replace(Some(worker));
    }

    /// Removes the worker and cancels it. When this returns, the worker does not run, and this
    /// place does not schedule it again.
    ///
    /// Process context, and not in the task of the worker.
    pub fn clear(&self) {
        self.replace(None);
    }

    fn replace(&self, worker: Option<Arc<dyn AnyWorker>>) {
        let former = core::mem::replace(&mut *self.worker.lock(), worker);

        if let Some(former) = former {
            former.cancel();
        }
    }

    /// Schedules the worker, if there is one. Any context.
    pub fn schedule(&self) {
        if let Some(worker) = &*self.worker.lock() {
            worker.schedule();
        }
    }
}
