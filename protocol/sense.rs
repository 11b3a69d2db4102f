// SPDX-License-Identifier: GPL-2.0

//! Sense data: the reason for CHECK CONDITION, or a unit attention.
//!
//! SPC-4, section 4.5.

/// The length of sense data up to the last byte that [`SenseCode::decode`] reads, in bytes.
pub const SENSE_HEAD: usize = 14;

/// UNIT ATTENTION: the logical unit reports, once to each initiator, that something has happened.
pub const KEY_UNIT_ATTENTION: u8 = 0x06;

/// ILLEGAL REQUEST: the logical unit does not support the request.
pub const KEY_ILLEGAL_REQUEST: u8 = 0x05;

/// HARDWARE ERROR.
const KEY_HARDWARE_ERROR: u8 = 0x04;

/// NOT READY: the logical unit cannot be accessed.
const KEY_NOT_READY: u8 = 0x02;

/// MEDIUM NOT PRESENT.
const ASC_NO_MEDIUM: u8 = 0x3a;

/// LOGICAL UNIT NOT SUPPORTED: the logical unit does not exist.
const ASC_NOT_SUPPORTED: u8 = 0x25;

/// Sense key, additional sense code and its qualifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenseCode {
    /// Sense key.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
}

impl SenseCode {
    /// INVALID COMMAND OPERATION CODE, for a command that the driver cannot send.
    pub const INVALID_COMMAND: Self = Self {
        key: KEY_ILLEGAL_REQUEST,
        asc: 0x20,
        ascq: 0x00,
    };

    /// INTERNAL TARGET FAILURE, for a command that fails on all paths.
    pub const TARGET_FAILURE: Self = Self {
        key: KEY_HARDWARE_ERROR,
        asc: 0x44,
        ascq: 0x00,
    };

    /// Decodes current sense data in the fixed or the descriptor format, of which the first `len`
    /// bytes are valid. A code beyond them is 0.
    pub fn decode(bytes: [u8; SENSE_HEAD], len: usize) -> Option<Self> {
        let at = |index: usize| {
            bytes
                .get(index)
                .copied()
                .filter(|_| index < len)
                .unwrap_or(0)
        };

        match at(0) & 0x7f {
            0x70 => Some(Self {
                key: at(2) & 0x0f,
                asc: at(12),
                ascq: at(13),
            }),
            0x72 => Some(Self {
                key: at(1) & 0x0f,
                asc: at(2),
                ascq: at(3),
            }),
            // Deferred errors concern an earlier command; other values are vendor specific.
            _ => None,
        }
    }

    /// Returns whether the logical unit has no medium.
    pub fn is_no_medium(self) -> bool {
        self.key == KEY_NOT_READY && self.asc == ASC_NO_MEDIUM
    }

    /// Returns whether the logical unit does not exist.
    pub fn is_not_there(self) -> bool {
        self.key == KEY_ILLEGAL_REQUEST && self.asc == ASC_NOT_SUPPORTED
    }
}
