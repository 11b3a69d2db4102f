// SPDX-License-Identifier: GPL-2.0

//! The configuration space: `struct virtio_scsi_config`.
//!
//! Virtio 1.3, section 5.6.4.

/// The offsets of the fields, in bytes. All have 32 bits but [`MAX_TARGET`](offset::MAX_TARGET).
pub mod offset {
    /// See [`Config::num_queues`](super::Config::num_queues).
    pub const NUM_QUEUES: u32 = 0;
    /// See [`Config::seg_max`](super::Config::seg_max).
    pub const SEG_MAX: u32 = 4;
    /// See [`Config::max_sectors`](super::Config::max_sectors).
    pub const MAX_SECTORS: u32 = 8;
    /// See [`Config::cmd_per_lun`](super::Config::cmd_per_lun).
    pub const CMD_PER_LUN: u32 = 12;
    /// See [`Config::event_info_size`](super::Config::event_info_size).
    pub const EVENT_INFO_SIZE: u32 = 16;
    /// The length of sense data. The driver may write it.
    pub const SENSE_SIZE: u32 = 20;
    /// The length of a CDB. The driver may write it.
    pub const CDB_SIZE: u32 = 24;
    /// 16 bits. See [`Config::max_target`](super::Config::max_target).
    pub const MAX_TARGET: u32 = 30;
    /// See [`Config::max_lun`](super::Config::max_lun).
    pub const MAX_LUN: u32 = 32;
}

/// The fields that the driver does not write, unchecked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The number of request queues.
    pub num_queues: u32,
    /// The most segments that the data of a command can have.
    pub seg_max: u32,
    /// The most data that a command can have, in sectors of 512 bytes.
    pub max_sectors: u32,
    /// The most commands that a logical unit can have in flight.
    pub cmd_per_lun: u32,
    /// The most that the device writes to the buffer of an event, in bytes.
    pub event_info_size: u32,
    /// The highest target.
    pub max_target: u16,
    /// The highest logical unit.
    pub max_lun: u32,
}
