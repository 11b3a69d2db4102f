// SPDX-License-Identifier: GPL-2.0-or-later

//! INQUIRY and vital product data (SPC-4 6.6 and 7.8, SBC-3 6.5).

use super::medium::PAGE;
use super::sense::{Failure, Sense};
use super::unit::LogicalUnit;

/// T10 VENDOR IDENTIFICATION.
const VENDOR: &[u8; 8] = b"VSRS    ";

/// The most blocks that one UNMAP or WRITE SAME may name.
pub const MAX_UNMAP: u32 = 1 << 20;
/// The most UNMAP block descriptors in one command.
pub const MAX_DESCRIPTORS: u32 = 256;
/// The most blocks of COMPARE AND WRITE.
pub const MAX_COMPARE: u8 = 128;

/// Standard INQUIRY data for a LUN where no unit is, in a target that has others (SPC-4 table 175).
pub fn no_unit() -> Vec<u8> {
    let mut data = vec![0; 36];
    data[0] = 0x7f;
    data[2] = 6;
    data[3] = 0x12;
    data[4] = 31;
    data[8..16].copy_from_slice(VENDOR);
    data[16..36].copy_from_slice(b"NO UNIT             ");
    data
}

impl LogicalUnit {
    fn device_type(&self) -> u8 {
        if self.cdrom() {
            5
        } else {
            0
        }
    }

    pub(super) fn inquiry(&self, cdb: &[u8]) -> Result<Vec<u8>, Failure> {
        match (cdb[1] & 1 != 0, cdb[2]) {
            (true, page) => self.vital_product_data(page),
            (false, 0) => Ok(self.standard_inquiry()),
            (false, _) => Err(Sense::CDB_FIELD.into()),
        }
    }

    fn standard_inquiry(&self) -> Vec<u8> {
        let mut data = vec![0; 96];
        data[0] = self.device_type();
        data[1] = if self.config.removable { 0x80 } else { 0 };
        data[2] = 6; // SPC-4
        data[3] = 0x12; // HISUP, response data format 2
        data[4] = 91;
        data[5] = u8::from(self.protection.kind != 0); // PROTECT
        data[7] = 0x02; // CMDQUE
        data[8..16].copy_from_slice(VENDOR);
        let product = if self.cdrom() {
            b"TEST CD-ROM     "
        } else {
            b"TEST DISK       "
        };
        data[16..32].copy_from_slice(product);
        data[32..36].copy_from_slice(b"0001");
        // SAM-5, SPC-4, SBC-3 or MMC-6
        let versions: [u16; 3] = [0x00a0, 0x0460, if self.cdrom() { 0x04e0 } else { 0x04c0 }];
        for (i, version) in versions.iter().enumerate() {
            data[58 + 2 * i..60 + 2 * i].copy_from_slice(&version.to_be_bytes());
        }
        data
    }

    fn pages(&self) -> &'static [u8] {
        if self.cdrom() {
            &[0x00, 0x80, 0x83]
        } else {
            &[0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2]
        }
    }

    fn vital_product_data(&self, page: u8) -> Result<Vec<u8>, Failure> {
        if !self.pages().contains(&page) {
            return Err(Sense::CDB_FIELD.into());
        }
        let body = match page {
            0x00 => self.pages().to_vec(),
            0x80 => self.serial().into_bytes(),
            0x83 => self.designators(),
            0x86 => self.extended_inquiry(),
            0xb0 => self.block_limits(),
            0xb1 => {
                let mut body = vec![0; 60];
                body[1] = 1; // not rotating
                body
            }
            _ => self.provisioning(),
        };
        let mut data = vec![self.device_type(), page];
        data.extend((body.len() as u16).to_be_bytes());
        data.extend(body);
        Ok(data)
    }

    fn designators(&self) -> Vec<u8> {
        // NAA 3, locally assigned.
        let serial = self.serial();
        let hash = serial
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        let mut body = vec![0x01, 0x03, 0, 8];
        body.extend((hash & 0x0fff_ffff_ffff_ffff | 0x3000_0000_0000_0000).to_be_bytes());
        // T10 vendor ID based
        body.extend([0x02, 0x01, 0, (8 + serial.len()) as u8]);
        body.extend(VENDOR);
        body.extend(serial.bytes());
        // Relative target port 1
        body.extend([0x01, 0x14, 0, 4, 0, 0, 0, 1]);
        body
    }

    fn extended_inquiry(&self) -> Vec<u8> {
        let mut body = vec![0; 60];
        // SPT and which fields are checked
        body[0] = match self.protection.kind {
            0 => 0,
            1 => 0x05,
            2 => 0x15,
            _ => 0x25,
        };
        body[1] = 0x07; // ORDSUP, HEADSUP, SIMPSUP
        body[2] = u8::from(self.config.write_cache); // V_SUP
        body
    }

    fn block_limits(&self) -> Vec<u8> {
        let mut body = vec![0; 60];
        let block = self.block() as u32;
        body[0] = 0x01; // WSNZ
        body[1] = MAX_COMPARE;
        body[2..4].copy_from_slice(&((PAGE as u32 / block) as u16).to_be_bytes());
        body[4..8].copy_from_slice(&((16 << 20) / block).to_be_bytes());
        if self.config.thin {
            body[16..20].copy_from_slice(&MAX_UNMAP.to_be_bytes());
            body[20..24].copy_from_slice(&MAX_DESCRIPTORS.to_be_bytes());
            body[24..28].copy_from_slice(&(PAGE as u32 / block).to_be_bytes());
        }
        body[32..40].copy_from_slice(&u64::from(MAX_UNMAP).to_be_bytes());
        body
    }

    fn provisioning(&self) -> Vec<u8> {
        if self.config.thin {
            // LBPU, LBPWS, LBPWS10, LBPRZ; thin
            vec![0, 0xe4, 2, 0]
        } else {
            vec![0, 0, 0, 0]
        }
    }
}
