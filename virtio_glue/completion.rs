// SPDX-License-Identifier: GPL-2.0

//! Waiting for the device, but not for ever.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)

use super::bindings;
use kernel::{
    prelude::*,
    time::Jiffies,
    types::Opaque, //
};

/// A completion that can be waited for with a bound and used again.
///
/// [`kernel::sync::Completion`] has neither.
///
/// It can only be made in place, and stays there.
#[pin_data]
pub struct TimedCompletion {
    #[pin]
    inner: Opaque<kernel::bindings::completion>,
}

// SAFETY: `struct completion` can be waited for and completed from any thread.
unsafe impl Send for TimedCompletion {}

// SAFETY: `struct completion` has its own lock.
unsafe impl Sync for TimedCompletion {}

impl TimedCompletion {
    /// Makes an initialiser for a completion that is not done.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut kernel::bindings::completion| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { kernel::bindings::init_completion(slot) }
            }),
        })
    }

    /// Makes it not done, for another wait. Nobody may be waiting.
    pub fn reset(&self) {
        // SAFETY: The completion was initialised by `new`.
        unsafe { bindings::virtio_helper_reinit_completion(self.inner.get()) };
    }

    /// Marks it done and wakes one waiter. May be called in any context.
    pub fn complete(&self) {
        // SAFETY: The completion was initialised by `new`.
        unsafe { kernel::bindings::complete(self.inner.get()) };
    }

    /// Waits until it is done, `timeout` jiffies at most, and returns whether it is.
    ///
    /// Sleeps, and is not interrupted by signals.
    #[must_use]
    pub fn wait(&self, timeout: Jiffies) -> bool {
        // SAFETY: The completion was initialised by `new`.
        unsafe { kernel::bindings::wait_for_completion_timeout(self.inner.get(), timeout) != 0 }
    }
}
