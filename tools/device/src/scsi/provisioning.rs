// SPDX-License-Identifier: GPL-2.0-or-later

//! Logical block provisioning: UNMAP, WRITE SAME, GET LBA STATUS (SBC-3 5.5, 5.28, 5.45).

use super::block::Access;
use super::inquiry::{MAX_DESCRIPTORS, MAX_UNMAP};
use super::opcodes::Opcode;
use super::protection::TUPLE;
use super::sense::{Failure, Sense};
use super::unit::LogicalUnit;
use super::Command;
use crate::bytes::{be16, be32, be64};

impl LogicalUnit {
    fn deallocate(&mut self, lba: u64, blocks: u64) -> Result<(), Failure> {
        let block = self.block() as u64;
        self.protection.forget(lba, blocks);
        self.medium
            .unmap(lba * block, blocks * block)
            .map_err(|_| Sense::WRITE_ERROR.into())
    }

    pub(super) fn unmap(&mut self, cdb: &[u8], list: &[u8]) -> Result<(), Failure> {
        if !self.config.thin {
            return Err(Sense::OPCODE.into());
        }
        if cdb[1] & 1 != 0 {
            return Err(Sense::CDB_FIELD.into());
        }
        if self.write_protected() {
            return Err(Sense::WRITE_PROTECTED.into());
        }
        if list.is_empty() {
            return Ok(());
        }
        if list.len() < 8 {
            return Err(Sense::LIST_LENGTH.into());
        }
        let descriptors = usize::from(be16(list, 2)).min(list.len() - 8) / 16;
        if descriptors > MAX_DESCRIPTORS as usize {
            return Err(Sense::PARAMETER.into());
        }
        let ranges: Vec<(u64, u64)> = list[8..]
            .chunks_exact(16)
            .take(descriptors)
            .map(|range| (be64(range, 0), u64::from(be32(range, 8))))
            .collect();
        let mut total = 0;
        for &(lba, blocks) in &ranges {
            self.in_range(lba, blocks)?;
            total += blocks;
        }
        if total > u64::from(MAX_UNMAP) {
            return Err(Sense::PARAMETER.into());
        }
        for (lba, blocks) in ranges {
            self.deallocate(lba, blocks)?;
        }
        Ok(())
    }

    pub(super) fn write_same(&mut self, op: &Opcode, command: &Command) -> Result<(), Failure> {
        let access = Access::of(op, command.cdb);
        let flags = if op.code == 0x7f {
            command.cdb[10]
        } else {
            command.cdb[1]
        };
        let (unmap, anchor) = (flags & 0x08 != 0, flags & 0x10 != 0);
        self.in_range(access.lba, access.blocks)?;
        // WSNZ: no "to the end" by a length of zero.
        let too_many = access.blocks == 0 || access.blocks > u64::from(MAX_UNMAP);
        if too_many
            || anchor
            || unmap && !self.config.thin
            || access.protect != 0 && self.protection.kind == 0
        {
            return Err(Sense::CDB_FIELD.into());
        }
        if self.write_protected() {
            return Err(Sense::WRITE_PROTECTED.into());
        }
        let block = self.block();
        let zeros = vec![0; block + TUPLE];
        let given = if command.data_out.is_empty() {
            &zeros
        } else {
            command.data_out
        };
        let data = &given[..block];
        if unmap && data.iter().all(|&byte| byte == 0) {
            return self.deallocate(access.lba, access.blocks);
        }
        for i in 0..access.blocks {
            let lba = access.lba + i;
            let tuple = self.protection.generate(data, access.expected, i);
            self.medium
                .write(lba * block as u64, data)
                .map_err(|_| Sense::WRITE_ERROR)?;
            self.protection.set(lba, tuple);
        }
        Ok(())
    }

    pub(super) fn lba_status(&self, cdb: &[u8]) -> Result<Vec<u8>, Failure> {
        let lba = be64(cdb, 2);
        self.in_range(lba, 1)?;
        let room = (be32(cdb, 10) as usize).saturating_sub(8) / 16;
        let block = self.block() as u64;
        let end = self.blocks * block;
        let mut descriptors = Vec::new();
        let mut at = lba * block;
        while at < end && descriptors.len() < room.max(1) * 16 {
            let (mapped, next) = self.medium.mapped(at, end);
            let blocks = ((next - at) / block).min(u64::from(u32::MAX));
            descriptors.extend((at / block).to_be_bytes());
            descriptors.extend((blocks as u32).to_be_bytes());
            // Not mapped without thin provisioning does not exist.
            descriptors.extend([u8::from(!mapped && self.config.thin), 0, 0, 0]);
            at += blocks * block;
        }
        let mut data = ((descriptors.len() + 4) as u32).to_be_bytes().to_vec();
        data.extend([0; 4]);
        data.extend(descriptors);
        Ok(data)
    }
}
