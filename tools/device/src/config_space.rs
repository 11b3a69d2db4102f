// SPDX-License-Identifier: GPL-2.0-or-later

//! The configuration space (virtio 1.3, 5.6.4): any value in any field.

use serde::{Deserialize, Serialize};

/// Bytes of the fields that the specification has.
pub const SIZE: usize = 36;
const SENSE_SIZE_AT: usize = 20;
const CDB_SIZE_AT: usize = 24;

/// Field values as a scenario gives them; what is not given is the default or stays.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigFields {
    /// Number of request queues that is reported; those served are the scenario's `request_queues`.
    pub num_queues: Option<u32>,
    /// Most segments of a command's data.
    pub seg_max: Option<u32>,
    /// Most sectors of a command.
    pub max_sectors: Option<u32>,
    /// Most commands that a unit may have at once.
    pub cmd_per_lun: Option<u32>,
    /// Bytes of an event.
    pub event_info_size: Option<u32>,
    /// Bytes of sense data; 96 after a reset.
    pub sense_size: Option<u32>,
    /// Bytes of a CDB; 32 after a reset.
    pub cdb_size: Option<u32>,
    /// Whether the device keeps both of these sizes whatever the driver writes.
    pub keeps_sizes: Option<bool>,
    /// Highest channel.
    pub max_channel: Option<u16>,
    /// Highest target.
    pub max_target: Option<u16>,
    /// Highest LUN.
    pub max_lun: Option<u32>,
}

/// The space as the driver reads it.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: [u8; SIZE],
    fresh: [u8; SIZE],
    keeps_sizes: bool,
}

impl ConfigSpace {
    /// Reasonable values for so many request queues, and those given.
    pub fn new(request_queues: u32, fields: &ConfigFields) -> Self {
        let mut space = Self {
            bytes: [0; SIZE],
            fresh: [0; SIZE],
            keeps_sizes: false,
        };
        space.set(&ConfigFields {
            num_queues: Some(request_queues),
            seg_max: Some(126),
            max_sectors: Some(0xffff),
            cmd_per_lun: Some(128),
            event_info_size: Some(16),
            sense_size: Some(96),
            cdb_size: Some(32),
            keeps_sizes: Some(false),
            max_channel: Some(0),
            max_target: Some(255),
            max_lun: Some(16383),
        });
        space.set(fields);
        space
    }

    /// Sets the fields that are given, also for after the next reset.
    pub fn set(&mut self, fields: &ConfigFields) {
        self.keeps_sizes = fields.keeps_sizes.unwrap_or(self.keeps_sizes);
        let wide = [
            (0, fields.num_queues),
            (4, fields.seg_max),
            (8, fields.max_sectors),
            (12, fields.cmd_per_lun),
            (16, fields.event_info_size),
            (SENSE_SIZE_AT, fields.sense_size),
            (CDB_SIZE_AT, fields.cdb_size),
            (32, fields.max_lun),
        ];
        for (at, value) in wide {
            if let Some(value) = value {
                self.store(at, &value.to_le_bytes());
            }
        }
        for (at, value) in [(28, fields.max_channel), (30, fields.max_target)] {
            if let Some(value) = value {
                self.store(at, &value.to_le_bytes());
            }
        }
    }

    fn store(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
        self.fresh[at..at + value.len()].copy_from_slice(value);
    }

    /// What a reset of the device undoes: what the driver wrote.
    pub fn reset(&mut self) {
        self.bytes = self.fresh;
    }

    /// Bytes for the driver; zeros beyond the end.
    pub fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        (offset..offset + length)
            .map(|at| self.bytes.get(at).copied().unwrap_or(0))
            .collect()
    }

    /// The driver writes. Returns the names of the fields that it changed, and whether it may
    /// (5.6.4.2).
    pub fn write(&mut self, offset: usize, data: &[u8]) -> (Vec<&'static str>, bool) {
        let before = self.bytes;
        for (i, &byte) in data.iter().enumerate() {
            if let Some(here) = self.bytes.get_mut(offset + i) {
                *here = byte;
            }
        }
        let whole = offset == 0 && data.len() >= SIZE;
        let mut changed = Vec::new();
        let mut allowed = true;
        for (name, at, width) in FIELDS {
            let field = *at..at + width;
            // Some front-ends send all of the space for a write to one field.
            let touched = if whole {
                before[field.clone()] != self.bytes[field.clone()]
            } else {
                field.start < offset + data.len() && offset < field.end
            };
            if touched {
                changed.push(*name);
                allowed &= matches!(*name, "sense_size" | "cdb_size");
            }
        }
        if self.keeps_sizes {
            self.bytes = before;
        }
        (changed, allowed)
    }

    fn number(&self, at: usize) -> usize {
        crate::bytes::le32(&self.bytes, at) as usize
    }

    /// Bytes of sense data in a response.
    pub fn sense_size(&self) -> usize {
        self.number(SENSE_SIZE_AT)
    }

    /// Bytes of a CDB in a request.
    pub fn cdb_size(&self) -> usize {
        self.number(CDB_SIZE_AT)
    }

    /// How many commands a unit may have at once.
    pub fn cmd_per_lun(&self) -> usize {
        self.number(12)
    }

    /// How large an event buffer should be.
    pub fn event_info_size(&self) -> usize {
        self.number(16)
    }
}

const FIELDS: &[(&str, usize, usize)] = &[
    ("num_queues", 0, 4),
    ("seg_max", 4, 4),
    ("max_sectors", 8, 4),
    ("cmd_per_lun", 12, 4),
    ("event_info_size", 16, 4),
    ("sense_size", SENSE_SIZE_AT, 4),
    ("cdb_size", CDB_SIZE_AT, 4),
    ("max_channel", 28, 2),
    ("max_target", 30, 2),
    ("max_lun", 32, 4),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_header_has_them() {
        let fields = ConfigFields {
            max_target: Some(0x1234),
            max_lun: Some(0xffff_ffff),
            ..ConfigFields::default()
        };
        let space = ConfigSpace::new(3, &fields);
        assert_eq!(space.read(0, 4), [3, 0, 0, 0]);
        assert_eq!(
            space.read(30, 8),
            [0x34, 0x12, 0xff, 0xff, 0xff, 0xff, 0, 0]
        );
        assert_eq!((space.sense_size(), space.cdb_size()), (96, 32));
    }

    #[test]
    fn only_two_fields_are_the_drivers_to_write() {
        let mut space = ConfigSpace::new(1, &ConfigFields::default());
        assert_eq!(space.write(20, &[64, 0, 0, 0]), (vec!["sense_size"], true));
        assert_eq!(space.sense_size(), 64);
        assert_eq!(space.write(12, &[1, 0, 0, 0]), (vec!["cmd_per_lun"], false));
        let mut whole = space.read(0, SIZE);
        whole[24] = 16;
        assert_eq!(space.write(0, &whole), (vec!["cdb_size"], true));
        space.reset();
        assert_eq!((space.sense_size(), space.cdb_size()), (96, 32));
    }

    #[test]
    fn sizes_can_be_kept() {
        let fields = ConfigFields {
            keeps_sizes: Some(true),
            cdb_size: Some(16),
            ..ConfigFields::default()
        };
        let mut space = ConfigSpace::new(1, &fields);
        assert_eq!(space.write(24, &[32, 0, 0, 0]), (vec!["cdb_size"], true));
        assert_eq!(space.cdb_size(), 16);
    }
}
