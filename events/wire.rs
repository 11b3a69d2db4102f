// SPDX-License-Identifier: GPL-2.0

//! What comes over the eventq, byte by byte.
//!
//! Virtio 1.3, section 5.6.6.3;
//! [`include/uapi/linux/virtio_scsi.h`](srctree/include/uapi/linux/virtio_scsi.h)
//!
//! This file uses `core` and `queues/wire.rs` alone, because it is also compiled for the host, and
//! tested there.

use crate::queues::wire::{
    Address,
    ByteOrder, //
};

/// `VIRTIO_SCSI_T_EVENTS_MISSED`: the device had events for which it had no buffer.
const MISSED: u32 = 0x8000_0000;

/// `struct virtio_scsi_event`, as it is in memory.
pub type EventBytes = [u8; 16];

/// What a buffer is set to before the device gets it.
///
/// It has an event that does not exist. A device that completes a buffer without writing it has not
/// said anything.
pub const PRESET: EventBytes = [
    0x7f, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
];

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Nothing; this only carries that events were missed.
    Nothing,
    /// The logical unit, or the target, was reset.
    HardReset(Address),
    /// The logical unit is new or has changed. If it is number 0, so may be others of the target.
    Rescan(Address),
    /// The logical unit is gone. If it is number 0, so may be the whole target.
    Removed(Address),
    /// The logical unit has asynchronous notifications: `VIRTIO_SCSI_EVT_ASYNC_*`.
    Notification(Address, u32),
    /// Something about the logical unit has changed: additional sense code and qualifier (SPC).
    Changed(Address, u8, u8),
    /// Nothing that the specification knows.
    Unknown,
}

impl Event {
    /// Returns the logical unit that it is about, if it is about one.
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Nothing | Self::Unknown => None,
            Self::HardReset(address)
            | Self::Rescan(address)
            | Self::Removed(address)
            | Self::Notification(address, _)
            | Self::Changed(address, _, _) => Some(*address),
        }
    }
}

/// What an event buffer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// Whether the device had events before this one for which it had no buffer.
    pub missed: bool,
    /// What happened.
    pub event: Event,
}

impl Report {
    /// Returns what the bytes say.
    pub fn decode(order: ByteOrder, bytes: EventBytes) -> Self {
        let [e0, e1, e2, e3, l0, l1, l2, l3, l4, l5, l6, l7, r0, r1, r2, r3] = bytes;
        let event = order.to_u32([e0, e1, e2, e3]);
        let reason = order.to_u32([r0, r1, r2, r3]);
        let address = Address::decode([l0, l1, l2, l3, l4, l5, l6, l7]);

        Self {
            missed: event & MISSED != 0,
            event: match (event & !MISSED, address) {
                (0, _) => Event::Nothing,
                (1, Some(address)) => match reason {
                    0 => Event::HardReset(address),
                    1 => Event::Rescan(address),
                    2 => Event::Removed(address),
                    _ => Event::Unknown,
                },
                (2, Some(address)) => Event::Notification(address, reason),
                (3, Some(address)) => match reason.to_le_bytes() {
                    [asc, ascq, 0, 0] => Event::Changed(address, asc, ascq),
                    _ => Event::Unknown,
                },
                _ => Event::Unknown,
            },
        }
    }
}
