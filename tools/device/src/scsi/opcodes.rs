// SPDX-License-Identifier: GPL-2.0-or-later

//! The commands that logical units know: names for scenarios, the length each CDB asks for, and the
//! usage maps that REPORT SUPPORTED OPERATION CODES returns (SPC-4 6.27).

use super::opcode_table::OPCODES;
use crate::bytes::be;

/// Which units a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Every unit.
    All,
    /// Direct access block devices.
    Disk,
    /// CD-ROMs.
    Cdrom,
}

/// What a CDB says about the length of its data: a field's offset and width in the CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// No data.
    None,
    /// Data to the initiator, at most as many bytes as the allocation length.
    In(u8, u8),
    /// Data to the initiator of this many blocks.
    InBlocks(u8, u8),
    /// Data from the initiator, as many bytes as the parameter list length.
    Out(u8, u8),
    /// Data from the initiator of this many blocks.
    OutBlocks(u8, u8),
    /// COMPARE AND WRITE: twice this many blocks.
    OutTwice(u8, u8),
    /// VERIFY: blocks if BYTCHK is 1, one block if 3, else none.
    Compare(u8, u8),
    /// WRITE SAME: one block unless NDOB.
    OneBlock,
}

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct Opcode {
    /// OPERATION CODE
    pub code: u8,
    /// SERVICE ACTION, if the code has several commands.
    pub action: Option<u16>,
    /// The standard's name, words joined by underscores.
    pub name: &'static str,
    /// What data it has.
    pub transfer: Transfer,
    /// Who knows it.
    pub on: For,
    /// The CDB usage map; its length is that of the CDB.
    pub usage: &'static [u8],
}

/// The SERVICE ACTION of a CDB whose operation code has them.
pub fn service_action(cdb: &[u8]) -> Option<u16> {
    match cdb.first()? {
        0x5e | 0x5f | 0x9e | 0xa3 => Some(u16::from(*cdb.get(1)? & 0x1f)),
        0x7f => Some(be(cdb, 8, 2) as u16),
        _ => None,
    }
}

/// The command a CDB is, if a unit of that kind knows it.
pub fn find(cdb: &[u8], cdrom: bool) -> Option<&'static Opcode> {
    let (code, action) = (*cdb.first()?, service_action(cdb));
    OPCODES
        .iter()
        .find(|op| op.code == code && op.action == action && op.known_to(cdrom))
}

/// The operation code and service action of a name, for scenarios.
pub fn by_name(name: &str) -> Option<(u8, Option<u16>)> {
    let name = name.to_ascii_uppercase();
    OPCODES
        .iter()
        .find(|op| op.name == name)
        .map(|op| (op.code, op.action))
}

/// A CDB's name, for logs; hexadecimal if it has none.
pub fn name(cdb: &[u8]) -> String {
    find(cdb, false).or_else(|| find(cdb, true)).map_or_else(
        || format!("{:02x}", cdb.first().copied().unwrap_or(0)),
        |op| op.name.to_owned(),
    )
}

impl Opcode {
    /// Whether units of that kind know it.
    pub fn known_to(&self, cdrom: bool) -> bool {
        match self.on {
            For::All => true,
            For::Disk => !cdrom,
            For::Cdrom => cdrom,
        }
    }

    /// How many bytes the CDB wants in the data-out and data-in buffers. `extra` is what each block
    /// carries besides its data.
    pub fn wants(&self, cdb: &[u8], block: u64, extra: u64) -> (u64, u64) {
        let count = |at: u8, width: u8| be(cdb, at.into(), width.into());
        use Transfer::{
            Compare, In, InBlocks, None as Nothing, OneBlock, Out, OutBlocks, OutTwice,
        };

        let block = block + extra;
        // 0 means 256 in READ (6) and WRITE (6).
        let blocks = |at, width| match count(at, width) {
            0 if width == 1 && cdb[0] < 0x20 => 256,
            n => n,
        };
        match self.transfer {
            Nothing => (0, 0),
            // READ CAPACITY (10) has no allocation length.
            In(_, 0) => (0, 8),
            In(at, width) => (0, count(at, width)),
            InBlocks(at, width) => (0, blocks(at, width) * block),
            Out(at, width) => (count(at, width), 0),
            OutBlocks(at, width) => (blocks(at, width) * block, 0),
            OutTwice(at, width) => (2 * count(at, width) * block, 0),
            Compare(at, width) => match self.byte_check(cdb) {
                0 => (0, 0),
                3 if count(at, width) > 0 => (block, 0),
                _ => (count(at, width) * block, 0),
            },
            OneBlock if self.no_data_out(cdb) => (0, 0),
            OneBlock => (block, 0),
        }
    }

    /// BYTCHK of VERIFY and WRITE AND VERIFY.
    pub fn byte_check(&self, cdb: &[u8]) -> u8 {
        let flags = if self.code == 0x7f { cdb[10] } else { cdb[1] };
        (flags >> 1) & 3
    }

    /// NDOB of WRITE SAME (16) and (32).
    pub fn no_data_out(&self, cdb: &[u8]) -> bool {
        match self.code {
            0x93 => cdb[1] & 1 != 0,
            0x7f => cdb[10] & 1 != 0,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_maps_fit_their_opcodes() {
        for op in OPCODES {
            assert_eq!(op.usage[0], op.code, "{}", op.name);
            let length = match op.code >> 5 {
                0 => 6,
                1 | 2 => 10,
                3 => 32,
                4 => 16,
                _ => 12,
            };
            assert_eq!(op.usage.len(), length, "{}", op.name);
        }
    }

    #[test]
    fn names_and_codes_lead_to_each_other() {
        assert_eq!(by_name("read_16"), Some((0x88, None)));
        assert_eq!(by_name("READ_CAPACITY_16"), Some((0x9e, Some(0x10))));
        assert_eq!(by_name("READ_7"), None);
        let mut cdb = [0; 32];
        cdb[0] = 0x7f;
        cdb[9] = 0x0b;
        assert_eq!(name(&cdb), "WRITE_32");
        assert_eq!(name(&[0xd0]), "d0");
    }

    #[test]
    fn lengths_that_cdbs_want() {
        let wants = |cdb: &[u8]| find(cdb, false).unwrap().wants(cdb, 512, 0);
        assert_eq!(wants(&[0x08, 0, 0, 0, 0, 0]), (0, 256 * 512));
        assert_eq!(wants(&[0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0]), (0, 1024));
        assert_eq!(wants(&[0x2f, 2, 0, 0, 0, 0, 0, 0, 2, 0]), (1024, 0));
        assert_eq!(wants(&[0x2f, 0, 0, 0, 0, 0, 0, 0, 2, 0]), (0, 0));
        assert_eq!(wants(&[0x12, 0, 0, 1, 4, 0]), (0, 0x104));
    }
}
