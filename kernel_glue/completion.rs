// SPDX-License-Identifier: GPL-2.0

//! A completion that can be waited for with a bound.
//!
//! [`kernel::sync::Completion`] of 7.2 and 7.3 has no bounded wait, and once completed it stays so.
//! This file goes when it has `wait_for_completion_timeout()`, `complete()` and
//! `reinit_completion()`.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)

use super::bindings;
use kernel::{
    prelude::*,
    time::Jiffies,
    types::Opaque, //
};

/// A completion that can be waited for with a bound, and used again: `struct completion`.
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
    /// Makes an initialiser for a completion that is not completed.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut kernel::bindings::completion| {
                // SAFETY: `slot` is valid for writes and stays in place.
                unsafe { kernel::bindings::init_completion(slot) }
            }),
        })
    }

    /// Takes back a completion, for another wait: `reinit_completion()`. No thread may be waiting.
    #[inline]
    pub fn reset(&self) {
        // SAFETY: `new` has initialised the completion.
        unsafe { bindings::kernel_helper_reinit_completion(self.inner.get()) };
    }

    /// Completes it and wakes one waiting thread: `complete()`. Any context.
    #[inline]
    pub fn complete(&self) {
        // SAFETY: `new` has initialised the completion.
        unsafe { kernel::bindings::complete(self.inner.get()) };
    }

    /// Waits until it is completed, for `timeout` jiffies at most, and returns whether it is:
    /// `wait_for_completion_timeout()`.
    ///
    /// Process context. Signals do not interrupt it.
    #[must_use]
    #[inline]
    pub fn wait(&self, timeout: Jiffies) -> bool {
        // SAFETY: `new` has initialised the completion.
        unsafe { kernel::bindings::wait_for_completion_timeout(self.inner.get(), timeout) != 0 }
    }
    /// Takes back one time that it was completed, and returns whether there was one:
    /// `try_wait_for_completion()`. Any context.
    pub fn try_wait(&self) -> bool {
        // SAFETY: `new` has initialised the completion.
        unsafe { kernel::bindings::try_wait_for_completion(self.inner.get()) }
    }
}
