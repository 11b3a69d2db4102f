// SPDX-License-Identifier: GPL-2.0

//! What the driver makes of the configuration space and the module parameters.
//!
//! Virtio 1.3, section 5.6.4; `struct virtio_scsi_config` in
//! [`include/uapi/linux/virtio_scsi.h`](srctree/include/uapi/linux/virtio_scsi.h)
//!
//! Every number that a device offers passes through here. What the driver cannot serve is brought
//! down to what it can, and noted as an [`Adjustments`]; what cannot be brought down is refused.
//!
//! This file uses `core`, `queues/wire.rs` and `queues/adjustments.rs` alone, because it is also compiled for the host, and
//! tested there.

pub use super::adjustments::{
    Adjustments,
    Refusal, //
};

use super::wire;

/// Where the fields of the configuration space are, in bytes.
pub mod offset {
    /// 32 bits.
    pub const NUM_QUEUES: u32 = 0;
    /// 32 bits.
    pub const SEG_MAX: u32 = 4;
    /// 32 bits.
    pub const MAX_SECTORS: u32 = 8;
    /// 32 bits.
    pub const CMD_PER_LUN: u32 = 12;
    /// 32 bits.
    pub const EVENT_INFO_SIZE: u32 = 16;
    /// 32 bits. One of the two that the driver may write.
    pub const SENSE_SIZE: u32 = 20;
    /// 32 bits. One of the two that the driver may write.
    pub const CDB_SIZE: u32 = 24;
    /// 16 bits.
    pub const MAX_CHANNEL: u32 = 28;
    /// 16 bits.
    pub const MAX_TARGET: u32 = 30;
    /// 32 bits.
    pub const MAX_LUN: u32 = 32;
}

/// The configuration space as the device offers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// How many request queues there are.
    pub num_queues: u32,
    /// How many segments the data of a command can have.
    pub seg_max: u32,
    /// How much data a command can have, in sectors of 512 bytes.
    pub max_sectors: u32,
    /// How many commands a logical unit can have in flight.
    pub cmd_per_lun: u32,
    /// How many bytes of event the device writes at most.
    pub event_info_size: u32,
    /// The highest target.
    pub max_target: u16,
    /// The highest logical unit.
    pub max_lun: u32,
}

/// What the user has set. 0 leaves it to the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How many request queues are polled.
    pub poll_queues: u32,
    /// How many request queues there are at most, polled ones included.
    pub request_queues: u32,
    /// How many commands a logical unit can have in flight.
    pub queue_depth: u32,
    /// Whether to wait for a command that takes too long, for ever: 1. Else it is recovered: 0.
    pub recovery_wait: u32,
    /// How long the device may take to answer a step of recovery, in seconds.
    pub recovery_step: u32,
}

impl Settings {
    /// The longest that a step of recovery may take, in seconds.
    pub const RECOVERY_STEP_MAX: u32 = 3600;

    /// How long a step of recovery may take if the user has not said so, in seconds.
    pub const RECOVERY_STEP: u32 = 10;

    /// The most commands that the midlayer lets a logical unit have in flight.
    pub const QUEUE_DEPTH_MAX: u32 = i16::MAX as u32;

    /// The most virtqueues that a device can have, less the two that are not for requests.
    pub const QUEUES_MAX: u32 = u16::MAX as u32 - 2;

    /// Returns what is wrong with the settings, if anything is.
    pub const fn mistake(&self) -> Option<&'static str> {
        if self.queue_depth > Self::QUEUE_DEPTH_MAX {
            return Some("queue_depth is more than 32767, the most that the midlayer can do");
        }
        if self.request_queues > Self::QUEUES_MAX {
            return Some("request_queues is more than 65533, the most that a device can have");
        }
        if self.poll_queues > Self::QUEUES_MAX {
            return Some("poll_queues is more than 65533, the most that a device can have");
        }
        if self.recovery_wait > 1 {
            return Some("recovery_wait is neither 0 (recover) nor 1 (wait)");
        }
        if self.recovery_step > Self::RECOVERY_STEP_MAX {
            return Some("recovery_step is more than 3600 seconds");
        }
        if self.request_queues != 0 && self.poll_queues >= self.request_queues {
            return Some(
                "poll_queues has to be less than request_queues: at least one queue must interrupt",
            );
        }
        None
    }
}

/// The least that a device may allow a command to transfer, in sectors: a page of 4 KiB.
pub const SECTORS_MIN: u32 = 8;

/// The least that the block layer is told, in sectors. It warns of a limit that is less than its page or than the
/// logical block of a disk, both of which can be 64 KiB. A disk that takes no more than the device allows says
/// so itself, in its Block Limits VPD page (SBC).
pub const SECTORS_TOLD_MIN: u32 = 128;

/// The least that a segment can be allowed to have, in bytes: the largest page.
const SEGMENT_MIN: u64 = 65_536;

/// What the system can make use of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Platform {
    /// How many request queues.
    pub queues: u32,
    /// How many bytes can be mapped for DMA at once, at most.
    pub mapping: u64,
}

