// SPDX-License-Identifier: GPL-2.0-or-later

//! The bytes of the virtio SCSI host device (virtio 1.3, 5.6): requests, responses, events, and the
//! codes in them. The layout with protection information is that of Linux' `virtio_scsi.h`.

use serde_json::{json, Value};

use crate::bytes::{hex, le32, le64};

/// Index of the control queue.
pub const CONTROL_QUEUE: usize = 0;
/// Index of the event queue.
pub const EVENT_QUEUE: usize = 1;
/// Index of the first request queue.
pub const FIRST_REQUEST_QUEUE: usize = 2;
/// Bytes of an event (5.6.6.3).
pub const EVENT_SIZE: usize = 16;
/// Bytes of a response before its sense data (5.6.6.1).
pub const RESPONSE_SIZE: usize = 12;
/// The flag of an event that says that others were lost.
pub const EVENTS_MISSED: u32 = 0x8000_0000;

/// Feature bits.
pub mod feature {
    /// HOTPLUG
    pub const HOTPLUG: u64 = 1 << 1;
    /// T10_PI
    pub const T10_PI: u64 = 1 << 3;
    /// RING_INDIRECT_DESC
    pub const INDIRECT: u64 = 1 << 28;
    /// RING_EVENT_IDX
    pub const EVENT_IDX: u64 = 1 << 29;
    /// vhost-user's PROTOCOL_FEATURES
    pub const PROTOCOL: u64 = 1 << 30;
    /// RING_PACKED
    pub const PACKED: u64 = 1 << 34;

    /// The names a scenario may use, with their bits.
    pub const NAMES: &[(&str, u8)] = &[
        ("inout", 0),
        ("hotplug", 1),
        ("change", 2),
        ("t10_pi", 3),
        ("notify_on_empty", 24),
        ("any_layout", 27),
        ("indirect_desc", 28),
        ("event_idx", 29),
        ("version_1", 32),
        ("access_platform", 33),
        ("ring_packed", 34),
        ("in_order", 35),
        ("order_platform", 36),
        ("notification_data", 38),
        ("ring_reset", 40),
    ];
}

/// Response codes of commands, TMFs and AN requests.
pub mod response {
    /// OK, and FUNCTION COMPLETE of a TMF
    pub const OK: u8 = 0;
    /// OVERRUN
    pub const OVERRUN: u8 = 1;
    /// ABORTED
    pub const ABORTED: u8 = 2;
    /// BAD_TARGET
    pub const BAD_TARGET: u8 = 3;
    /// RESET
    pub const RESET: u8 = 4;
    /// FAILURE
    pub const FAILURE: u8 = 9;
    /// FUNCTION_SUCCEEDED
    pub const SUCCEEDED: u8 = 10;
    /// FUNCTION_REJECTED
    pub const REJECTED: u8 = 11;
    /// INCORRECT_LUN
    pub const INCORRECT_LUN: u8 = 12;

    /// The names a scenario may use.
    pub const NAMES: &[(&str, u8)] = &[
        ("ok", OK),
        ("function_complete", OK),
        ("overrun", OVERRUN),
        ("aborted", ABORTED),
        ("bad_target", BAD_TARGET),
        ("reset", RESET),
        ("busy", 5),
        ("transport_failure", 6),
        ("target_failure", 7),
        ("nexus_failure", 8),
        ("failure", FAILURE),
        ("function_succeeded", SUCCEEDED),
        ("function_rejected", REJECTED),
        ("incorrect_lun", INCORRECT_LUN),
    ];
}

/// Task management functions.
pub mod tmf {
    /// ABORT TASK
    pub const ABORT_TASK: u32 = 0;
    /// ABORT TASK SET
    pub const ABORT_TASK_SET: u32 = 1;
    /// CLEAR TASK SET
    pub const CLEAR_TASK_SET: u32 = 3;
    /// I_T NEXUS RESET
    pub const NEXUS_RESET: u32 = 4;
    /// LOGICAL UNIT RESET
    pub const UNIT_RESET: u32 = 5;
    /// QUERY TASK
    pub const QUERY_TASK: u32 = 6;
    /// QUERY TASK SET
    pub const QUERY_TASK_SET: u32 = 7;

    /// The names a scenario may use.
    pub const NAMES: &[(&str, u32)] = &[
        ("abort_task", ABORT_TASK),
        ("abort_task_set", ABORT_TASK_SET),
        ("clear_aca", 2),
        ("clear_task_set", CLEAR_TASK_SET),
        ("i_t_nexus_reset", NEXUS_RESET),
        ("logical_unit_reset", UNIT_RESET),
        ("query_task", QUERY_TASK),
        ("query_task_set", QUERY_TASK_SET),
    ];
}

