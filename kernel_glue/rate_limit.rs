// SPDX-License-Identifier: GPL-2.0

//! A limit to the rate of what a device can cause, as log lines.
//!
//! The kernel crate of 7.2 and 7.3 has no rate limit. This file goes when it has one.
//!
//! C header: [`include/linux/ratelimit.h`](srctree/include/linux/ratelimit.h)

use super::bindings;
use kernel::{
    prelude::*,
    types::Opaque, //
};

/// A rate limit: `struct ratelimit_state`.
///
/// It does not log how many events were over the limit: the driver counts them.
#[pin_data]
pub struct RateLimit {
    #[pin]
    state: Opaque<kernel::bindings::ratelimit_state>,
}

// SAFETY: `struct ratelimit_state` can be used from any thread.
unsafe impl Send for RateLimit {}

// SAFETY: `struct ratelimit_state` has its own lock.
unsafe impl Sync for RateLimit {}

impl RateLimit {
    /// Makes an initialiser for the default limit of C, 10 in 5 seconds, for log lines.
    pub fn new() -> impl PinInit<Self> {
        Self::of(10, 5)
    }

    /// Makes an initialiser for a limit of `most` in each period of `seconds`.
    pub fn of(most: u32, seconds: u32) -> impl PinInit<Self> {
        pin_init!(Self {
            state <- Opaque::ffi_init(move |slot: *mut kernel::bindings::ratelimit_state| {
                // SAFETY: `slot` is valid for writes and stays in place.
                unsafe { bindings::kernel_helper_ratelimit_init(slot, seconds, most) }
            }),
        })
    }

    /// Returns whether an event that happens now is within the limit, and counts it:
    /// `___ratelimit()`. Any context.
    #[inline]
    pub fn pass(&self) -> bool {
        // The name is that in the log line of C, which a flag of the state turns off.
        //
        // SAFETY: `of` has initialised the state, and the name is a C string.
        unsafe { kernel::bindings::___ratelimit(self.state.get(), c"".as_char_ptr()) != 0 }
    }
}
