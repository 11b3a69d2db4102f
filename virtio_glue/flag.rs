// SPDX-License-Identifier: GPL-2.0

//! A flag.
//!
//! C header: [`include/linux/atomic.h`](srctree/include/linux/atomic.h)

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// A flag that any thread can set. It orders nothing else.
#[repr(transparent)]
pub struct Flag(Atomic<i32>);

impl Default for Flag {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Flag {
    /// Sets it.
    #[inline]
    pub fn set(&self) {
        self.0.store(1, Relaxed);
    }

    /// Clears it.
    #[inline]
    pub fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    /// Returns whether it is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.load(Relaxed) != 0
    }
}
