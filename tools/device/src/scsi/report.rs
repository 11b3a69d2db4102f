// SPDX-License-Identifier: GPL-2.0-or-later

//! Commands that report: capacity (SBC-3 5.15 and 5.16) and supported commands (SPC-4 6.27).

use super::opcode_table::OPCODES;
use super::opcodes::Opcode;
use super::sense::{Failure, Sense};
use super::unit::LogicalUnit;
use crate::bytes::{be16, be32};

impl LogicalUnit {
    pub(super) fn read_capacity_10(&self) -> Vec<u8> {
        let last = u32::try_from(self.blocks - 1).unwrap_or(u32::MAX);
        let mut data = last.to_be_bytes().to_vec();
        data.extend((self.block() as u32).to_be_bytes());
        data
    }

    pub(super) fn read_capacity_16(&self) -> Vec<u8> {
        let mut data = vec![0; 32];
        data[..8].copy_from_slice(&(self.blocks - 1).to_be_bytes());
        data[8..12].copy_from_slice(&(self.block() as u32).to_be_bytes());
        if self.protection.kind != 0 {
            data[12] = ((self.protection.kind - 1) << 1) | 1; // P_TYPE, PROT_EN
        }
        data[13] = self.config.physical_exponent;
        if self.config.thin {
            data[14] = 0xc0; // LBPME, LBPRZ
        }
        data
    }

    pub(super) fn supported_opcodes(&self, cdb: &[u8]) -> Result<Vec<u8>, Failure> {
        let known = || OPCODES.iter().filter(|op| op.known_to(self.cdrom()));
        let timeouts = cdb[2] & 0x80 != 0;
        let code = cdb[3];
        let action = be16(cdb, 4);
        match cdb[2] & 7 {
            0 => {
                let mut list = Vec::new();
                for op in known() {
                    list.extend([op.code, 0]);
                    list.extend(op.action.unwrap_or(0).to_be_bytes());
                    list.push(0);
                    list.push(u8::from(op.action.is_some()) | if timeouts { 2 } else { 0 });
                    list.extend((op.usage.len() as u16).to_be_bytes());
                    if timeouts {
                        list.extend(NO_TIMEOUTS);
                    }
                }
                let mut data = (list.len() as u32).to_be_bytes().to_vec();
                data.extend(list);
                Ok(data)
            }
            option @ 1..=3 => {
                let of_code = || known().filter(|op| op.code == code);
                let has_actions = of_code().any(|op| op.action.is_some());
                if option == 1 && has_actions
                    || option == 2 && of_code().next().is_some() && !has_actions
                {
                    return Err(Sense::CDB_FIELD.into());
                }
                let found = of_code().find(|op| op.action.unwrap_or(0) == action || option == 1);
                Ok(one_command(found, timeouts))
            }
            _ => Err(Sense::CDB_FIELD.into()),
        }
    }
}

/// A command timeouts descriptor that names none.
const NO_TIMEOUTS: [u8; 12] = [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn one_command(found: Option<&Opcode>, timeouts: bool) -> Vec<u8> {
    let Some(op) = found else {
        return vec![0, 1, 0, 0];
    };
    let mut data = vec![0, 3 | if timeouts { 0x80 } else { 0 }];
    data.extend((op.usage.len() as u16).to_be_bytes());
    let mut usage = op.usage.to_vec();
    // The service action is given as it is, not as a mask.
    match op.action {
        Some(action) if op.code == 0x7f => usage[8..10].copy_from_slice(&action.to_be_bytes()),
        Some(action) => usage[1] = usage[1] & 0xe0 | action as u8,
        None => {}
    }
    data.extend(usage);
    if timeouts {
        data.extend(NO_TIMEOUTS);
    }
    data
}

/// REPORT LUNS (SPC-4 6.33): the list for the units that are there.
pub fn report_luns(cdb: &[u8], luns: &[u16]) -> Result<Vec<u8>, Failure> {
    if be32(cdb, 6) < 4 {
        return Err(Sense::CDB_FIELD.into());
    }
    let listed: &[u16] = match cdb[2] {
        0x00 | 0x02 => luns,
        // No well-known units.
        0x01 => &[],
        _ => return Err(Sense::CDB_FIELD.into()),
    };
    let mut data = ((listed.len() * 8) as u32).to_be_bytes().to_vec();
    data.extend([0; 4]);
    for &lun in listed {
        data.extend(lun_bytes(lun));
    }
    Ok(data)
}

/// A single level LUN structure (SAM-5 4.7): peripheral device addressing below 256, flat space
/// above.
pub fn lun_bytes(lun: u16) -> [u8; 8] {
    let first = if lun < 256 { lun } else { lun | 0x4000 };
    let [high, low] = first.to_be_bytes();
    [high, low, 0, 0, 0, 0, 0, 0]
}
