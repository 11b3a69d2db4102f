// SPDX-License-Identifier: GPL-2.0

//! Work that interrupt context leaves for later, and that can be stopped for good.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use super::bindings;
use kernel::{
    error::to_result,
    prelude::*,
    time::Jiffies,
    types::Opaque, //
};

/// What a [`Worker`] does.
pub trait Task: Send + Sync {
    /// Does it. Process context. Never runs twice at a time for the same worker.
    ///
    /// Returns after how many jiffies it is to run again, if it is.
    fn run(&self) -> Option<Jiffies>;
}

/// The workqueue on which a [`Worker`] runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queue {
    /// The system's freezable one: not while the system is suspended, and not before memory for a
    /// thread is found.
    Events,
    /// One of the module's own ([`Workqueues`]): always.
    Recovery,
    /// One of the module's own ([`Workqueues`]): whatever memory is short, but not while the system is
    /// suspended.
    Awake,
}

impl Queue {
    fn as_raw(self) -> bindings::virtio_helper_queue {
        match self {
            Self::Events => bindings::virtio_helper_queue_VIRTIO_HELPER_EVENTS,
            Self::Recovery => bindings::virtio_helper_queue_VIRTIO_HELPER_RECOVERY,
            Self::Awake => bindings::virtio_helper_queue_VIRTIO_HELPER_AWAKE,
        }
    }
}

/// The workqueues of the module: `struct workqueue_struct`, with `WQ_MEM_RECLAIM`.
///
/// They are there until this is dropped, which has to be after all workers are. A worker that is
/// scheduled while there are none runs on the system's freezable workqueue.
pub struct Workqueues(());

impl Workqueues {
    /// Makes them. `name` is what their threads are called. To be called once in a module.
    ///
    /// Process context. Fails with [`ENOMEM`].
    pub fn new(name: &CStr) -> Result<Self> {
        // SAFETY: The name is a C string, which is copied.
        to_result(unsafe { bindings::virtio_helper_create_queues(name.as_char_ptr()) })?;
        Ok(Self(()))
    }
}

impl Drop for Workqueues {
    fn drop(&mut self) {
        // SAFETY: There is a `Workqueues`, so they were created.
        unsafe { bindings::virtio_helper_destroy_queues() };
    }
}

/// A task that runs when it was scheduled: `struct delayed_work`.
///
/// [`kernel::workqueue::Work`] cannot be cancelled.
///
/// # Invariants
///
/// `work` is initialised with [`Worker::run_callback`], and it is the first field. The worker is
/// pinned: it can only be made in place.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub struct Worker<T: Task> {
    #[pin]
    work: Opaque<kernel::bindings::delayed_work>,
    queue: Queue,
    #[pin]
    task: T,
}

// SAFETY: A `struct delayed_work` can be used from any thread, and the task is `Send` and `Sync`.
unsafe impl<T: Task> Send for Worker<T> {}

// SAFETY: As above.
unsafe impl<T: Task> Sync for Worker<T> {}

impl<T: Task> Worker<T> {
    /// Makes an initialiser for a worker that was not scheduled. `task` may be a value or an initialiser.
    pub fn new(task: impl PinInit<T>, queue: Queue) -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot: *mut kernel::bindings::delayed_work| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { bindings::virtio_helper_init_delayed_work(slot, Some(Self::run_callback)) }
            }),
            queue,
            task <- task,
        })
    }

    /// Returns what it does.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// Has the task run soon. If it was scheduled and does not run yet, it runs only once. Any
    /// context.
    pub fn schedule(&self) {
        self.schedule_after(0);
    }

    /// Has the task run in `delay` jiffies, also if it was scheduled for another time. Any context.
    pub fn schedule_after(&self, delay: Jiffies) {
        // SAFETY: By the type invariant `work` is initialised. It is cancelled before it is
        // dropped.
        unsafe {
            bindings::virtio_helper_queue_work(self.queue.as_raw(), self.work.get(), delay);
        }
    }

    /// Waits until the task does not run, and forgets that it was scheduled.
    ///
    /// Process context, and not in the task itself.
    pub fn cancel(&self) {
        // SAFETY: By the type invariant `work` is initialised.
        unsafe { kernel::bindings::cancel_delayed_work_sync(self.work.get()) };
    }

    /// # Safety
    ///
    /// Called by the workqueue only, with the `work` of a worker.
    unsafe extern "C" fn run_callback(work: *mut kernel::bindings::work_struct) {
        // SAFETY: `struct delayed_work` begins with its `struct work_struct`, and by the type invariant
        // it is the first field of a worker, which is valid until it was cancelled.
        let this = unsafe { &*work.cast::<Self>() };

        if let Some(delay) = this.task.run() {
            // Whoever has scheduled it meanwhile is not to wait that long.
            //
            // SAFETY: By the type invariant `work` is initialised. It is cancelled before it is dropped.
            unsafe {
                bindings::virtio_helper_queue_work_if_idle(
                    this.queue.as_raw(),
                    this.work.get(),
                    delay,
                );
            }
        }
    }
}

#[pinned_drop]
impl<T: Task> PinnedDrop for Worker<T> {
    fn drop(self: Pin<&mut Self>) {
        self.cancel();
    }
}

/// Work that goes on in softirq context what an interrupt has begun: `struct work_struct` on
/// `system_bh_wq`.
///
/// # Invariants
///
/// `work` is initialised with [`Continuation::run_callback`], and it is the first field. It is pinned:
/// it can only be made in place.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(super) struct Continuation<T: Continue> {
    #[pin]
    work: Opaque<kernel::bindings::work_struct>,
    pub(super) task: T,
}

/// What a [`Continuation`] does.
pub(super) trait Continue: Send + Sync {
    /// Goes on. Softirq context. Returns whether there is more to do.
    fn go_on(&self) -> bool;
}

// SAFETY: A `struct work_struct` can be used from any thread, and the task is `Send` and `Sync`.
unsafe impl<T: Continue> Send for Continuation<T> {}

// SAFETY: As above.
unsafe impl<T: Continue> Sync for Continuation<T> {}

impl<T: Continue> Continuation<T> {
    /// Makes an initialiser for one that has nothing to do.
    pub(super) fn new(task: T) -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot: *mut kernel::bindings::work_struct| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { bindings::virtio_helper_init_work(slot, Some(Self::run_callback)) }
            }),
            task,
        })
    }

    /// Has it go on soon. Any context.
    pub(super) fn schedule(&self) {
        // SAFETY: By the type invariant `work` is initialised. It is cancelled before it is dropped.
        unsafe { bindings::virtio_helper_queue_bh_work(self.work.get()) };
    }

    /// Waits until it does not run, and forgets that it was scheduled. Process context.
    pub(super) fn cancel(&self) {
        // SAFETY: By the type invariant `work` is initialised.
        unsafe { kernel::bindings::cancel_work_sync(self.work.get()) };
    }

    /// # Safety
    ///
    /// Called by the workqueue only, with the `work` of a continuation.
    unsafe extern "C" fn run_callback(work: *mut kernel::bindings::work_struct) {
        // SAFETY: By the type invariant `work` is the first field of a continuation, which is valid
        // until it was cancelled.
        let this = unsafe { &*work.cast::<Self>() };

        if this.task.go_on() {
            this.schedule();
        }
    }
}

#[pinned_drop]
impl<T: Continue> PinnedDrop for Continuation<T> {
    fn drop(self: Pin<&mut Self>) {
        self.cancel();
    }
}
