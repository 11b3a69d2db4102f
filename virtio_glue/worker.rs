// SPDX-License-Identifier: GPL-2.0

//! Work that interrupt context leaves for later, and that can be stopped for good.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use super::bindings;
use kernel::{
    prelude::*,
    types::Opaque, //
};

/// What a [`Worker`] does.
pub trait Task: Send + Sync {
    /// Does it. Process context. Never runs twice at a time for the same worker.
    fn run(&self);
}

/// A task that runs when it was scheduled: `struct work_struct`.
///
/// [`kernel::workqueue::Work`] cannot be cancelled. The task runs on a freezable workqueue: not
/// while the system is suspended.
///
/// # Invariants
///
/// `work` is initialised with [`Worker::run_callback`], and it is the first field. The worker is
/// pinned: it can only be made in place.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub struct Worker<T: Task> {
    #[pin]
    work: Opaque<kernel::bindings::work_struct>,
    task: T,
}

// SAFETY: A `struct work_struct` can be used from any thread, and the task is `Send` and `Sync`.
unsafe impl<T: Task> Send for Worker<T> {}

// SAFETY: As above.
unsafe impl<T: Task> Sync for Worker<T> {}

impl<T: Task> Worker<T> {
    /// Makes an initialiser for a worker that was not scheduled.
    pub fn new(task: T) -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot: *mut kernel::bindings::work_struct| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { bindings::virtio_helper_init_work(slot, Some(Self::run_callback)) }
            }),
            task,
        })
    }

    /// Has the task run soon. If it was scheduled and does not run yet, it runs only once. Any
    /// context.
    pub fn schedule(&self) {
        // SAFETY: By the type invariant `work` is initialised. It is cancelled before it is
        // dropped.
        unsafe { bindings::virtio_helper_queue_freezable_work(self.work.get()) };
    }

    /// Waits until the task does not run, and forgets that it was scheduled.
    ///
    /// Process context, and not in the task itself.
    pub fn cancel(&self) {
        // SAFETY: By the type invariant `work` is initialised.
        unsafe { kernel::bindings::cancel_work_sync(self.work.get()) };
    }

    /// # Safety
    ///
    /// Called by the workqueue only, with the `work` of a worker.
    unsafe extern "C" fn run_callback(work: *mut kernel::bindings::work_struct) {
        // SAFETY: By the type invariant `work` is the first field of a worker, which is valid until
        // it was cancelled.
        let this = unsafe { &*work.cast::<Self>() };

        this.task.run();
    }
}

#[pinned_drop]
impl<T: Task> PinnedDrop for Worker<T> {
    fn drop(self: Pin<&mut Self>) {
        self.cancel();
    }
}
