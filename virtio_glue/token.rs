// SPDX-License-Identifier: GPL-2.0

//! What can be on a virtqueue.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use core::ptr::NonNull;
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
/// - `from_raw` must give back a token for each time that `into_raw` has given out its pointer.
/// - All memory that can be borrowed from a `&Self` as a piece of a [`Chain`] must stay valid and
///   in place from `into_raw` until the token has come back from `from_raw` and is dropped.
///
/// [`Chain`]: super::Chain
pub unsafe trait Token: Send + Sized {
    /// Makes a pointer of the token, which then owns it.
    fn into_raw(self) -> NonNull<c_void>;

    /// Makes the token again.
    ///
    /// # Safety
    ///
    /// `ptr` must come from `into_raw`, and this must be called only once for each time that it has.
    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self;
}

// SAFETY: A box is made again of its own address, and what it owns stays in place until it is
// dropped or moved out of, for which one needs the box.
unsafe impl<T: Send + 'static> Token for KBox<T> {
    fn into_raw(self) -> NonNull<c_void> {
        // SAFETY: A box is never null.
        unsafe { NonNull::new_unchecked(KBox::into_raw(self).cast()) }
    }

    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: By the safety requirements of this function, `ptr` comes from `KBox::into_raw`.
        unsafe { KBox::from_raw(ptr.as_ptr().cast()) }
    }
}

// SAFETY: A reference is made again of the address of what it refers to, which stays in place, and is
// not lent out for writing, while there is another reference.
unsafe impl<T: Send + Sync + 'static> Token for Arc<T> {
    fn into_raw(self) -> NonNull<c_void> {
        // SAFETY: A reference is never null.
        unsafe { NonNull::new_unchecked(self.into_foreign().cast()) }
    }

    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: By the safety requirements of this function, `ptr` comes from `into_foreign`.
        unsafe { <Self as ForeignOwnable>::from_foreign(ptr.as_ptr().cast()) }
    }
}

/// A token whose pointers are even numbers.
///
/// # Safety
///
/// All that `into_raw` gives out must be.
pub unsafe trait EvenToken: Token {}

// SAFETY: What is referred to is behind a counter of references, which has 4 bytes, in an allocation that is
// aligned to no less, and its own alignment is a power of two.
unsafe impl<T: Send + Sync + 'static> EvenToken for Arc<T> {}

/// Either of two kinds of token, for a virtqueue that has both.
pub enum Either<A: EvenToken, B: EvenToken> {
    /// The first kind.
    First(A),
    /// The second kind.
    Second(B),
}

/// What is added to the pointer of the second kind.
const SECOND: usize = 1;

// SAFETY: An odd pointer is one of the second kind, less what was added to it, an even one is one of the first.
// The memory is that of either token.
unsafe impl<A: EvenToken, B: EvenToken> Token for Either<A, B> {
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
            // SAFETY: By the safety requirements of this function, `ptr` comes from `into_raw`, and it is even.
            return Self::First(unsafe { A::from_raw(ptr) });
        }

        // SAFETY: As above, and `ptr` is odd: it was not null before it was made so, as null is even.
        Self::Second(unsafe {
            B::from_raw(NonNull::new_unchecked(
                raw.map_addr(|address| address & !SECOND),
            ))
        })
    }
}
