// SPDX-License-Identifier: GPL-2.0

//! The buffers of the eventq, byte by byte.
//!
//! Virtio 1.3, section 5.6.6.3.

use super::{
    address::Address,
    byte_order::ByteOrder, //
};

/// `VIRTIO_SCSI_T_EVENTS_MISSED`: the device had events for which it had no buffer.
const MISSED: u32 = 0x8000_0000;

/// `struct virtio_scsi_event`, in the device's byte order.
pub type EventBytes = [u8; 16];

/// The content of a buffer when it is posted. A device that completes the buffer without writing
/// to it has reported an event that does not exist.
///
/// The first four bytes are the same in either byte order, and do not have [`MISSED`] set.
pub const PRESET: EventBytes = [
    0x7f, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
];

/// An event: `VIRTIO_SCSI_T_*`, and for a transport reset `VIRTIO_SCSI_EVT_RESET_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// `VIRTIO_SCSI_T_NO_EVENT`: the buffer only reports that events were missed.
    NoEvent,
    /// The logical unit, or its target, was reset.
    HardReset(Address),
    /// The logical unit is new or has changed. LUN 0 stands for the other units of its target, too.
    Rescan(Address),
    /// The logical unit was removed. LUN 0 can stand for its target.
    Removed(Address),
    /// The logical unit has asynchronous notifications.
    AsyncNotify {
        /// The logical unit.
        address: Address,
        /// `VIRTIO_SCSI_EVT_ASYNC_*`, a bit each.
        events: u32,
    },
    /// A parameter of the logical unit has changed.
    ParameterChange {
        /// The logical unit.
        address: Address,
        /// Additional sense code (SPC).
        asc: u8,
        /// Additional sense code qualifier (SPC).
        ascq: u8,
    },
    /// An event that is not in the specification.
    Unknown,
}

impl Event {
    /// Returns its name in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoEvent => "none",
            Self::HardReset(_) => "hard_reset",
            Self::Rescan(_) => "rescan",
            Self::Removed(_) => "removed",
            Self::AsyncNotify { .. } => "async_notify",
            Self::ParameterChange { .. } => "parameter_change",
            Self::Unknown => "unknown",
        }
    }

    /// Returns what it tells besides: the mask of asynchronous notifications, or additional sense
    /// code and qualifier as `0xQQCC`, as the device has them.
    pub fn detail(&self) -> u32 {
        match self {
            Self::AsyncNotify { events, .. } => *events,
            Self::ParameterChange { asc, ascq, .. } => u16::from_le_bytes([*asc, *ascq]).into(),
            _ => 0,
        }
    }

    /// Returns the logical unit of the event, if it has one.
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::NoEvent | Self::Unknown => None,
            Self::HardReset(address)
            | Self::Rescan(address)
            | Self::Removed(address)
            | Self::AsyncNotify { address, .. }
            | Self::ParameterChange { address, .. } => Some(*address),
        }
    }
}

/// The content of a completed buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventInfo {
    /// Whether the device had events before this one for which it had no buffer.
    pub missed: bool,
    /// The event.
    pub event: Event,
}

impl EventInfo {
    /// Decodes `struct virtio_scsi_event`.
    pub fn decode(order: ByteOrder, bytes: EventBytes) -> Self {
        let [e0, e1, e2, e3, l0, l1, l2, l3, l4, l5, l6, l7, r0, r1, r2, r3] = bytes;
        let event = order.to_u32([e0, e1, e2, e3]);
        let reason = order.to_u32([r0, r1, r2, r3]);
        let address = Address::decode([l0, l1, l2, l3, l4, l5, l6, l7]);

        Self {
            missed: event & MISSED != 0,
            event: match (event & !MISSED, address) {
                (0, _) => Event::NoEvent,
                (1, Some(address)) => match reason {
                    0 => Event::HardReset(address),
                    1 => Event::Rescan(address),
                    2 => Event::Removed(address),
                    _ => Event::Unknown,
                },
                (2, Some(address)) => Event::AsyncNotify {
                    address,
                    events: reason,
                },
                (3, Some(address)) => match reason.to_le_bytes() {
                    [asc, ascq, 0, 0] => Event::ParameterChange { address, asc, ascq },
                    _ => Event::Unknown,
                },
                _ => Event::Unknown,
            },
        }
    }
}