/// Event codes, and the reasons of TRANSPORT_RESET.
pub mod event {
    /// TRANSPORT_RESET
    pub const TRANSPORT_RESET: u32 = 1;
    /// ASYNC_NOTIFY
    pub const ASYNC_NOTIFY: u32 = 2;
    /// PARAM_CHANGE
    pub const PARAM_CHANGE: u32 = 3;
    /// RESCAN
    pub const RESCAN: u32 = 1;
    /// REMOVED
    pub const REMOVED: u32 = 2;
    /// The media change bit of ASYNC_NOTIFY.
    pub const MEDIA_CHANGE: u32 = 16;

    /// The names a scenario may use.
    pub const NAMES: &[(&str, u32)] = &[
        ("no_event", 0),
        ("transport_reset", TRANSPORT_RESET),
        ("async_notify", ASYNC_NOTIFY),
        ("param_change", PARAM_CHANGE),
    ];
    /// Names of reasons.
    pub const REASONS: &[(&str, u32)] = &[("hard", 0), ("rescan", RESCAN), ("removed", REMOVED)];
}

/// The name of a number.
pub fn name_of<T: PartialEq + Copy>(
    names: &[(&'static str, T)],
    number: T,
) -> Option<&'static str> {
    names
        .iter()
        .find(|(_, n)| *n == number)
        .map(|(name, _)| *name)
}

/// Whom a LUN field addresses (5.6.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A logical unit.
    Unit {
        /// Target
        target: u8,
        /// LUN
        lun: u16,
    },
    /// The REPORT LUNS well-known unit.
    ReportLuns,
    /// None that the specification knows.
    Unknown,
}

impl Address {
    /// Decodes the eight bytes.
    pub fn of(lun: &[u8; 8]) -> Self {
        let number = u16::from_be_bytes([lun[2], lun[3]]);
        match (lun[0], number >> 14) {
            (0xc1, _) if lun[1] == 0x01 => Self::ReportLuns,
            (1, 0) if number > 0xff => Self::Unknown,
            (1, 0 | 1) => Self::Unit {
                target: lun[1],
                lun: number & 0x3fff,
            },
            _ => Self::Unknown,
        }
    }

    /// The eight bytes as QEMU writes them in events: peripheral addressing below 256, flat above.
    pub fn bytes(target: u8, lun: u16) -> [u8; 8] {
        let [high, low] = if lun < 256 { lun } else { lun | 0x4000 }.to_be_bytes();
        [1, target, high, low, 0, 0, 0, 0]
    }

    /// For logs and statistics.
    pub fn name(&self) -> String {
        match self {
            Self::Unit { target, lun } => format!("{target}:{lun}"),
            Self::ReportLuns => "report-luns".into(),
            Self::Unknown => "unknown".into(),
        }
    }
}

/// The device-readable head of a command request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandHeader {
    /// Logical unit number, as it came.
    pub lun: [u8; 8],
    /// Command identifier.
    pub tag: u64,
    /// Task attribute.
    pub task_attr: u8,
    /// SAM command priority.
    pub prio: u8,
    /// Command reference number.
    pub crn: u8,
    /// Bytes of protection information before the data-out.
    pub pi_out: u32,
    /// Bytes of protection information before the data-in.
    pub pi_in: u32,
    /// The CDB, as many bytes as the configuration says.
    pub cdb: Vec<u8>,
}

impl CommandHeader {
    /// How long it is.
    pub fn size(protection: bool, cdb_size: usize) -> usize {
        19 + if protection { 8 } else { 0 } + cdb_size
    }

    /// Decodes it, if all of it is there.
    pub fn parse(bytes: &[u8], protection: bool, cdb_size: usize) -> Option<Self> {
        if bytes.len() < Self::size(protection, cdb_size) {
            return None;
        }
        let cdb_at = if protection { 27 } else { 19 };
        Some(Self {
            lun: bytes[..8].try_into().ok()?,
            tag: le64(bytes, 8),
            task_attr: bytes[16],
            prio: bytes[17],
            crn: bytes[18],
            pi_out: if protection { le32(bytes, 19) } else { 0 },
            pi_in: if protection { le32(bytes, 23) } else { 0 },
            cdb: bytes[cdb_at..cdb_at + cdb_size].to_vec(),
        })
    }
}

/// A request on the control queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRequest {
    /// Task management function.
    Tmf {
        /// Which one.
        subtype: u32,
        /// Logical unit number.
        lun: [u8; 8],
        /// The tag of the task it is about.
        tag: u64,
    },
    /// Asynchronous notification query or subscription.
    Notification {
        /// Whether it is a subscription.
        subscribe: bool,
        /// Logical unit number.
        lun: [u8; 8],
        /// Event bits.
        requested: u32,
    },
    /// Neither.
    Unknown(Vec<u8>),
}

