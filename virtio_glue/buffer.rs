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

/// Memory that the device writes and the driver only copies out of.
///
/// A device that is not trusted can change the memory at any time, also after it has said that it
/// is done with it. So no reference into it is ever given out: what it holds is copied once, into
/// memory of the driver, and the copy is what is checked and used. The layout of `T` is only its
/// size; `T` should be a plain structure of bytes.
///
/// The buffer never moves while it is on a virtqueue, because it is part of the [`Token`] there.
///
/// [`Token`]: super::Token
#[repr(transparent)]
pub struct DeviceBuffer<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: The buffer is plain bytes, and what is copied out of it has no ties to a thread.
unsafe impl<T> Send for DeviceBuffer<T> {}

// SAFETY: Through a shared reference the buffer can only be read, with volatile accesses; writing
// needs an exclusive one.
unsafe impl<T> Sync for DeviceBuffer<T> {}

impl<T> Default for DeviceBuffer<T> {
    /// Makes a buffer of zeroes.
    fn default() -> Self {
        Self(UnsafeCell::new(MaybeUninit::zeroed()))
    }
}

impl<T> DeviceBuffer<T> {
    /// The size of the buffer, in bytes.
    pub const SIZE: usize = size_of::<T>();

    /// Returns the address of the buffer.
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.0.get().cast()
    }

    /// Writes `bytes` to the start of the buffer.
    ///
    /// This is for a value that the device cannot be mistaken to have written, so that a device
    /// which completes a buffer without writing it is found out.
    #[inline]
    pub fn preset<const N: usize>(&mut self, bytes: [u8; N]) {
        const { assert!(N <= Self::SIZE) };

        // SAFETY: The buffer has at least `N` bytes, and bytes have no alignment.
        unsafe { self.as_ptr().cast::<[u8; N]>().write_volatile(bytes) };
    }

    /// Copies `N` bytes from byte `offset` on out of the buffer.
    #[inline]
    pub fn copy<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset.checked_add(N)? > Self::SIZE {
            return None;
        }

        // SAFETY: `offset + N` is within the buffer, and bytes have no alignment. The device may
        // write at the same time: a volatile read gets some bytes or others, all of them valid.
        Some(unsafe { self.as_ptr().add(offset).cast::<[u8; N]>().read_volatile() })
    }

    /// Copies bytes from byte `offset` on to `to`, as many as both have, and returns how many.
    pub(crate) fn copy_to(&self, offset: usize, to: &mut [u8]) -> usize {
        let len = to.len().min(Self::SIZE.saturating_sub(offset));

        for (i, byte) in to.iter_mut().enumerate().take(len) {
            // SAFETY: `offset + i` is less than `offset + len`, which is within the buffer.
            *byte = unsafe { ptr::read_volatile(self.as_ptr().add(offset + i)) };
        }
        len
    }
}
