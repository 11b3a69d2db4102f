// SPDX-License-Identifier: GPL-2.0-or-later

//! Commands that move blocks: READ, WRITE, VERIFY, COMPARE AND WRITE, SYNCHRONIZE CACHE (SBC-3
//! chapter 5).

use super::inquiry::MAX_COMPARE;
use super::opcodes::Opcode;
use super::protection::{Expected, TUPLE};
use super::sense::{Failure, Sense};
use super::unit::LogicalUnit;
use super::{Command, Data};
use crate::bytes::{be, be16, be24, be32, be64};

/// What the CDB of such a command asks for.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// LOGICAL BLOCK ADDRESS
    pub lba: u64,
    /// TRANSFER LENGTH or what it is called in that command.
    pub blocks: u64,
    /// RDPROTECT, WRPROTECT or VRPROTECT.
    pub protect: u8,
    /// Tags of the first block.
    pub expected: Expected,
}

impl Access {
    /// Takes a CDB apart.
    pub fn of(op: &Opcode, cdb: &[u8]) -> Self {
        let (lba, blocks) = match op.usage.len() {
            6 => {
                let blocks = if cdb[4] == 0 { 256 } else { cdb[4].into() };
                (u64::from(be24(cdb, 1) & 0x1f_ffff), blocks)
            }
            10 => (be32(cdb, 2).into(), be16(cdb, 7).into()),
            12 => (be32(cdb, 2).into(), be32(cdb, 6).into()),
            16 if op.code == 0x89 => (be64(cdb, 2), cdb[13].into()),
            16 => (be64(cdb, 2), be32(cdb, 10).into()),
            _ => (be64(cdb, 12), be32(cdb, 28).into()),
        };
        let long = op.code == 0x7f;
        let protect = match (long, op.usage.len()) {
            (true, _) => cdb[10] >> 5,
            (_, 6) => 0,
            _ => cdb[1] >> 5,
        };
        let mut expected = Expected {
            reference: lba as u32,
            application: None,
        };
        if long {
            expected = Expected {
                reference: be32(cdb, 20),
                application: Some((be16(cdb, 24), be16(cdb, 26))),
            };
        }
        Self {
            lba,
            blocks,
            protect,
            expected,
        }
    }

    /// The range of blocks that a CDB names, if it is a command that names one: for rules.
    pub fn range(op: &Opcode, cdb: &[u8]) -> Option<(u64, u64)> {
        match op.code {
            0x08
            | 0x0a
            | 0x28
            | 0x2a
            | 0x2e
            | 0x2f
            | 0x34
            | 0x35
            | 0x41
            | 0x88..=0x93
            | 0xa8
            | 0xaa
            | 0xae
            | 0xaf => {
                let access = Self::of(op, cdb);
                Some((access.lba, access.blocks))
            }
            0x7f => {
                let access = Self::of(op, cdb);
                Some((access.lba, access.blocks))
            }
            0x9e if op.action == Some(0x12) => Some((be(cdb, 2, 8), 1)),
            _ => None,
        }
    }
}

impl LogicalUnit {
    pub(super) fn in_range(&self, lba: u64, blocks: u64) -> Result<(), Failure> {
        match lba.checked_add(blocks) {
            Some(end) if end <= self.blocks => Ok(()),
            _ => Err(Sense::LBA_RANGE.at(lba).into()),
        }
    }

    /// Range, protection field and buffers for protection information, checked.
    fn checked(&self, op: &Opcode, command: &Command) -> Result<Access, Failure> {
        let access = Access::of(op, command.cdb);
        self.in_range(access.lba, access.blocks)?;
        let reserved = access.protect > 5;
        // Only type 2 has the commands with 32 bytes, and it has no others that check.
        let wrong_size = access.protect != 0 && (op.code == 0x7f) != (self.protection.kind == 2);
        if reserved || access.protect != 0 && self.protection.kind == 0 || wrong_size {
            return Err(Sense::CDB_FIELD.into());
        }
        let pi = access.blocks as usize * TUPLE;
        if command.pi_in > 0 && command.pi_in < pi
            || !command.pi_out.is_empty() && command.pi_out.len() < pi
        {
            return Err(Failure::Overrun);
        }
        Ok(access)
    }

    pub(super) fn read(&mut self, command: &Command) -> Result<Data, Failure> {
        let op = super::opcodes::find(command.cdb, self.cdrom()).ok_or(Sense::OPCODE)?;
        let access = self.checked(op, command)?;
        let block = self.block();
        let bytes = self
            .medium
            .read(access.lba * block as u64, access.blocks as usize * block)
            .map_err(|_| Sense::READ_ERROR)?;
        let apart = command.pi_in > 0;
        if !apart && access.protect == 0 {
            self.check_stored(&access, &bytes)?;
            return Ok(bytes.into());
        }
        let mut data = Data::default();
        for (i, content) in bytes.chunks(block).enumerate() {
            let lba = access.lba + i as u64;
            let tuple = if self.protection.kind == 0 {
                self.protection.generate(content, access.expected, i as u64)
            } else {
                self.protection.get(lba)
            };
            self.protection
                .check(access.protect, content, tuple, access.expected, i as u64)
                .map_err(|sense| sense.at(lba))?;
            data.bytes.extend(content);
            if apart {
                data.pi.extend(tuple);
            } else {
                data.bytes.extend(tuple);
            }
        }
        Ok(data)
    }

