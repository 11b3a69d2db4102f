// SPDX-License-Identifier: GPL-2.0

//! The limits that the driver works with.
//!
//! Every number that a device offers passes through here. A value that the driver cannot serve is
//! brought into range and noted in [`Adjustments`], or refused.
//!
//! Virtio 1.3, section 5.6.4.

use super::{
    address::{
        LUN_FLAT,
        LUN_MAX, //
    },
    adjustments::{
        Adjustments,
        Refusal, //
    },
    command::Layout,
    config::Config,
    settings::Settings, //
};

/// The least that a device may let a command transfer, in sectors: a page of 4 KiB.
pub const SECTORS_MIN: u32 = 8;

/// The least that is passed to the block layer, in sectors: 64 KiB. The block layer warns of less
/// than its page or than the logical block of a disk, both of which can have 64 KiB. A disk that
/// takes less reports that in its Block Limits VPD page (SBC).
pub const SECTORS_TOLD_MIN: u32 = 128;

/// How many sectors a command can transfer if the device sets no limit.
const SECTORS_UNLIMITED: u32 = 0xffff;

/// The least that is passed to the block layer as the length of a segment, in bytes: the largest
/// page.
const SEGMENT_MIN: u64 = 65_536;

/// How many descriptors a command takes besides those of its data: one for the request, one for the
/// response.
const DESCRIPTORS_FIXED: u32 = 2;

/// How many descriptors a request of the controlq takes: one to read, one to write.
const CONTROL_DESCRIPTORS: u32 = 2;

/// The length of an event in the specification, in bytes.
pub const EVENT_SIZE: u32 = 16;

/// The longest event that the driver has room for, in bytes.
pub const EVENT_SIZE_MAX: u32 = 256;

/// The limits of the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Platform {
    /// How many hardware queues the block layer can use.
    pub queues: u32,
    /// The most that can be mapped for DMA at once, in bytes.
    pub mapping: u64,
}

/// The rings of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rings {
    /// The number of descriptors of the smallest request queue.
    pub size: u32,
    /// The number of descriptors of the controlq.
    pub control: u32,
    /// Whether descriptors may be indirect.
    pub indirect: bool,
}

/// The limits that the driver works with: what device, user and system allow together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How many request queues interrupt. At least 1.
    pub interrupt_queues: u32,
    /// How many request queues are polled.
    pub polled_queues: u32,
    /// The most commands that a request queue can have in flight. At least 1. Not limited before
    /// [`Limits::fit`].
    pub commands_per_queue: u32,
    /// The most commands that a logical unit can have in flight. 1 to 32767.
    pub commands_per_lun: u16,
    /// The most segments of a command, for data and protection information each. At least 1. Before
    /// [`Limits::fit`], for both together.
    pub segments: u16,
    /// The most bytes of a segment. At least 65536.
    pub segment_len: u32,
    /// The most data of a command, in sectors of 512 bytes. At least [`SECTORS_TOLD_MIN`].
    pub sectors: u32,
    /// The negotiated sizes of request and response. Before [`Limits::fit`], [`Layout::WANTED`].
    pub layout: Layout,
    /// Whether commands can have protection information: it was negotiated, and there is room for
    /// its segments. Not before [`Limits::fit`].
    pub protection: bool,
    /// The highest target. Its number has 8 bits in a request.
    pub last_target: u8,
    /// The highest logical unit, as the midlayer numbers them.
    pub last_lun: u64,
    /// The room for an event, in bytes. 16 to 256.
    pub event_size: u32,
}

impl Limits {
    /// Checks what a device offers before it has virtqueues.
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

        let (interrupt_queues, polled_queues) =
            Self::queues(config, settings, platform, adjustments);

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

        let last_lun = config.max_lun.min(LUN_MAX.into());
        adjustments.note("max_lun", config.max_lun, last_lun);

        let sectors = adjustments.note(
            "max_sectors",
            config.max_sectors,
            match config.max_sectors {
                0 => SECTORS_UNLIMITED,
                n => n.max(SECTORS_TOLD_MIN),
            },
        );
        // The smallest bounce buffer holds what can be mapped at once. It has to hold the request
        // and the response as well, or the command could never be sent: so half of it is for the
        // data.
        let mapped_sectors = u32::try_from(platform.mapping / 2 / 512)
            .unwrap_or(u32::MAX)
            .max(SECTORS_TOLD_MIN);

