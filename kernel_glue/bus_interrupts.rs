// SPDX-License-Identifier: GPL-2.0

//! The interrupts that a bus knows by number, by which CPUs are mapped to queues.
//!
//! Not all buses check the number: virtio-pci reads past its array of virtqueues. This goes when
//! they do.
//!
//! C header: [`include/linux/device/bus.h`](srctree/include/linux/device/bus.h)

use core::{
    marker::PhantomData,
    ptr, //
};
use kernel::bindings;

/// The interrupts of a device whose affinity its bus can be asked for: the numbers that
/// `irq_get_affinity` of `struct bus_type` takes.
///
/// # Invariants
///
/// During `'a` the bus of `device` takes each number below `count`.
pub struct BusInterrupts<'a> {
    device: *const bindings::device,
    count: u32,
    _during: PhantomData<&'a ()>,
}

impl BusInterrupts<'_> {
    /// Names the interrupts of a device, which are numbered from 0 on.
    ///
    /// # Safety
    ///
    /// For as long as the result lives, the bus of `device` must take each number below `count`.
    pub(crate) unsafe fn new(device: *const bindings::device, count: u32) -> Self {
        // INVARIANT: The caller guarantees it.
        Self {
            device,
            count,
            _during: PhantomData,
        }
    }

    /// Returns whether they are those of `device`, and have the `len` numbers from `first` on.
    pub(crate) fn have(&self, device: *const bindings::device, first: u32, len: u32) -> bool {
        ptr::eq(self.device, device)
            && first
                .checked_add(len)
                .is_some_and(|behind| behind <= self.count)
    }
}
