// SPDX-License-Identifier: GPL-2.0

//! Descriptor chains: which memory of a buffer the device reads and which it writes.
//!
//! A chain takes memory that its token owns ([`Token::memory`]), and scatterlists. Anything else
//! could be memory that cannot be mapped for DMA, such as a constant of a module or what
//! `vmalloc()` returns. A chain cannot be added to a virtqueue if it has a piece of other memory,
//! more pieces than there is room for, or a piece that the device reads behind one that it writes:
//!
//! ```ignore
//! static GREETING: [u8; 4] = *b"ping";
//!
//! // `AddError::Invalid`: the static is not memory of the token.
//! queue.lock().add(token, |_, chain| chain.readable(&GREETING))
//! ```
//!
//! # Misuse that does not compile
//!
//! In `examples/virtio_rng/misuse/`: memory that the token may outlive, as that of the stack
//! (E0597); a scatterlist whose memory may only be read, as memory that the device writes (E0308);
//! a chain that forgets what it has left out (E0451).
//!
//! C header: [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)

use crate::kernel_glue::{
    DeviceBuffer,
    Segments,
    Token,
    WritableSegments, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    ffi::c_uint,
    transmute::AsBytes,
    types::Opaque, //
};

/// How many pieces a chain can have on both sides.
const MAX_PIECES: usize = 6;

/// Memory for the scatterlists of a chain, which point to each other and so must not move.
pub(super) struct Storage {
    entries: [Opaque<bindings::scatterlist>; MAX_PIECES],
    lists: [MaybeUninit<*mut bindings::scatterlist>; MAX_PIECES],
}

impl Storage {
    /// Makes memory that holds nothing yet.
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            entries: [const { Opaque::uninit() }; MAX_PIECES],
            lists: [const { MaybeUninit::uninit() }; MAX_PIECES],
        }
    }
}

/// The place of a piece: an entry for a scatterlist, and the pointer to the piece's scatterlist.
type Place<'a> = (
    *mut bindings::scatterlist,
    &'a mut MaybeUninit<*mut bindings::scatterlist>,
);

/// The memory of one virtqueue buffer: first the pieces that the device reads, then those that it
/// writes.
///
/// # Invariants
///
/// - `memory` is what [`Token::memory`] has returned of the token that the chain belongs to, which
///   lives for `'a`.
/// - The first `readable + writable` pointers of `lists` are terminated scatterlists that are valid
///   as long as this, of memory that is valid for `'a`. That of the last `writable` can be written.
pub struct Chain<'a> {
    storage: &'a mut Storage,
    readable: usize,
    writable: usize,
    memory: (*const u8, usize),
    /// Whether a piece was left out.
    invalid: bool,
}

impl<'a> Chain<'a> {
    /// Makes an empty chain of a token.
    #[inline]
    pub(super) fn new<T: Token>(token: &'a T, storage: &'a mut Storage) -> Self {
        // INVARIANT: `memory` is that of the token, and there is no piece.
        Self {
            storage,
            readable: 0,
            writable: 0,
            memory: token.memory(),
            invalid: false,
        }
    }

    /// Returns whether all pieces are in the chain.
    #[inline]
    pub(super) fn is_valid(&self) -> bool {
        !self.invalid
    }

    /// Returns the place of the next piece, or notes that there is none.
    #[inline]
    fn next(&mut self) -> Option<Place<'_>> {
        let count = self.readable + self.writable;
        let place = self
            .storage
            .entries
            .get(count)
            .map(Opaque::get)
            .zip(self.storage.lists.get_mut(count));

        self.invalid |= place.is_none();
        place
    }

    /// Adds a range of memory that the token owns. Returns whether it was added.
    #[inline]
    fn push_range(&mut self, start: *const u8, len: usize) -> bool {
        let (base, size) = self.memory;
        let offset = start.addr().wrapping_sub(base.addr());

        // A range before the memory has an offset that is larger than any size.
        let (true, Ok(len)) = (
            offset <= size && len <= size.wrapping_sub(offset),
            u32::try_from(len),
        ) else {
            self.invalid = true;
            return false;
        };
        let Some((entry, list)) = self.next() else {
            return false;
        };

        // SAFETY: `entry` is valid for writes. `start` and `len` are in `memory`, which `Token`
        // promises to be in the kernel's linear mapping.
        unsafe { bindings::sg_init_one(entry, start.cast(), len) };
        list.write(entry);
        true
    }

    /// Adds a scatterlist. Returns whether it was added.
    #[inline]
    fn push_list(&mut self, sgl: NonNull<bindings::scatterlist>) -> bool {
        let Some((_, list)) = self.next() else {
            return false;
        };

        list.write(sgl.as_ptr());
        true
    }

    /// Counts a piece that the device reads. All of these come before those that it writes.
    #[inline]
    fn count_readable(&mut self, added: bool) {
        self.invalid |= self.writable > 0;
        self.readable += usize::from(added);
    }

    /// Adds bytes of the token that the device reads.
    #[inline]
    pub fn readable(&mut self, bytes: &'a [u8]) {
        // INVARIANT: The range is in `memory`, and valid for `'a`.
        let added = self.push_range(bytes.as_ptr(), bytes.len());

        self.count_readable(added);
    }

    /// Adds a scatterlist whose memory the device reads.
    #[inline]
    pub fn readable_segments(&mut self, segments: Segments<'a>) {
        // INVARIANT: The scatterlist is valid for `'a`.
        let added = self.push_list(segments.as_raw());

        self.count_readable(added);
    }

    /// Adds the first `len` bytes of a buffer of the token that the device writes, or all if it has
    /// fewer.
    #[inline]
    pub fn writable<T: AsBytes>(&mut self, buffer: &'a DeviceBuffer<T>, len: usize) {
        // INVARIANT: The range is in `memory`, and a `DeviceBuffer` can be written through a shared
        // reference.
        let added = self.push_range(buffer.as_ptr(), len.min(DeviceBuffer::<T>::SIZE));

        self.writable += usize::from(added);
    }

    /// Adds a scatterlist whose memory the device writes.
    #[inline]
    pub fn writable_segments(&mut self, segments: WritableSegments<'a>) {
        // INVARIANT: The scatterlist is valid for `'a`, and its memory can be written.
        let added = self.push_list(segments.as_raw());

        self.writable += usize::from(added);
    }

    /// Returns what `virtqueue_add_sgs()` takes: an array of terminated scatterlists, how many of
    /// them the device reads, and how many it writes.
    #[inline]
    pub(super) fn as_raw(&mut self) -> (*mut *mut bindings::scatterlist, c_uint, c_uint) {
        // CAST: There are `MAX_PIECES` at most.
        (
            self.storage.lists.as_mut_ptr().cast(),
            self.readable as c_uint,
            self.writable as c_uint,
        )
    }
}
