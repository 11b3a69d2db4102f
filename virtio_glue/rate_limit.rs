// SPDX-License-Identifier: GPL-2.0

//! A limit to what a device can make the driver say and do.
//!
//! C header: [`include/linux/ratelimit.h`](srctree/include/linux/ratelimit.h)

use super::bindings;
use kernel::{
    prelude::*,
    types::Opaque, //
};

/// Lets a few things pass in a time, and no more.
///
/// Nothing is said of what does not pass: what is limited is counted elsewhere.
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
    /// Makes an initialiser for a limit of 10 in 5 seconds, which is what the log can take.
    pub fn new() -> impl PinInit<Self> {
        Self::of(10, 5)
    }

    /// Makes an initialiser for a limit of `most` in so many seconds.
    pub fn of(most: u32, seconds: u32) -> impl PinInit<Self> {
        pin_init!(Self {
            state <- Opaque::ffi_init(move |slot: *mut kernel::bindings::ratelimit_state| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { bindings::virtio_helper_ratelimit_init(slot, seconds, most) }
            }),
        })
    }

    /// Returns whether this one passes. Any context.
    pub fn pass(&self) -> bool {
        // SAFETY: The state was initialised by `new`, and the name is a C string.
        unsafe {
            kernel::bindings::___ratelimit(self.state.get(), c"virtio_scsi_rs".as_char_ptr()) != 0
        }
    }
}
