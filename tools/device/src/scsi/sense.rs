// SPDX-License-Identifier: GPL-2.0-or-later

//! Status codes and sense data (SAM-5 5.3, SPC-4 4.5).

/// Status codes of SAM-5 table 33.
pub mod status {
    /// GOOD
    pub const GOOD: u8 = 0x00;
    /// CHECK CONDITION
    pub const CHECK_CONDITION: u8 = 0x02;
    /// CONDITION MET
    pub const CONDITION_MET: u8 = 0x04;
    /// RESERVATION CONFLICT
    pub const RESERVATION_CONFLICT: u8 = 0x18;

    /// The names a scenario may use.
    pub const NAMES: &[(&str, u8)] = &[
        ("good", GOOD),
        ("check_condition", CHECK_CONDITION),
        ("condition_met", CONDITION_MET),
        ("busy", 0x08),
        ("intermediate", 0x10),
        ("intermediate_condition_met", 0x14),
        ("reservation_conflict", RESERVATION_CONFLICT),
        ("command_terminated", 0x22),
        ("task_set_full", 0x28),
        ("aca_active", 0x30),
        ("task_aborted", 0x40),
    ];
}

/// A sense key with its additional code, and the INFORMATION field if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// SENSE KEY
    pub key: u8,
    /// ADDITIONAL SENSE CODE
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER
    pub ascq: u8,
    /// INFORMATION
    pub information: Option<u64>,
}

impl Sense {
    /// NO SENSE
    pub const NONE: Self = Self::new(0x0, 0x00, 0x00);
    /// LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED
    pub const STOPPED: Self = Self::new(0x2, 0x04, 0x02);
    /// MEDIUM NOT PRESENT
    pub const NO_MEDIUM: Self = Self::new(0x2, 0x3a, 0x00);
    /// WRITE ERROR, when a backing file refuses
    pub const WRITE_ERROR: Self = Self::new(0x3, 0x0c, 0x00);
    /// UNRECOVERED READ ERROR, when a backing file refuses
    pub const READ_ERROR: Self = Self::new(0x3, 0x11, 0x00);
    /// PARAMETER LIST LENGTH ERROR
    pub const LIST_LENGTH: Self = Self::new(0x5, 0x1a, 0x00);
    /// INVALID COMMAND OPERATION CODE
    pub const OPCODE: Self = Self::new(0x5, 0x20, 0x00);
    /// LOGICAL BLOCK ADDRESS OUT OF RANGE
    pub const LBA_RANGE: Self = Self::new(0x5, 0x21, 0x00);
    /// INVALID FIELD IN CDB
    pub const CDB_FIELD: Self = Self::new(0x5, 0x24, 0x00);
    /// LOGICAL UNIT NOT SUPPORTED
    pub const NO_UNIT: Self = Self::new(0x5, 0x25, 0x00);
    /// INVALID FIELD IN PARAMETER LIST
    pub const PARAMETER: Self = Self::new(0x5, 0x26, 0x00);
    /// INVALID RELEASE OF PERSISTENT RESERVATION
    pub const INVALID_RELEASE: Self = Self::new(0x5, 0x26, 0x04);
    /// SAVING PARAMETERS NOT SUPPORTED
    pub const NO_SAVING: Self = Self::new(0x5, 0x39, 0x00);
    /// MEDIUM REMOVAL PREVENTED
    pub const REMOVAL_PREVENTED: Self = Self::new(0x5, 0x53, 0x02);
    /// NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED
    pub const MEDIUM_CHANGED: Self = Self::new(0x6, 0x28, 0x00);
    /// POWER ON, RESET, OR BUS DEVICE RESET OCCURRED
    pub const POWER_ON: Self = Self::new(0x6, 0x29, 0x00);
    /// BUS DEVICE RESET FUNCTION OCCURRED
    pub const UNIT_RESET: Self = Self::new(0x6, 0x29, 0x03);
    /// I_T NEXUS LOSS OCCURRED
    pub const NEXUS_LOSS: Self = Self::new(0x6, 0x29, 0x07);
    /// CAPACITY DATA HAS CHANGED
    pub const CAPACITY: Self = Self::new(0x6, 0x2a, 0x09);
    /// RESERVATIONS PREEMPTED
    pub const PREEMPTED: Self = Self::new(0x6, 0x2a, 0x03);
    /// REPORTED LUNS DATA HAS CHANGED
    pub const LUNS_CHANGED: Self = Self::new(0x6, 0x3f, 0x0e);
    /// WRITE PROTECTED
    pub const WRITE_PROTECTED: Self = Self::new(0x7, 0x27, 0x00);
    /// LOGICAL BLOCK GUARD CHECK FAILED
    pub const GUARD: Self = Self::new(0xb, 0x10, 0x01);
    /// LOGICAL BLOCK APPLICATION TAG CHECK FAILED
    pub const APPLICATION_TAG: Self = Self::new(0xb, 0x10, 0x02);
    /// LOGICAL BLOCK REFERENCE TAG CHECK FAILED
    pub const REFERENCE_TAG: Self = Self::new(0xb, 0x10, 0x03);
    /// MISCOMPARE DURING VERIFY OPERATION
    pub const MISCOMPARE: Self = Self::new(0xe, 0x1d, 0x00);

