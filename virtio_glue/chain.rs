// SPDX-License-Identifier: GPL-2.0

//! Descriptor chains: which memory of a buffer the device reads and which it writes.
//!
//! C header: [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)

use super::DeviceBuffer;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    types::Opaque, //
};

/// How many pieces a chain can have on each side.
const MAX_PIECES: usize = 3;

/// A scatterlist that somebody else built and that stays as it is for `'a`.
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
    /// are valid for the lifetime the caller chooses.
    #[inline]
    pub(crate) unsafe fn from_raw(sgl: NonNull<bindings::scatterlist>) -> Self {
        // INVARIANT: By the safety requirements of this function.
        Self(sgl, PhantomData)
    }
}

/// A piece of memory of a chain.
#[derive(Clone, Copy)]
enum Piece {
    /// No memory.
    Empty,
    /// A range of the kernel's linear mapping: address and length in bytes.
    Range(*const u8, u32),
    /// A terminated scatterlist.
    List(NonNull<bindings::scatterlist>),
}

/// The memory of one virtqueue buffer: first the pieces the device reads, then those it writes.
///
/// Every piece is borrowed for `'a` from the token that the chain belongs to.
///
/// # Invariants
///
/// Each piece is valid for `'a`: readable memory, and writable memory in the case of `writable`.
/// At most [`MAX_PIECES`] are set on each side, without gaps.
pub struct Chain<'a> {
    readable: [Piece; MAX_PIECES],
    writable: [Piece; MAX_PIECES],
    _borrowed: PhantomData<&'a ()>,
}

impl<'a> Chain<'a> {
    /// Makes an empty chain.
    #[inline]
    pub(super) fn new() -> Self {
        // INVARIANT: No piece is set.
        Self {
            readable: [Piece::Empty; MAX_PIECES],
            writable: [Piece::Empty; MAX_PIECES],
            _borrowed: PhantomData,
        }
    }

    /// Adds a piece to one side. More than [`MAX_PIECES`] are left out and fail the whole chain
    /// when it is added, because then it has an empty end.
    #[inline]
    fn push(side: &mut [Piece; MAX_PIECES], piece: Piece) {
        if let Some(slot) = side.iter_mut().find(|slot| matches!(slot, Piece::Empty)) {
            *slot = piece;
        }
    }

    /// Adds bytes that the device reads.
    #[inline]
    pub fn readable(&mut self, bytes: &'a [u8]) {
        // CAST: A buffer is much smaller than 4 GiB; were it not, only the start would be given.
        Self::push(
            &mut self.readable,
            Piece::Range(bytes.as_ptr(), bytes.len().min(u32::MAX as usize) as u32),
        );
    }

    /// Adds a scatterlist whose memory the device reads.
    #[inline]
    pub fn readable_segments(&mut self, segments: Segments<'a>) {
        Self::push(&mut self.readable, Piece::List(segments.0));
    }

    /// Adds the first `len` bytes of a buffer that the device writes, or all if it has fewer.
    #[inline]
    pub fn writable<T>(&mut self, buffer: &'a DeviceBuffer<T>, len: usize) {
        let len = len.min(DeviceBuffer::<T>::SIZE).min(u32::MAX as usize);

        // CAST: `len` is at most `u32::MAX`.
        Self::push(
            &mut self.writable,
            Piece::Range(buffer.as_ptr(), len as u32),
        );
    }

    /// Adds a scatterlist whose memory the device writes.
    #[inline]
    pub fn writable_segments(&mut self, segments: Segments<'a>) {
        Self::push(&mut self.writable, Piece::List(segments.0));
    }

    /// Calls `add` with the pointers that `virtqueue_add_sgs()` takes: an array of terminated
    /// scatterlists, how many of them the device reads, and how many it writes.
    #[inline]
    pub(super) fn with_scatterlists<R>(
        &self,
        add: impl FnOnce(&mut [*mut bindings::scatterlist], usize, usize) -> R,
    ) -> R {
        let mut entries: [Opaque<bindings::scatterlist>; 2 * MAX_PIECES] =
            [const { Opaque::uninit() }; 2 * MAX_PIECES];
        let mut lists = [core::ptr::null_mut(); 2 * MAX_PIECES];
        let mut count = 0;
        let mut readable = 0;

        for (side, pieces) in [&self.readable, &self.writable].into_iter().enumerate() {
            for piece in pieces {
                // Both arrays have room for all pieces of both sides.
                let (Some(entry), Some(list)) = (entries.get_mut(count), lists.get_mut(count))
                else {
                    break;
                };

                *list = match *piece {
                    Piece::Empty => break,
                    Piece::List(sgl) => sgl.as_ptr(),
                    Piece::Range(start, len) => {
                        let entry = entry.get();

                        // SAFETY: `entry` is valid for writes, and by the type invariant `start`
                        // and `len` are memory of the kernel's linear mapping.
                        unsafe { bindings::sg_init_one(entry, start.cast(), len) };
                        entry
                    }
                };
                count += 1;
            }
            if side == 0 {
                readable = count;
            }
        }

        add(&mut lists, readable, count - readable)
    }
}
