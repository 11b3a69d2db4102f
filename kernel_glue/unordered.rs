// SPDX-License-Identifier: GPL-2.0

//! Loads and stores of an atomic without any order, in line.
//!
//! Those of [`kernel::sync::atomic`] are calls of C functions unless the kernel was built with
//! `CONFIG_RUST_INLINE_HELPERS`, which is off in Debian's. A command's way has a dozen of them.
//! This file goes when the kernel crate's are in line.
//!
//! C header: [`include/asm-generic/rwonce.h`](srctree/include/asm-generic/rwonce.h)

use kernel::sync::atomic::Atomic;

/// Loads and stores in line, with the order of [`Relaxed`](kernel::sync::atomic::Relaxed).
pub trait Unordered<T> {
    /// Loads the value, as `READ_ONCE()`.
    fn load_once(&self) -> T;

    /// Stores a value, as `WRITE_ONCE()`.
    fn store_once(&self, value: T);
}

/// Implements [`Unordered`] for atomics of types that a processor loads and stores at once.
macro_rules! impl_unordered {
    ($($type:ty),*) => {$(
        impl Unordered<$type> for Atomic<$type> {
            #[inline(always)]
            fn load_once(&self) -> $type {
                // SAFETY: The pointer is valid and aligned. A volatile read of this size is a
                // single load, which may race with atomic accesses: see the memory model of the
                // kernel on `READ_ONCE()`. All that is stored is of the type.
                unsafe { self.as_ptr().read_volatile() }
            }

            #[inline(always)]
            fn store_once(&self, value: $type) {
                // SAFETY: As above, and a volatile write of this size is a single store.
                unsafe { self.as_ptr().write_volatile(value) };
            }
        }
    )*};
}

impl_unordered!(bool, u32);
