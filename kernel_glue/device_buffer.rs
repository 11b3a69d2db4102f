// SPDX-License-Identifier: GPL-2.0

//! Memory that the device writes.

use core::{
    cell::UnsafeCell,
    mem::{
        size_of,
        MaybeUninit, //
    },
    ptr, //
};
use kernel::transmute::AsBytes;

/// Memory that the device writes and the driver only copies out of.
///
/// A device that is not trusted can change the memory at any time, also after it has said that it
/// is done with it. So no reference into it is ever given out: what it holds is copied once, into
/// memory of the driver, and the copy is what is checked and used. Of `T` only the size and the
/// alignment count.
///
/// `T` is [`AsBytes`], as integers and arrays of bytes are. Such a type has no padding, so all
/// bytes of the buffer are initialised, and stay so when the buffer is moved: a move need not copy
/// padding. Nor has it a pointer, so no kernel address is in memory that is mapped for a device. In
/// `examples/virtio_rng/misuse/` are a buffer with padding and one with a pointer, which do not
/// compile (E0277).
///
/// The buffer never moves while it is on a virtqueue, because it is part of the [`Token`] there.
///
/// # Invariants
///
/// All bytes of the buffer are initialised.
///
/// [`Token`]: super::Token
#[repr(transparent)]
pub struct DeviceBuffer<T: AsBytes>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: The buffer is plain bytes, and what is copied out of it has no ties to a thread.
unsafe impl<T: AsBytes> Send for DeviceBuffer<T> {}

// SAFETY: Through a shared reference the buffer can only be read, with volatile accesses; writing
// needs an exclusive one.
unsafe impl<T: AsBytes> Sync for DeviceBuffer<T> {}

impl<T: AsBytes> Default for DeviceBuffer<T> {
    /// Makes a buffer of zeroes.
    fn default() -> Self {
        // INVARIANT: `T` has no padding, so this sets all bytes, and a move copies all.
        Self(UnsafeCell::new(MaybeUninit::zeroed()))
    }
}

/// A word at any address.
#[repr(C, packed)]
struct Word<T>(T);

impl<T: AsBytes> DeviceBuffer<T> {
    /// The size of the buffer, in bytes.
    pub const SIZE: usize = size_of::<T>();

    /// Returns the address of the buffer.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.0.get().cast()
    }

    /// Writes `bytes` to the start of the buffer.
    ///
    /// This is for a value that the device cannot be mistaken to have written, so that a device
    /// which completes a buffer without writing it is found out.
    #[inline]
    pub fn preset<const N: usize>(&mut self, bytes: [u8; N]) {
        const { assert!(N <= Self::SIZE) };

        // By words, as a volatile write of an array is one of each byte.
        let mut at = self.as_ptr();
        let mut rest: &[u8] = &bytes;

        while let Some((word, next)) = rest.split_first_chunk() {
            // SAFETY: The buffer has at least `N` bytes, of which those before `at` are written.
            // The type has no alignment.
            unsafe {
                at.cast::<Word<u64>>()
                    .write_volatile(Word(u64::from_ne_bytes(*word)));
                at = at.add(size_of::<Word<u64>>());
            }
            rest = next;
        }
        while let Some((word, next)) = rest.split_first_chunk() {
            // SAFETY: As above.
            unsafe {
                at.cast::<Word<u32>>()
                    .write_volatile(Word(u32::from_ne_bytes(*word)));
                at = at.add(size_of::<Word<u32>>());
            }
            rest = next;
        }
        for byte in rest {
            // SAFETY: As above.
            unsafe {
                at.write_volatile(*byte);
                at = at.add(1);
            }
        }
    }

    /// Copies `N` bytes from byte `offset` on out of the buffer.
    #[inline]
    pub fn copy<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset.checked_add(N)? > Self::SIZE {
            return None;
        }

        let mut bytes = [0; N];
        let mut at = offset;

        // A volatile read of an array is one of each byte, so words are read.
        let mut words = bytes.chunks_exact_mut(size_of::<Word<u64>>());

        for to in &mut words {
            // SAFETY: The bytes are within the buffer, as `offset + N` is, and initialised by the
            // type invariant. The type has no alignment. The device may write at the same time: a
            // volatile read gets some bytes or others, all of them valid.
            let word = unsafe { self.as_ptr().add(at).cast::<Word<u64>>().read_volatile() };

            to.copy_from_slice(&{ word.0 }.to_ne_bytes());
            at += size_of::<Word<u64>>();
        }

        let mut halves = words
            .into_remainder()
            .chunks_exact_mut(size_of::<Word<u32>>());

        for to in &mut halves {
            // SAFETY: As above.
            let word = unsafe { self.as_ptr().add(at).cast::<Word<u32>>().read_volatile() };

            to.copy_from_slice(&{ word.0 }.to_ne_bytes());
            at += size_of::<Word<u32>>();
        }
        for to in halves.into_remainder() {
            // SAFETY: As above.
            *to = unsafe { self.as_ptr().add(at).read_volatile() };
            at += 1;
        }
        Some(bytes)
    }

    /// Copies bytes from byte `offset` on to `to`, as many as both have, and returns how many.
    pub(crate) fn copy_to(&self, offset: usize, to: &mut [u8]) -> usize {
        let len = to.len().min(Self::SIZE.saturating_sub(offset));

        for (i, byte) in to.iter_mut().enumerate().take(len) {
            // SAFETY: `offset + i` is less than `offset + len`, which is within the buffer. By
            // the type invariant its bytes are initialised.
            *byte = unsafe { ptr::read_volatile(self.as_ptr().add(offset + i)) };
        }
        len
    }
}

#[cfg(CONFIG_KUNIT = "y")]
mod tests;
