// SPDX-License-Identifier: GPL-2.0-or-later

//! What a CD-ROM answers besides (MMC-6).

use super::sense::{Failure, Sense};
use super::unit::LogicalUnit;
use crate::bytes::be16;

impl LogicalUnit {
    /// READ TOC/PMA/ATIP (6.25): one data track and the lead-out.
    pub(super) fn read_toc(&self, cdb: &[u8]) -> Result<Vec<u8>, Failure> {
        let time = cdb[1] & 2 != 0;
        let format = match cdb[2] & 0xf {
            0 => cdb[9] >> 6,
            format => format,
        };
        let address = |lba: u64| {
            if time {
                let frames = lba + 150;
                [
                    0,
                    (frames / 75 / 60) as u8,
                    (frames / 75 % 60) as u8,
                    (frames % 75) as u8,
                ]
            } else {
                (lba as u32).to_be_bytes()
            }
        };
        let mut body = vec![1, 1];
        match format {
            0 if cdb[6] <= 1 || cdb[6] == 0xaa => {
                if cdb[6] <= 1 {
                    body.extend([0, 0x14, 1, 0]);
                    body.extend(address(0));
                }
                body.extend([0, 0x14, 0xaa, 0]);
                body.extend(address(self.blocks));
            }
            1 => {
                body.extend([0, 0x14, 1, 0]);
                body.extend(address(0));
            }
            _ => return Err(Sense::CDB_FIELD.into()),
        }
        let mut data = (body.len() as u16).to_be_bytes().to_vec();
        data.extend(body);
        Ok(data)
    }

    /// READ DISC INFORMATION (6.21): one finished session.
    pub(super) fn disc_information(&self) -> Vec<u8> {
        let mut data = vec![0; 34];
        data[1] = 32;
        data[2] = 0x0e;
        data[3..7].fill(1);
        data
    }

    /// GET CONFIGURATION (6.5).
    pub(super) fn get_configuration(&self, cdb: &[u8]) -> Result<Vec<u8>, Failure> {
        let current: u16 = if self.loaded { 0x0008 } else { 0 };
        let features: [(u16, &[u8]); 6] = [
            (0x0000, &[0x00, 0x08, u8::from(self.loaded), 0]), // profile list: CD-ROM
            (0x0001, &[0, 0, 0, 1, 1, 0, 0, 0]),               // core: SCSI
            (0x0003, &[0x29, 0, 0, 0]),                        // removable: tray, eject, lock
            (0x0010, &[0, 0, 8, 0, 0, 1, 0, 0]),               // random readable
            (0x001e, &[0, 0, 0, 0]),                           // CD read
            (0x0105, &[0, 0, 0, 0]),                           // timeout
        ];
        let (kind, first) = (cdb[1] & 3, be16(cdb, 2));
        let mut body = vec![0, 0];
        body.extend(current.to_be_bytes());
        for (code, data) in features {
            let wanted = match kind {
                2 => code == first,
                _ => code >= first,
            };
            if wanted {
                body.extend(code.to_be_bytes());
                body.extend([0x03, data.len() as u8]);
                body.extend(data);
            }
        }
        let mut data = (body.len() as u32).to_be_bytes().to_vec();
        data.extend(body);
        Ok(data)
    }

    /// GET EVENT STATUS NOTIFICATION (6.6), polled; media events alone.
    pub(super) fn event_status(&mut self, cdb: &[u8]) -> Result<Vec<u8>, Failure> {
        if cdb[1] & 1 == 0 {
            return Err(Sense::CDB_FIELD.into());
        }
        if cdb[4] & 0x10 == 0 {
            return Ok(vec![0, 2, 0x80, 0x10]);
        }
        let event = std::mem::take(&mut self.media_event);
        Ok(vec![
            0,
            6,
            0x04,
            0x10,
            event,
            if self.loaded { 2 } else { 0 },
            0,
            0,
        ])
    }
}