    /// A sense without INFORMATION.
    pub const fn new(key: u8, asc: u8, ascq: u8) -> Self {
        Self {
            key,
            asc,
            ascq,
            information: None,
        }
    }

    /// The same with INFORMATION.
    pub const fn at(mut self, information: u64) -> Self {
        self.information = Some(information);
        self
    }

    /// Fixed format sense data, 18 bytes (SPC-4 4.5.3).
    pub fn fixed(&self) -> Vec<u8> {
        let mut data = vec![0; 18];
        data[0] = 0x70;
        data[2] = self.key;
        if let Some(Ok(information)) = self.information.map(u32::try_from) {
            data[0] |= 0x80;
            data[3..7].copy_from_slice(&information.to_be_bytes());
        }
        data[7] = 10;
        data[12] = self.asc;
        data[13] = self.ascq;
        data
    }

    /// Descriptor format sense data (SPC-4 4.5.2).
    pub fn descriptor(&self) -> Vec<u8> {
        let mut data = vec![0x72, self.key, self.asc, self.ascq, 0, 0, 0, 0];
        if let Some(information) = self.information {
            data[7] = 12;
            data.extend([0x00, 0x0a, 0x80, 0x00]);
            data.extend(information.to_be_bytes());
        }
        data
    }
}

/// Why a command did not end with GOOD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// CHECK CONDITION with this sense.
    Check(Sense),
    /// Another status.
    Status(u8),
    /// The CDB wants more data than the buffers hold: response OVERRUN (virtio 1.3, 5.6.6.1.3).
    Overrun,
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Self {
        Self::Check(sense)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_format_has_key_codes_and_information() {
        let data = Sense::LBA_RANGE.at(0x1234).fixed();
        assert_eq!(data.len(), 18);
        assert_eq!((data[0], data[2], data[12], data[13]), (0xf0, 5, 0x21, 0));
        assert_eq!(data[3..7], [0, 0, 0x12, 0x34]);
        assert_eq!(Sense::LBA_RANGE.at(1 << 32).fixed()[0], 0x70);
    }

    #[test]
    fn descriptor_format_carries_wide_information() {
        let data = Sense::MISCOMPARE.at(1 << 40).descriptor();
        assert_eq!(data.len(), 8 + usize::from(data[7]));
        assert_eq!((data[0], data[1], data[2]), (0x72, 0xe, 0x1d));
        assert_eq!(data[12..20], (1u64 << 40).to_be_bytes());
    }
}
