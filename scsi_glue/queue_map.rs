// SPDX-License-Identifier: GPL-2.0

//! Hardware queues, and the CPUs that use them.
//!
//! # Misuse that does not compile
//!
//! In `examples/scsi_null/misuse/`: a map of other queues than those of the host (E0451). The
//! number of queues is that of [`HostLimits`](super::HostLimits), whatever the driver answers
//! later.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use crate::kernel_glue::BusInterrupts;
use core::marker::PhantomData;
use kernel::bindings;

/// The numbers of hardware queues. Those that interrupt come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueCounts {
    /// Queues whose commands complete by interrupt. At least 1.
    pub interrupt: u32,
    /// Queues whose commands complete by polling.
    pub polled: u32,
}

/// Returns the number of hardware queues that the CPUs of the system can make use of, at most
/// `most`: `blk_mq_num_possible_queues()`.
#[inline]
pub fn possible_queues(most: u32) -> u32 {
    // SAFETY: The function only counts CPUs.
    unsafe { bindings::blk_mq_num_possible_queues(most.min(kernel::cpu::nr_cpu_ids())) }
}

/// The map of CPUs to the hardware queues of one kind: `struct blk_mq_queue_map`.
///
/// # Invariants
///
/// `map` has room for all CPUs. Its queues are queues of the host. `parent` is a valid device,
/// bound during `'a`.
pub struct QueueMap<'a> {
    map: &'a mut bindings::blk_mq_queue_map,
    parent: *mut bindings::device,
    polled: bool,
    _parent: PhantomData<&'a ()>,
}

impl QueueMap<'_> {
    /// Returns whether the queues are polled.
    pub fn is_polled(&self) -> bool {
        self.polled
    }

    /// Spreads the CPUs evenly over the queues: `blk_mq_map_queues()`.
    #[inline]
    pub fn map_queues(self) {
        // SAFETY: By the type invariant the map has room for all CPUs.
        unsafe { bindings::blk_mq_map_queues(self.map) };
    }

    /// Gives each queue the CPUs that its interrupt goes to, or spreads them evenly if the bus of
    /// the parent does not know: `blk_mq_map_hw_queues()`. The interrupt of the first queue is
    /// number `first`.
    ///
    /// If `interrupts` are those of another device, or too few, the CPUs are spread evenly.
    #[inline]
    pub fn map_hw_queues(self, interrupts: &BusInterrupts<'_>, first: u32) {
        if !interrupts.have(self.parent, first, self.map.nr_queues) {
            return self.map_queues();
        }
        // SAFETY: By the type invariant the map has room for all CPUs, and the parent is valid. Its
        // bus takes the numbers of as many interrupts as there are queues.
        unsafe { bindings::blk_mq_map_hw_queues(self.map, self.parent, first) };
    }
}

/// Calls `map` for each kind of hardware queue that a host has.
///
/// # Safety
///
/// `maps` must be those of the tag set of a host that is being added, with `counts` queues, below
/// `parent`.
pub(super) unsafe fn for_each_map(
    maps: &mut [bindings::blk_mq_queue_map],
    counts: QueueCounts,
    parent: *mut bindings::device,
    mut map: impl FnMut(QueueMap<'_>),
) {
    let mut offset = 0;

    for (kind, c_map) in (0..).zip(maps) {
        let polled = kind == bindings::hctx_type_HCTX_TYPE_POLL;

        c_map.nr_queues = match kind {
            bindings::hctx_type_HCTX_TYPE_DEFAULT => counts.interrupt,
            _ if polled => counts.polled,
            _ => 0,
        };
        c_map.queue_offset = offset;
        offset += c_map.nr_queues;

        // A kind that the host does not have has no map to fill.
        if c_map.nr_queues == 0 || c_map.mq_map.is_null() {
            continue;
        }

        // INVARIANT: The block layer has allocated `mq_map` for all CPUs, and the counts are those
        // of the host.
        map(QueueMap {
            map: c_map,
            parent,
            polled,
            _parent: PhantomData,
        });
    }
}
