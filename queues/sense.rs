// SPDX-License-Identifier: GPL-2.0

//! Sense data: why a command ended with CHECK CONDITION, or that a logical unit reports something.
//!
//! SPC-4, section 4.5.
//!
//! This file uses `core` alone, because it is also compiled for the host, and tested there.

/// How many bytes of sense data have all that [`Sense`] is about.
pub const SENSE_HEAD: usize = 14;

/// UNIT ATTENTION: something has happened to the logical unit, of which this initiator is told once.
pub const KEY_UNIT_ATTENTION: u8 = 0x06;

/// ILLEGAL REQUEST: the logical unit does not do what it was asked for.
pub const KEY_ILLEGAL_REQUEST: u8 = 0x05;

/// NOT READY: the logical unit cannot be accessed.
const KEY_NOT_READY: u8 = 0x02;

/// MEDIUM NOT PRESENT.
const ASC_NO_MEDIUM: u8 = 0x3a;

/// LOGICAL UNIT NOT SUPPORTED: there is no such logical unit.
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
    /// Returns what current sense data say, in the fixed or the descriptor format. `len` is how many of the bytes
    /// there are. A code that is not there is 0.
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
            // Deferred errors are about an earlier command, and others are not from SPC.
            _ => None,
        }
    }

    /// Returns whether it says that there is no medium in the logical unit.
    pub fn is_no_medium(self) -> bool {
        self.key == KEY_NOT_READY && self.asc == ASC_NO_MEDIUM
    }

    /// Returns whether it says that there is no such logical unit.
    pub fn is_not_there(self) -> bool {
        self.key == KEY_ILLEGAL_REQUEST && self.asc == ASC_NOT_SUPPORTED
    }
}