/// How many sectors a command can transfer if the device sets no limit.
const SECTORS_UNLIMITED: u32 = 0xffff;

/// How many descriptors a command takes besides those of its data: one for what the device reads
/// of it, one for what it writes.
const DESCRIPTORS_FIXED: u32 = 2;

/// The limits of a device that can be known before it has virtqueues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceLimits {
    /// How many request queues interrupt. At least 1.
    pub interrupt_queues: u32,
    /// How many request queues are polled.
    pub polled_queues: u32,
    /// How many segments the data of a command can have. At least 1.
    pub segments: u16,
    /// How many sectors of 512 bytes the data of a command can have. At least [`SECTORS_TOLD_MIN`].
    pub sectors: u32,
    /// How many bytes a segment of it can have. At least 65536.
    pub segment_len: u32,
    /// How many commands a logical unit can have in flight. 1 to 32767.
    pub commands_per_lun: u16,
    /// The highest target. Its number has 8 bits in a request.
    pub last_target: u8,
    /// The highest logical unit, as the midlayer numbers them.
    pub last_lun: u64,
    /// How many bytes of an event the driver has to have room for. At least 16.
    pub event_size: u32,
}

/// The length of an event that the specification describes, in bytes.
pub const EVENT_SIZE: u32 = 16;

/// The most room that the driver gives to an event, in bytes.
pub const EVENT_SIZE_MAX: u32 = 256;

impl DeviceLimits {
    /// Checks what a device offers, for a system that can make use of `platform`.
    pub fn new(
        config: &Config,
        settings: &Settings,
        platform: Platform,
        adjustments: &mut Adjustments,
    ) -> Result<Self, Refusal> {
        if (1..SECTORS_MIN).contains(&config.max_sectors) {
            return Err(Refusal {
                field: "max_sectors",
                offered: config.max_sectors,
                reason: "the block layer needs at least 8 (a page)",
            });
        }
        if config.event_info_size > EVENT_SIZE_MAX {
            return Err(Refusal {
                field: "event_info_size",
                offered: config.event_info_size,
                reason: "the driver has no room for events of more than 256 bytes",
            });
        }

        // To have more queues than can be used is not out of the ordinary, and not worth a line.
        let offered = adjustments.note("num_queues", config.num_queues, config.num_queues.max(1));
        let asked = match settings.request_queues {
            0 => Settings::QUEUES_MAX,
            n => n,
        };
        let queues = offered.min(asked).min(platform.queues.max(1));
        let polled_queues = settings.poll_queues.min(queues - 1);

        let segments = adjustments.note("seg_max", config.seg_max, config.seg_max.max(1));
        let segments = u16::try_from(segments).unwrap_or_else(|_| {
            adjustments.note("seg_max", segments, u16::MAX.into());
            u16::MAX
        });

        let commands_per_lun = adjustments.note(
            "cmd_per_lun",
            config.cmd_per_lun,
            config.cmd_per_lun.clamp(1, Settings::QUEUE_DEPTH_MAX),
        );
        let commands_per_lun = match settings.queue_depth {
            0 => commands_per_lun,
            n => commands_per_lun.min(n),
        };

        let last_target = config.max_target.min(u8::MAX.into());
        adjustments.note("max_target", config.max_target.into(), last_target.into());

        let last_lun = config.max_lun.min(wire::LUN_MAX.into());
        adjustments.note("max_lun", config.max_lun, last_lun);

        let sectors = adjustments.note(
            "max_sectors",
            config.max_sectors,
            match config.max_sectors {
                0 => SECTORS_UNLIMITED,
                n => n.max(SECTORS_TOLD_MIN),
            },
        );
        // A command that is larger than the whole of a bounce buffer could never be sent. The smallest buffer has
        // just what can be mapped at once, and holds the command itself and its response, too: so half of that.
        let mapped_sectors = u32::try_from(platform.mapping / 2 / 512)
            .unwrap_or(u32::MAX)
            .max(SECTORS_TOLD_MIN);

        Ok(Self {
            interrupt_queues: queues - polled_queues,
            polled_queues,
            segments,
            sectors: sectors.min(mapped_sectors),
            // CAST: It is in the range of a `u32`.
            segment_len: platform.mapping.clamp(SEGMENT_MIN, u64::from(u32::MAX)) as u32,
            // All three are in range by now.
            commands_per_lun: u16::try_from(commands_per_lun).unwrap_or(1),
            last_target: u8::try_from(last_target).unwrap_or(u8::MAX),
            last_lun: wire::LUN_FLAT + u64::from(last_lun),
            event_size: config.event_info_size.max(EVENT_SIZE),
        })
    }
}

/// What command and response look like, once the driver has asked for the sizes it wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// How many bytes of CDB the device reads. At least 6.
    pub cdb_size: u8,
    /// How many bytes of sense data the device may write.
    pub sense_size: u8,
    /// Whether protection information was negotiated (T10 PI).
    pub protection: bool,
}

