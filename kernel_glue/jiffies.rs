// SPDX-License-Identifier: GPL-2.0

//! Points in time, in jiffies.
//!
//! [`kernel::time`] of 7.2 and 7.3 does not read the counter of jiffies, and a
//! [`kernel::time::Instant`] cannot be kept in an atomic. This file goes when an instant of jiffies
//! can.
//!
//! C header: [`include/linux/jiffies.h`](srctree/include/linux/jiffies.h)

use super::bindings;
use kernel::time::Jiffies;

/// Returns a number of jiffies in milliseconds: `jiffies64_to_msecs()`.
pub fn jiffies_to_msecs(jiffies: Jiffies) -> u64 {
    // SAFETY: The function only calculates.
    unsafe { bindings::kernel_helper_jiffies_to_msecs(jiffies) }
}

/// Returns the time since the system was started, without suspends, in nanoseconds: `ktime_get()`.
/// Any context.
pub fn now_ns() -> u64 {
    // SAFETY: The function only reads a clock.
    //
    // CAST: This clock is not negative.
    unsafe { kernel::bindings::ktime_get() as u64 }
}

/// A point in time, to the jiffy. The time of a suspend does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(Jiffies);

impl Stamp {
    /// Returns the present. Any context.
    #[inline]
    pub fn now() -> Self {
        // SAFETY: The function only reads a counter, and can be called at any time.
        Self(unsafe { bindings::kernel_helper_jiffies() })
    }

    /// Returns how many jiffies have passed since this point.
    #[inline]
    pub fn elapsed(self) -> Jiffies {
        Self::now().0.wrapping_sub(self.0)
    }

    /// Returns the point `jiffies` before this one.
    pub fn before(self, jiffies: Jiffies) -> Self {
        Self(self.0.wrapping_sub(jiffies))
    }

    /// Makes the point at which the counter had a value.
    pub fn from_raw(counter: Jiffies) -> Self {
        Self(counter)
    }

    /// Returns the counter at this point, for an atomic.
    pub fn as_raw(self) -> Jiffies {
        self.0
    }
}