    /// A read without protection information still finds what is wrong on the medium.
    fn check_stored(&self, access: &Access, bytes: &[u8]) -> Result<(), Failure> {
        if self.protection.kind == 0 {
            return Ok(());
        }
        for (i, content) in bytes.chunks(self.block()).enumerate() {
            let lba = access.lba + i as u64;
            let expected = Expected {
                reference: access.lba as u32,
                application: None,
            };
            self.protection
                .check(1, content, self.protection.get(lba), expected, i as u64)
                .map_err(|sense| sense.at(lba))?;
        }
        Ok(())
    }

    /// Data-out with the protection information that came with it, block for block.
    fn incoming<'a>(
        &self,
        command: &Command<'a>,
        access: &Access,
    ) -> Vec<(&'a [u8], Option<[u8; TUPLE]>)> {
        let block = self.block();
        let tuple = |bytes: &[u8]| <[u8; TUPLE]>::try_from(bytes).ok();
        if !command.pi_out.is_empty() {
            let tuples = command.pi_out.chunks(TUPLE);
            return command
                .data_out
                .chunks(block)
                .zip(tuples.map(tuple))
                .collect();
        }
        if access.protect != 0 {
            let pieces = command.data_out.chunks(block + TUPLE);
            return pieces
                .map(|piece| (&piece[..block], tuple(&piece[block..])))
                .collect();
        }
        command
            .data_out
            .chunks(block)
            .map(|piece| (piece, None))
            .collect()
    }

    pub(super) fn write(&mut self, op: &Opcode, command: &Command) -> Result<(), Failure> {
        let access = self.checked(op, command)?;
        if self.write_protected() {
            return Err(Sense::WRITE_PROTECTED.into());
        }
        let incoming = self.incoming(command, &access);
        self.store(&access, &incoming)
    }

    fn store(
        &mut self,
        access: &Access,
        incoming: &[(&[u8], Option<[u8; TUPLE]>)],
    ) -> Result<(), Failure> {
        let block = self.block() as u64;
        for (i, (content, tuple)) in incoming.iter().enumerate() {
            let (i, lba) = (i as u64, access.lba + i as u64);
            let tuple = match tuple {
                Some(tuple) if access.protect != 0 => {
                    self.protection
                        .check(access.protect, content, *tuple, access.expected, i)
                        .map_err(|sense| sense.at(lba))?;
                    *tuple
                }
                Some(tuple) => *tuple,
                None => self.protection.generate(content, access.expected, i),
            };
            self.protection.set(lba, tuple);
            self.medium
                .write(lba * block, content)
                .map_err(|_| Sense::WRITE_ERROR.at(lba))?;
        }
        Ok(())
    }

    pub(super) fn verify(&mut self, op: &Opcode, command: &Command) -> Result<(), Failure> {
        let access = self.checked(op, command)?;
        let block = self.block();
        let mode = op.byte_check(command.cdb);
        // Without protection information there is nothing on the medium that could be wrong.
        if mode == 0 && self.protection.kind == 0 {
            return Ok(());
        }
        let stored = self
            .medium
            .read(access.lba * block as u64, access.blocks as usize * block)
            .map_err(|_| Sense::READ_ERROR)?;
        let incoming = self.incoming(command, &access);
        match mode {
            0 => self.check_stored(&access, &stored),
            2 => Err(Sense::CDB_FIELD.into()),
            mode => {
                for (i, content) in stored.chunks(block).enumerate() {
                    let given = incoming[if mode == 3 { 0 } else { i }].0;
                    if let Some(at) = differ(given, content) {
                        return Err(Sense::MISCOMPARE.at((i * block + at) as u64).into());
                    }
                }
                Ok(())
            }
        }
    }

    pub(super) fn compare_and_write(&mut self, command: &Command) -> Result<(), Failure> {
        let op = super::opcodes::find(command.cdb, false).ok_or(Sense::OPCODE)?;
        let access = self.checked(op, command)?;
        if access.blocks > MAX_COMPARE.into() {
            return Err(Sense::CDB_FIELD.into());
        }
        if self.write_protected() {
            return Err(Sense::WRITE_PROTECTED.into());
        }
        let block = self.block();
        let stored = self
            .medium
            .read(access.lba * block as u64, access.blocks as usize * block)
            .map_err(|_| Sense::READ_ERROR)?;
        let incoming = self.incoming(command, &access);
        let (compare, write) = incoming.split_at(incoming.len() / 2);
        for (i, content) in stored.chunks(block).enumerate() {
            if let Some(at) = differ(compare[i].0, content) {
                return Err(Sense::MISCOMPARE.at((i * block + at) as u64).into());
            }
        }
        self.store(&access, write)
    }

    pub(super) fn pre_fetch(&self, cdb: &[u8]) -> Result<Data, Failure> {
        let op = super::opcodes::find(cdb, false).ok_or(Sense::OPCODE)?;
        let access = Access::of(op, cdb);
        self.in_range(access.lba, access.blocks)?;
        // Not CONDITION MET: there is no cache that all of it could be in (SBC-3 5.8).
        Ok(Data::default())
    }

    pub(super) fn synchronize(&self, cdb: &[u8]) -> Result<(), Failure> {
        let op = super::opcodes::find(cdb, false).ok_or(Sense::OPCODE)?;
        let access = Access::of(op, cdb);
        self.in_range(access.lba, access.blocks)?;
        self.medium.sync().map_err(|_| Sense::WRITE_ERROR.into())
    }
}

/// Where two blocks differ first.
fn differ(a: &[u8], b: &[u8]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b)
}
