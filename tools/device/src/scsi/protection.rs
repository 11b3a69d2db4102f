// SPDX-License-Identifier: GPL-2.0-or-later

//! Protection information (SBC-3 4.22): eight bytes for each block, guard, application tag,
//! reference tag.

use std::collections::BTreeMap;

use super::sense::Sense;
use crate::bytes::{be16, be32};

/// The bytes of protection information of a block.
pub const TUPLE: usize = 8;

/// CRC of the T10 guard: polynomial 8BB7h, nothing inverted or reflected (SBC-3 4.22.4).
pub fn guard(data: &[u8]) -> u16 {
    data.iter().fold(0, |crc: u16, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 != 0 {
                (crc << 1) ^ 0x8bb7
            } else {
                crc << 1
            }
        })
    })
}

/// What the tags of a transfer's first block should be.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The reference tag; it counts up with the blocks.
    pub reference: u32,
    /// The application tag and which of its bits count.
    pub application: Option<(u16, u16)>,
}

/// The protection information of a unit's blocks.
#[derive(Debug)]
pub struct Protection {
    /// 0 if the unit is not formatted with it, else 1 to 3.
    pub kind: u8,
    tuples: BTreeMap<u64, [u8; TUPLE]>,
}

impl Protection {
    /// No block has any yet: they read as FFh, which says that nothing is to be checked.
    pub fn new(kind: u8) -> Self {
        Self {
            kind,
            tuples: BTreeMap::new(),
        }
    }

    /// What is stored for a block.
    pub fn get(&self, lba: u64) -> [u8; TUPLE] {
        self.tuples.get(&lba).copied().unwrap_or([0xff; TUPLE])
    }

    /// Stores what came with a block.
    pub fn set(&mut self, lba: u64, tuple: [u8; TUPLE]) {
        if self.kind != 0 {
            self.tuples.insert(lba, tuple);
        }
    }

    /// The block is unmapped.
    pub fn forget(&mut self, lba: u64, blocks: u64) {
        if !self.tuples.is_empty() {
            let gone: Vec<u64> = self
                .tuples
                .range(lba..lba + blocks)
                .map(|(&lba, _)| lba)
                .collect();
            for lba in gone {
                self.tuples.remove(&lba);
            }
        }
    }

    /// What the unit makes for a block that came without.
    pub fn generate(&self, data: &[u8], expected: Expected, index: u64) -> [u8; TUPLE] {
        let mut tuple = [0; TUPLE];
        tuple[..2].copy_from_slice(&guard(data).to_be_bytes());
        let reference = match self.kind {
            3 => u32::MAX,
            _ => expected.reference.wrapping_add(index as u32),
        };
        tuple[4..].copy_from_slice(&reference.to_be_bytes());
        tuple
    }

    /// Checks a block as RDPROTECT, WRPROTECT or VRPROTECT says (SBC-3 tables 56 to 61).
    pub fn check(
        &self,
        protect: u8,
        data: &[u8],
        tuple: [u8; TUPLE],
        expected: Expected,
        index: u64,
    ) -> Result<(), Sense> {
        let application = be16(&tuple, 2);
        let reference = be32(&tuple, 4);
        let escaped = application == 0xffff && (self.kind != 3 || reference == u32::MAX);
        if self.kind == 0 || protect == 3 || escaped {
            return Ok(());
        }
        if protect != 2 && guard(data) != be16(&tuple, 0) {
            return Err(Sense::GUARD);
        }
        if protect == 4 {
            return Ok(());
        }
        if let Some((tag, mask)) = expected.application {
            if application & mask != tag & mask {
                return Err(Sense::APPLICATION_TAG);
            }
        }
        if self.kind != 3 && reference != expected.reference.wrapping_add(index as u32) {
            return Err(Sense::REFERENCE_TAG);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Expected = Expected {
        reference: 5,
        application: None,
    };

    #[test]
    fn guard_is_the_standards() {
        // SBC-3 table 33: 32 bytes of zeros, of ones, and counting up.
        assert_eq!(guard(&[0; 32]), 0x0000);
        assert_eq!(guard(&[0xff; 32]), 0xa293);
        assert_eq!(guard(&(0..32).collect::<Vec<u8>>()), 0x0224);
        assert_eq!(guard(b"123456789"), 0xd0db);
    }

    #[test]
    fn what_was_generated_checks() {
        for kind in 1..=3 {
            let protection = Protection::new(kind);
            let data = [kind; 512];
            let tuple = protection.generate(&data, FIRST, 2);
            assert_eq!(protection.check(1, &data, tuple, FIRST, 2), Ok(()));
            assert_eq!(
                protection.check(1, &[0x55; 512], tuple, FIRST, 2),
                Err(Sense::GUARD)
            );
            assert_eq!(protection.check(3, &[0x55; 512], tuple, FIRST, 2), Ok(()));
        }
    }

    #[test]
    fn tags_are_checked_where_the_type_has_them() {
        let data = [1; 512];
        let tuple = Protection::new(1).generate(&data, FIRST, 0);
        let other = Protection::new(1).check(1, &data, tuple, FIRST, 1);
        assert_eq!(other, Err(Sense::REFERENCE_TAG));
        assert_eq!(Protection::new(3).check(1, &data, tuple, FIRST, 1), Ok(()));
        assert_eq!(Protection::new(1).check(4, &data, tuple, FIRST, 1), Ok(()));
        let tagged = Expected {
            reference: 5,
            application: Some((0x1200, 0xff00)),
        };
        let failed = Protection::new(2).check(1, &data, tuple, tagged, 0);
        assert_eq!(failed, Err(Sense::APPLICATION_TAG));
    }

    #[test]
    fn blocks_never_written_are_not_checked() {
        let protection = Protection::new(1);
        assert_eq!(
            protection.check(1, &[0; 512], protection.get(9), FIRST, 0),
            Ok(())
        );
    }
}
