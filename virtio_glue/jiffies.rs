// SPDX-License-Identifier: GPL-2.0

//! Points in time, in jiffies.
//!
//! C header: [`include/linux/jiffies.h`](srctree/include/linux/jiffies.h)

use super::bindings;
use kernel::time::Jiffies;

/// A point in time, to the jiffy. It does not go on while the system is suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(Jiffies);

impl Stamp {
    /// Returns the present. Any context.
    pub fn now() -> Self {
        // SAFETY: This only reads a counter.
        Self(unsafe { bindings::virtio_helper_jiffies() })
    }

    /// Returns how many jiffies have passed since.
    pub fn elapsed(self) -> Jiffies {
        Self::now().0.wrapping_sub(self.0)
    }

    /// Returns the point `jiffies` before this one.
    pub fn before(self, jiffies: Jiffies) -> Self {
        Self(self.0.wrapping_sub(jiffies))
    }

    /// Returns it as a number, to be kept in an atomic.
    pub fn as_raw(self) -> Jiffies {
        self.0
    }

    /// Makes it of what [`Stamp::as_raw`] has returned.
    pub fn from_raw(jiffies: Jiffies) -> Self {
        Self(jiffies)
    }
}