impl Layout {
    /// Checks the sizes that the device has after the driver has set them.
    ///
    /// A device that keeps others than it was asked for has to be served with those: the buffers
    /// it gets would be too short for it otherwise.
    pub fn new(
        cdb_size: u32,
        sense_size: u32,
        protection: bool,
        adjustments: &mut Adjustments,
    ) -> Result<Self, Refusal> {
        let cdb = u8::try_from(cdb_size)
            .ok()
            .filter(|size| (6..=wire::CDB_MAX).contains(&usize::from(*size)))
            .ok_or(Refusal {
                field: "cdb_size",
                offered: cdb_size,
                reason: "it was set to 32, and the driver can serve 6 to 32",
            })?;
        let sense = u8::try_from(sense_size)
            .ok()
            .filter(|size| usize::from(*size) <= wire::SENSE_MAX)
            .ok_or(Refusal {
                field: "sense_size",
                offered: sense_size,
                reason: "it was set to 96, and the driver can serve 0 to 252",
            })?;

        // Not being what was asked for is worth a line.
        adjustments.note("cdb_size", wire::CDB_MAX as u32, cdb.into());
        adjustments.note("sense_size", wire::SENSE_WANTED, sense.into());

        Ok(Self {
            cdb_size: cdb,
            sense_size: sense,
            protection,
        })
    }
}

/// The limits that follow from the size of the rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingLimits {
    /// How many segments the data of a command can have. At least 1.
    pub segments: u16,
    /// How many commands a request queue can have in flight. At least 1.
    pub commands_per_queue: u32,
    /// How many commands a logical unit can have in flight. At least 1.
    pub commands_per_lun: u16,
    /// Whether commands can have protection information: it was negotiated, and there is room for it.
    pub protection: bool,
}

impl RingLimits {
    /// Brings the limits of a device down to what its request queues can hold. `size` is the
    /// number of descriptors of the smallest, `indirect` whether descriptors may be indirect,
    /// `protection` whether commands may have protection information.
    ///
    /// A command has as many segments of protection information as of data at the most, and both
    /// count towards what the device takes. A device that leaves no room for them has disks without.
    ///
    /// A chain of descriptors may not be longer than the ring, even if it is indirect (virtio 1.3,
    /// section 2.7.5.3.1); a longer one could never be added without, and the command would be
    /// tried for ever.
    pub fn new(
        limits: &DeviceLimits,
        size: u32,
        indirect: bool,
        protection: bool,
        adjustments: &mut Adjustments,
    ) -> Result<Self, Refusal> {
        let room = size.saturating_sub(DESCRIPTORS_FIXED);

        if room == 0 {
            return Err(Refusal {
                field: "queue size",
                offered: size,
                reason: "a command with data takes 3 descriptors",
            });
        }

        let segments = u32::from(limits.segments).min(room);
        adjustments.note("seg_max", limits.segments.into(), segments);

        let protection = protection && segments >= 2;
        let lists = if protection { 2 } else { 1 };

        // Without indirect descriptors a command takes one for each list at least. More commands than fit at
        // that would be sent back by the driver again and again, which slows the whole host.
        let commands_per_queue = if indirect {
            size
        } else {
            size / (DESCRIPTORS_FIXED + lists)
        };
        let commands_per_lun = u32::from(limits.commands_per_lun).min(commands_per_queue);

        Ok(Self {
            // Both are less than what they were brought down from.
            segments: u16::try_from(segments / lists).unwrap_or(1),
            commands_per_queue,
            commands_per_lun: u16::try_from(commands_per_lun).unwrap_or(1),
            protection,
        })
    }
}

impl DeviceLimits {
    /// Checks whether a device that has come back after a reset can still be served as the midlayer
    /// was told: whether it takes commands as large as before. `now` is what it offers, `layout` the
    /// layouts before and now, `told` what the midlayer was told, `size` the number of descriptors of
    /// the smallest request queue.
    pub fn still_served(
        &self,
        now: &Self,
        layout: (Layout, Layout),
        told: &RingLimits,
        size: u32,
    ) -> Result<(), Refusal> {
        let (before, layout) = layout;
        let lists = if told.protection { 2 } else { 1 };
        let segments = lists * u32::from(told.segments);
        let less = |field, offered: u32, reason| {
            Err(Refusal {
                field,
                offered,
                reason,
            })
        };

        if now.sectors < self.sectors {
            return less("max_sectors", now.sectors, "it was more before the reset");
        }
        if u32::from(now.segments) < segments {
            return less(
                "seg_max",
                now.segments.into(),
                "it was more before the reset",
            );
        }
        if size < segments + DESCRIPTORS_FIXED {
            return less("queue size", size, "it was more before the reset");
        }
        if now.event_size > self.event_size {
            return less(
                "event_info_size",
                now.event_size,
                "it was less before the reset",
            );
        }
        if layout.cdb_size != before.cdb_size {
            return less(
                "cdb_size",
                layout.cdb_size.into(),
                "it was another before the reset",
            );
        }
        if layout.sense_size != before.sense_size {
            return less(
                "sense_size",
                layout.sense_size.into(),
                "it was another before the reset",
            );
        }
        if layout.protection != before.protection {
            return less(
                "T10_PI",
                layout.protection.into(),
                "it was another before the reset",
            );
        }
        Ok(())
    }
}
