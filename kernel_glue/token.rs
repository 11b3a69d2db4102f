// SPDX-License-Identifier: GPL-2.0

//! Objects that can be on a virtqueue.
//!
//! [`kernel::types::ForeignOwnable`] of 7.2 and 7.3 promises nothing about the memory of the
//! object. This file goes when a trait of the kernel crate's DMA does.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use core::{
    mem::size_of,
    ptr::NonNull, //
};
use kernel::{
    ffi::c_void,
    prelude::*,
    sync::Arc,
    types::ForeignOwnable, //
};

/// An object that can be on a virtqueue, together with the memory that it owns.
///
/// # Safety
///
/// - For each pointer that `into_raw` has returned, `from_raw` must return the same token.
/// - `memory` must return a range of the kernel's linear mapping, which can be mapped for DMA and
///   which the token owns. From `into_raw` until the token that `from_raw` returns is dropped, the
///   range must stay valid and in place.
pub unsafe trait Token: Send + Sized {
    /// Returns the memory that the token owns and a device can read or write: its address, and its
    /// size in bytes.
    fn memory(&self) -> (*const u8, usize);

    /// Converts the token to a pointer, which owns it from here on.
    fn into_raw(self) -> NonNull<c_void>;

    /// Converts a pointer back to its token.
    ///
    /// # Safety
    ///
    /// `ptr` must come from `into_raw`, and must be converted back only once for each call of that.
    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self;
}

// SAFETY: `KBox::from_raw` returns the box of the pointer. `kmalloc()` has allocated its memory, in
// the linear mapping, where it stays until the box is dropped or moved out of.
unsafe impl<T: Send + 'static> Token for KBox<T> {
    fn memory(&self) -> (*const u8, usize) {
        ((&raw const **self).cast(), size_of::<T>())
    }

    fn into_raw(self) -> NonNull<c_void> {
        // SAFETY: The address of a box is not null.
        unsafe { NonNull::new_unchecked(KBox::into_raw(self).cast()) }
    }

    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: The caller guarantees that `ptr` comes from `into_raw`, which is
        // `KBox::into_raw`, and that it is converted back once.
        unsafe { KBox::from_raw(ptr.as_ptr().cast()) }
    }
}

// SAFETY: `Arc::from_foreign` returns the reference of the pointer. `kmalloc()` has allocated the
// object, in the linear mapping, where it stays while there is a reference.
unsafe impl<T: Send + Sync + 'static> Token for Arc<T> {
    fn memory(&self) -> (*const u8, usize) {
        ((&raw const **self).cast(), size_of::<T>())
    }

    fn into_raw(self) -> NonNull<c_void> {
        // SAFETY: The address of a reference is not null.
        unsafe { NonNull::new_unchecked(self.into_foreign().cast()) }
    }

    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: The caller guarantees that `ptr` comes from `into_raw`, which is `into_foreign`,
        // and that it is converted back once.
        unsafe { <Self as ForeignOwnable>::from_foreign(ptr.as_ptr().cast()) }
    }
}

/// A token whose pointers are even numbers.
///
/// # Safety
///
/// Each pointer that `into_raw` returns must be an even number.
pub unsafe trait EvenToken: Token {}

// SAFETY: The object follows a reference count of 4 bytes, in an allocation that is aligned to 4
// bytes or more. Its offset is 4, or its own alignment if that is more.
unsafe impl<T: Send + Sync + 'static> EvenToken for Arc<T> {}

/// One of two kinds of token, for a virtqueue that takes both.
pub enum Either<A: EvenToken, B: EvenToken> {
    /// A token of the first kind.
    First(A),
    /// A token of the second kind.
    Second(B),
}

/// The bit that marks a pointer of the second kind.
const SECOND: usize = 1;

// SAFETY: The pointers of both kinds are even numbers. So an odd one is of the second kind, with
// `SECOND` set, and an even one is of the first. The memory is that of the token.
unsafe impl<A: EvenToken, B: EvenToken> Token for Either<A, B> {
    #[inline]
    fn memory(&self) -> (*const u8, usize) {
        match self {
            Self::First(token) => token.memory(),
            Self::Second(token) => token.memory(),
        }
    }

    #[inline]
    fn into_raw(self) -> NonNull<c_void> {
        match self {
            Self::First(token) => token.into_raw(),
            Self::Second(token) => token.into_raw().map_addr(|address| address | SECOND),
        }
    }

    #[inline]
    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        let raw = ptr.as_ptr();

        if raw.addr() & SECOND == 0 {
            // SAFETY: The caller guarantees that `ptr` comes from `into_raw`, and it is even, so it
            // comes from `A::into_raw`.
            return Self::First(unsafe { A::from_raw(ptr) });
        }

        // SAFETY: As above, but `ptr` is odd, so without `SECOND` it comes from `B::into_raw`,
        // whose pointers are not null.
        Self::Second(unsafe {
            B::from_raw(NonNull::new_unchecked(
                raw.map_addr(|address| address & !SECOND),
            ))
        })
    }
}