impl ControlRequest {
    /// Decodes the device-readable bytes.
    pub fn parse(bytes: &[u8]) -> Self {
        let lun = |at: usize| bytes.get(at..at + 8).and_then(|lun| lun.try_into().ok());
        match (bytes.len(), le32(bytes, 0)) {
            (24.., 0) => Self::Tmf {
                subtype: le32(bytes, 4),
                lun: lun(8).unwrap_or_default(),
                tag: le64(bytes, 16),
            },
            (16.., kind @ (1 | 2)) => Self::Notification {
                subscribe: kind == 2,
                lun: lun(4).unwrap_or_default(),
                requested: le32(bytes, 12),
            },
            _ => Self::Unknown(bytes.to_vec()),
        }
    }
}

/// A command's response (5.6.6.1), to be followed by sense data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeader {
    /// Bytes of sense data.
    pub sense_len: u32,
    /// Residual
    pub residual: u32,
    /// Status qualifier
    pub status_qualifier: u16,
    /// SCSI status
    pub status: u8,
    /// Response code
    pub response: u8,
}

impl ResponseHeader {
    /// Its bytes.
    pub fn bytes(&self) -> [u8; RESPONSE_SIZE] {
        let mut bytes = [0; RESPONSE_SIZE];
        bytes[..4].copy_from_slice(&self.sense_len.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.residual.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.status_qualifier.to_le_bytes());
        bytes[10] = self.status;
        bytes[11] = self.response;
        bytes
    }
}

/// An event (5.6.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Code, and the flag EVENTS_MISSED.
    pub event: u32,
    /// Logical unit number.
    pub lun: [u8; 8],
    /// Reason
    pub reason: u32,
}

impl Event {
    /// Its bytes.
    pub fn bytes(&self) -> [u8; EVENT_SIZE] {
        let mut bytes = [0; EVENT_SIZE];
        bytes[..4].copy_from_slice(&self.event.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.lun);
        bytes[12..].copy_from_slice(&self.reason.to_le_bytes());
        bytes
    }

    /// For the log.
    pub fn json(&self) -> Value {
        json!({
            "event": self.event & !EVENTS_MISSED,
            "missed": self.event & EVENTS_MISSED != 0,
            "lun": hex(&self.lun),
            "reason": self.reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let unit = |target, lun| Address::Unit { target, lun };
        assert_eq!(Address::of(&[1, 5, 0x40, 7, 0, 0, 0, 0]), unit(5, 7));
        assert_eq!(Address::of(&[1, 5, 0, 7, 0, 0, 0, 0]), unit(5, 7));
        assert_eq!(Address::of(&[1, 255, 0x41, 0, 0, 0, 0, 0]), unit(255, 256));
        assert_eq!(
            Address::of(&[0xc1, 1, 0, 0, 0, 0, 0, 0]),
            Address::ReportLuns
        );
        assert_eq!(Address::of(&[0, 0, 0, 0, 0, 0, 0, 0]), Address::Unknown);
        assert_eq!(Address::of(&[1, 0, 0x80, 0, 0, 0, 0, 0]), Address::Unknown);
        for lun in [0, 255, 256, 16383] {
            assert_eq!(Address::of(&Address::bytes(3, lun)), unit(3, lun));
        }
    }

    #[test]
    fn protection_fields_come_before_the_cdb() {
        let mut bytes = vec![0; CommandHeader::size(true, 32)];
        bytes[19] = 8;
        bytes[24] = 1;
        bytes[27] = 0x28;
        let header = CommandHeader::parse(&bytes, true, 32).unwrap();
        assert_eq!((header.pi_out, header.pi_in, header.cdb[0]), (8, 256, 0x28));
        assert_eq!(CommandHeader::parse(&bytes[..58], true, 32), None);
    }

    #[test]
    fn control_requests() {
        let mut bytes = [0; 24];
        bytes[4] = 5;
        bytes[16] = 9;
        let tmf = ControlRequest::Tmf {
            subtype: 5,
            lun: [0; 8],
            tag: 9,
        };
        assert_eq!(ControlRequest::parse(&bytes), tmf);
        assert!(matches!(
            ControlRequest::parse(&bytes[..20]),
            ControlRequest::Unknown(_)
        ));
        bytes[0] = 2;
        bytes[12] = 16;
        assert!(matches!(
            ControlRequest::parse(&bytes[..16]),
            ControlRequest::Notification {
                subscribe: true,
                requested: 16,
                ..
            }
        ));
    }
}
