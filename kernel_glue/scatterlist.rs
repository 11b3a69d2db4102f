// SPDX-License-Identifier: GPL-2.0

//! A scatterlist that C has built, as that of a command, and one of a single entry.
//!
//! [`kernel::scatterlist::SGTable`] of 7.2 and 7.3 does not lend its `struct scatterlist`, which
//! `virtqueue_add_sgs()` takes. All but [`OneSegment`] goes when it does.
//!
//! C header: [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    types::Opaque, //
};

/// A scatterlist of one entry, for memory that stays in place. It is made once and used again and
/// again.
#[repr(transparent)]
pub struct OneSegment(Opaque<bindings::scatterlist>);

impl OneSegment {
    /// Makes room for a scatterlist that is not made yet.
    pub(crate) fn uninit() -> Self {
        Self(Opaque::uninit())
    }

    /// Makes the scatterlist: `sg_init_one()`.
    ///
    /// # Safety
    ///
    /// The `len` bytes from `start` on must be in the kernel's linear mapping, and nobody else may
    /// use the scatterlist.
    pub(crate) unsafe fn init(&self, start: *const u8, len: u32) {
        // SAFETY: The entry is valid for writes, and the caller guarantees the rest.
        unsafe { bindings::sg_init_one(self.0.get(), start.cast(), len) };
    }

    /// Returns the C scatterlist.
    #[inline]
    pub(crate) fn as_raw(&self) -> NonNull<bindings::scatterlist> {
        NonNull::from(&self.0).cast()
    }
}

/// A scatterlist that C has built, and that does not change for `'a`. Its memory may only be read:
/// nobody may write to the zero page, for example.
///
/// # Invariants
///
/// `0` points to a terminated scatterlist (`sg_mark_end()`), whose entries and the memory they
/// describe are valid for `'a`.
#[derive(Clone, Copy)]
pub struct Segments<'a>(NonNull<bindings::scatterlist>, PhantomData<&'a ()>);

impl Segments<'_> {
    /// Makes a [`Segments`] of a C scatterlist.
    ///
    /// # Safety
    ///
    /// `sgl` must point to a terminated scatterlist, whose entries and the memory they describe
    /// are valid for the lifetime that the caller chooses.
    #[inline]
    pub(crate) unsafe fn from_raw(sgl: NonNull<bindings::scatterlist>) -> Self {
        // INVARIANT: The caller guarantees that the list is terminated, and valid for the lifetime.
        Self(sgl, PhantomData)
    }

    /// Returns the C scatterlist.
    #[inline]
    pub(crate) fn as_raw(self) -> NonNull<bindings::scatterlist> {
        self.0
    }
}

/// A scatterlist as [`Segments`], whose memory may also be written.
///
/// # Invariants
///
/// The memory that `0` describes can be written for `'a`, and nobody has a reference to it.
#[derive(Clone, Copy)]
pub struct WritableSegments<'a>(Segments<'a>);

impl WritableSegments<'_> {
    /// Makes a [`WritableSegments`] of a C scatterlist.
    ///
    /// # Safety
    ///
    /// As for [`Segments::from_raw`]. The memory must be such that can be written, and nobody may
    /// have a reference to it, for the lifetime the caller chooses.
    #[inline]
    pub(crate) unsafe fn from_raw(sgl: NonNull<bindings::scatterlist>) -> Self {
        // INVARIANT: By the safety requirements of this function.
        //
        // SAFETY: As above.
        Self(unsafe { Segments::from_raw(sgl) })
    }

    /// Returns the C scatterlist.
    #[inline]
    pub(crate) fn as_raw(self) -> NonNull<bindings::scatterlist> {
        self.0.as_raw()
    }
}
