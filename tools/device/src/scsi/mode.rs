// SPDX-License-Identifier: GPL-2.0-or-later

//! MODE SENSE and MODE SELECT (SPC-4 6.11 to 6.14): the pages caching, control, and for CD-ROMs the
//! capabilities page.

use super::sense::{Failure, Sense};
use super::unit::{Kind, LogicalUnit, UnitConfig};
use crate::bytes::be16;

const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0a;
const CAPABILITIES: u8 = 0x2a;

/// The mode pages of a unit: number and parameters after the two bytes of header.
#[derive(Clone, Debug)]
pub struct ModePages {
    pages: Vec<(u8, Vec<u8>)>,
}

impl ModePages {
    /// The default values.
    pub fn new(config: &UnitConfig) -> Self {
        let mut caching = vec![0; 18];
        caching[0] = if config.write_cache { 0x04 } else { 0 }; // WCE
        let mut control = vec![0; 10];
        control[1] = 0x10; // unrestricted reordering
        let mut pages = vec![(CACHING, caching), (CONTROL, control)];
        if config.kind == Kind::Cdrom {
            let mut capabilities = vec![0; 20];
            capabilities[0] = 0x03; // reads CD-R and CD-RW
            capabilities[4] = 0x29; // tray, eject, lock
            capabilities[6..8].copy_from_slice(&706_u16.to_be_bytes());
            pages.push((CAPABILITIES, capabilities));
        }
        Self { pages }
    }

    /// D_SENSE of the control page.
    pub fn descriptor_sense(&self) -> bool {
        self.page(CONTROL).is_some_and(|page| page[0] & 0x04 != 0)
    }

    fn page(&self, number: u8) -> Option<&Vec<u8>> {
        self.pages
            .iter()
            .find(|(n, _)| *n == number)
            .map(|(_, page)| page)
    }
}

/// Which bits MODE SELECT may change: WCE; D_SENSE and SWP.
fn changeable(number: u8, length: usize) -> Vec<u8> {
    let mut mask = vec![0; length];
    match number {
        CACHING => mask[0] = 0x04,
        CONTROL => {
            mask[0] = 0x04;
            mask[2] = 0x08;
        }
        _ => {}
    }
    mask
}

impl LogicalUnit {
    /// Whether writes are refused, by configuration or by SWP.
    pub fn write_protected(&self) -> bool {
        self.config.read_only
            || self
                .mode
                .page(CONTROL)
                .is_some_and(|page| page[2] & 0x08 != 0)
    }

    pub(super) fn mode_sense(&self, cdb: &[u8]) -> Result<Vec<u8>, Failure> {
        let long = cdb[0] == 0x5a;
        let (control, number, subpage) = (cdb[2] >> 6, cdb[2] & 0x3f, cdb[3]);
        if control == 3 {
            return Err(Sense::NO_SAVING.into());
        }
        if !matches!(subpage, 0 | 0xff) {
            return Err(Sense::CDB_FIELD.into());
        }
        let mut pages = Vec::new();
        let defaults = ModePages::new(&self.config);
        for (page, current) in &self.mode.pages {
            if number != 0x3f && number != *page {
                continue;
            }
            let values = match control {
                1 => changeable(*page, current.len()),
                2 => defaults.page(*page).cloned().unwrap_or_default(),
                _ => current.clone(),
            };
            pages.extend([*page, values.len() as u8]);
            pages.extend(values);
        }
        if pages.is_empty() {
            return Err(Sense::CDB_FIELD.into());
        }
        let descriptor = if cdb[1] & 0x08 != 0 || self.cdrom() {
            Vec::new()
        } else {
            self.block_descriptor(long && cdb[1] & 0x10 != 0)
        };
        // WP, DPOFUA
        let specific = if self.cdrom() {
            0
        } else {
            0x10 | if self.write_protected() { 0x80 } else { 0 }
        };
        let total = descriptor.len() + pages.len();
        let mut data = if long {
            let mut header = ((total + 6) as u16).to_be_bytes().to_vec();
            header.extend([0, specific, u8::from(descriptor.len() == 16), 0]);
            header.extend((descriptor.len() as u16).to_be_bytes());
            header
        } else {
            vec![(total + 3) as u8, 0, specific, descriptor.len() as u8]
        };
        data.extend(descriptor);
        data.extend(pages);
        Ok(data)
    }

    fn block_descriptor(&self, long: bool) -> Vec<u8> {
        let block = self.block() as u32;
        if long {
            let mut data = self.blocks.to_be_bytes().to_vec();
            data.extend([0; 4]);
            data.extend(block.to_be_bytes());
            data
        } else {
            let blocks = u32::try_from(self.blocks).unwrap_or(u32::MAX);
            let mut data = blocks.to_be_bytes().to_vec();
            data.extend(block.to_be_bytes());
            data
        }
    }

    pub(super) fn mode_select(&mut self, cdb: &[u8], list: &[u8]) -> Result<(), Failure> {
        let long = cdb[0] == 0x55;
        if cdb[1] & 0x01 != 0 || cdb[1] & 0x10 == 0 && !list.is_empty() {
            return Err(Sense::CDB_FIELD.into());
        }
        if list.is_empty() {
            return Ok(());
        }
        let (header, descriptor) = if long {
            (8, be16(list, 6))
        } else {
            (4, u16::from(be16(list, 2) as u8))
        };
        let mut at = header + usize::from(descriptor);
        if list.len() < at {
            return Err(Sense::LIST_LENGTH.into());
        }
        let mut changed = self.mode.clone();
        while at < list.len() {
            let (number, length) = (
                list[at] & 0x3f,
                list.get(at + 1).copied().unwrap_or(0) as usize,
            );
            let values = list
                .get(at + 2..at + 2 + length)
                .ok_or(Failure::Check(Sense::LIST_LENGTH))?;
            let page = changed.pages.iter_mut().find(|(n, _)| *n == number);
            let (_, page) = page.ok_or(Failure::Check(Sense::PARAMETER))?;
            if page.len() != length {
                return Err(Sense::PARAMETER.into());
            }
            let mask = changeable(number, length);
            for ((new, old), mask) in values.iter().zip(page).zip(mask) {
                if (*new ^ *old) & !mask != 0 {
                    return Err(Sense::PARAMETER.into());
                }
                *old = *new;
            }
            at += 2 + length;
        }
        self.mode = changed;
        Ok(())
    }
}