        Ok(Self {
            interrupt_queues,
            polled_queues,
            commands_per_queue: u32::MAX,
            // This and `last_target` are in range by now.
            commands_per_lun: u16::try_from(commands_per_lun).unwrap_or(1),
            segments,
            // CAST: It is in the range of a `u32`.
            segment_len: platform.mapping.clamp(SEGMENT_MIN, u64::from(u32::MAX)) as u32,
            sectors: sectors.min(mapped_sectors),
            layout: Layout::WANTED,
            protection: false,
            last_target: u8::try_from(last_target).unwrap_or(u8::MAX),
            last_lun: LUN_FLAT + u64::from(last_lun),
            event_size: config.event_info_size.max(EVENT_SIZE),
        })
    }

    /// Returns how many request queues interrupt, and how many are polled.
    fn queues(
        config: &Config,
        settings: &Settings,
        platform: Platform,
        adjustments: &mut Adjustments,
    ) -> (u32, u32) {
        // Many a device offers more queues than there are CPUs: no adjustment.
        let offered = adjustments.note("num_queues", config.num_queues, config.num_queues.max(1));
        let asked = match settings.request_queues {
            0 => Settings::QUEUES_MAX,
            n => n,
        };
        let queues = offered.min(asked).min(platform.queues.max(1));
        let polled = settings.poll_queues.min(queues - 1);

        (queues - polled, polled)
    }

    /// Returns the number of request queues.
    #[inline]
    pub fn request_queues(&self) -> u32 {
        self.interrupt_queues + self.polled_queues
    }

    /// Brings the limits down to what the rings can hold, and takes over the layout.
    ///
    /// A command has at most as many segments of protection information as of data, and both count
    /// towards `seg_max`. If `seg_max` leaves no room for the former, disks are used without.
    ///
    /// A chain of descriptors must not be longer than the ring, even if it is indirect (virtio 1.3,
    /// section 2.7.5.3.1). Without indirect descriptors a longer one could never be added, and the
    /// command would be retried for ever.
    pub fn fit(
        self,
        layout: Layout,
        rings: Rings,
        adjustments: &mut Adjustments,
    ) -> Result<Self, Refusal> {
        let room = rings.size.saturating_sub(DESCRIPTORS_FIXED);

        if room == 0 {
            return Err(Refusal {
                field: "queue size",
                offered: rings.size,
                reason: "a command with data takes 3 descriptors",
            });
        }

        // The virtio core warns of a chain that is longer than its ring.
        if rings.control < CONTROL_DESCRIPTORS {
            return Err(Refusal {
                field: "controlq size",
                offered: rings.control,
                reason: "a request of the controlq takes 2 descriptors",
            });
        }

        let segments = u32::from(self.segments).min(room);
        adjustments.note("seg_max", self.segments.into(), segments);

        let protection = layout.protection && segments >= 2;
        let lists = if protection { 2 } else { 1 };

        // Without indirect descriptors a command takes at least one for each list. Commands beyond
        // that would be requeued again and again, which slows down the whole host.
        let commands_per_queue = if rings.indirect {
            rings.size
        } else {
            rings.size / (DESCRIPTORS_FIXED + lists)
        };
        let commands_per_lun = u32::from(self.commands_per_lun).min(commands_per_queue);

        Ok(Self {
            commands_per_queue,
            // Neither is more than the `u16` from which it was brought down.
            commands_per_lun: u16::try_from(commands_per_lun).unwrap_or(1),
            segments: u16::try_from(segments / lists).unwrap_or(1),
            layout,
            protection,
            ..self
        })
    }

    /// Returns how many segments the device has to take, those of protection information included.
    fn all_segments(&self) -> u32 {
        let lists = if self.protection { 2 } else { 1 };

        lists * u32::from(self.segments)
    }

    /// Checks whether a device that was reset can still be served within these limits, which the
    /// midlayer was given: commands may be as large as before. `now` are the device's limits after
    /// the reset, before [`Limits::fit`].
    pub fn still_served(&self, now: &Self, layout: Layout, rings: Rings) -> Result<(), Refusal> {
        const MORE: &str = "it was more before the reset";
        const LESS: &str = "it was less before the reset";
        const ANOTHER: &str = "it was another before the reset";

        let was = &self.layout;
        let changes = [
            (now.sectors < self.sectors, "max_sectors", now.sectors, MORE),
            (
                u32::from(now.segments) < self.all_segments(),
                "seg_max",
                now.segments.into(),
                MORE,
            ),
            (
                rings.size < self.all_segments() + DESCRIPTORS_FIXED,
                "queue size",
                rings.size,
                MORE,
            ),
            (
                rings.control < CONTROL_DESCRIPTORS,
                "controlq size",
                rings.control,
                MORE,
            ),
            (
                now.event_size > self.event_size,
                "event_info_size",
                now.event_size,
                LESS,
            ),
            (
                layout.cdb_size != was.cdb_size,
                "cdb_size",
                layout.cdb_size.into(),
                ANOTHER,
            ),
            (
                layout.sense_size != was.sense_size,
                "sense_size",
                layout.sense_size.into(),
                ANOTHER,
            ),
            (
                layout.protection != was.protection,
                "T10_PI",
                layout.protection.into(),
                ANOTHER,
            ),
        ];

        changes.into_iter().find(|(changed, ..)| *changed).map_or(
            Ok(()),
            |(_, field, offered, reason)| {
                Err(Refusal {
                    field,
                    offered,
                    reason,
                })
            },
        )
    }
}
