// SPDX-License-Identifier: GPL-2.0

//! Work that can be cancelled.
//!
//! [`kernel::workqueue::Work`] of 7.2 and 7.3 cannot be cancelled, so its callback may run after
//! the module is gone, or after the device is. This file goes when it can.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use super::{
    bindings,
    module_parts::{
        Queue,
        QueueRef, //
    },
};
use kernel::{
    bindings::{
        delayed_work,
        work_struct, //
    },
    ffi::c_int,
    prelude::*,
    time::Jiffies,
    types::Opaque, //
};

/// `WORK_CPU_UNBOUND`.
// CAST: The constant is a small number, to which bindgen gives an unsigned type.
const ANY_CPU: c_int = kernel::bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int;

/// The task of a [`Worker`].
pub trait Task: Send + Sync {
    /// Runs the task. Returns the delay after which it has to run again, in jiffies, if it has to.
    ///
    /// Process context. A worker runs its task on one thread at a time.
    fn run(&self) -> Option<Jiffies>;
}

/// A task that can be scheduled and cancelled: `struct delayed_work`.
///
/// # Invariants
///
/// `work` is initialised with [`Worker::run_callback`], and it is the first field. A worker is
/// pinned: only an initialiser makes one.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub struct Worker<T: Task> {
    #[pin]
    work: Opaque<delayed_work>,
    queue: QueueRef,
    #[pin]
    task: T,
}

// SAFETY: `struct delayed_work` can be used from any thread, and the task is `Send` and `Sync`.
unsafe impl<T: Task> Send for Worker<T> {}

// SAFETY: As above.
unsafe impl<T: Task> Sync for Worker<T> {}

impl<T: Task> Worker<T> {
    /// Makes an initialiser for a worker that is not scheduled. `task` may be a value or an
    /// initialiser.
    pub fn new(task: impl PinInit<T>, queue: Queue) -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot: *mut delayed_work| {
                // SAFETY: `slot` is valid for writes and stays in place.
                unsafe { bindings::kernel_helper_init_delayed_work(slot, Some(Self::run_callback)) }
            }),
            queue: QueueRef::new(queue),
            task <- task,
        })
    }

    /// Returns the task.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// Schedules the task to run soon, and once if it was scheduled before and does not run yet.
    /// Any context.
    pub fn schedule(&self) {
        self.schedule_after(0);
    }

    /// Schedules the task to run in `delay` jiffies, also if it was scheduled for another time:
    /// `mod_delayed_work_on()`. Any context.
    pub fn schedule_after(&self, delay: Jiffies) {
        // SAFETY: By the type invariant `work` is initialised. Dropping `self` cancels it, and only
        // after that drops the reference to the workqueue.
        unsafe {
            kernel::bindings::mod_delayed_work_on(
                ANY_CPU,
                self.queue.as_ptr(),
                self.work.get(),
                delay,
            )
        };
    }

    /// Cancels a run that was scheduled, and waits for one that is under way:
    /// `cancel_delayed_work_sync()`.
    ///
    /// Process context, and not in the task itself.
    pub fn cancel(&self) {
        // SAFETY: By the type invariant `work` is initialised.
        unsafe { kernel::bindings::cancel_delayed_work_sync(self.work.get()) };
    }

    /// # Safety
    ///
    /// Called by the workqueue only, with the `work` of a worker.
    unsafe extern "C" fn run_callback(work: *mut work_struct) {
        // SAFETY: `struct delayed_work` begins with its `struct work_struct`, and by the type
        // invariant it is the first field of a worker, which is valid until it has cancelled its
        // work.
        let this = unsafe { &*work.cast::<Self>() };

        if let Some(delay) = this.task.run() {
            // Not by `schedule_after()`, which would move a run that was scheduled meanwhile.
            //
            // SAFETY: As in `schedule_after`.
            unsafe {
                kernel::bindings::queue_delayed_work_on(
                    ANY_CPU,
                    this.queue.as_ptr(),
                    this.work.get(),
                    delay,
                )
            };
        }
    }
}

#[pinned_drop]
impl<T: Task> PinnedDrop for Worker<T> {
    fn drop(self: Pin<&mut Self>) {
        self.cancel();
    }
}

/// A task that continues in softirq context what an interrupt handler has begun:
/// `struct work_struct` on `system_bh_wq`.
///
/// # Invariants
///
/// `work` is initialised with [`Continuation::run_callback`], and it is the first field. A
/// continuation is pinned: only an initialiser makes one.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(crate) struct Continuation<T: Continue> {
    #[pin]
    work: Opaque<work_struct>,
    pub(crate) task: T,
}

/// The task of a [`Continuation`].
pub(crate) trait Continue: Send + Sync {
    /// Continues. Returns whether something is left, for which it has to run again.
    ///
    /// Softirq context.
    fn go_on(&self) -> bool;
}

// SAFETY: `struct work_struct` can be used from any thread, and the task is `Send` and `Sync`.
unsafe impl<T: Continue> Send for Continuation<T> {}

// SAFETY: As above.
unsafe impl<T: Continue> Sync for Continuation<T> {}

impl<T: Continue> Continuation<T> {
    /// Makes an initialiser for a continuation that is not scheduled.
    pub(crate) fn new(task: T) -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot: *mut work_struct| {
                // SAFETY: `slot` is valid for writes and stays in place.
                unsafe { bindings::kernel_helper_init_work(slot, Some(Self::run_callback)) }
            }),
            task,
        })
    }

    /// Schedules the task to run soon. Any context.
    pub(crate) fn schedule(&self) {
        // SAFETY: By the type invariant `work` is initialised. Dropping `self` cancels it. The
        // kernel has allocated `system_bh_wq` before it loads a module.
        unsafe {
            kernel::bindings::queue_work_on(
                ANY_CPU,
                kernel::bindings::system_bh_wq,
                self.work.get(),
            )
        };
    }

    /// Cancels a run that was scheduled, and waits for one that is under way: `cancel_work_sync()`.
    ///
    /// Process context.
    pub(crate) fn cancel(&self) {
        // SAFETY: By the type invariant `work` is initialised.
        unsafe { kernel::bindings::cancel_work_sync(self.work.get()) };
    }

    /// # Safety
    ///
    /// Called by the workqueue only, with the `work` of a continuation.
    unsafe extern "C" fn run_callback(work: *mut work_struct) {
        // SAFETY: By the type invariant `work` is the first field of a continuation, which is valid
        // until it has cancelled its work.
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
