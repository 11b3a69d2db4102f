// SPDX-License-Identifier: GPL-2.0

//! The module parameters that are set when the module is loaded.

/// The values of the parameters. 0 leaves the choice to the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How many request queues are polled.
    pub poll_queues: u32,
    /// The most request queues to use, polled ones included.
    pub request_queues: u32,
    /// The most commands that a logical unit can have in flight.
    pub queue_depth: u32,
    /// The most logical units that a device can have. 0: no limit.
    pub max_units: u32,
}

impl Settings {
    /// The most logical units of a device if nobody says otherwise: as many as a target can have.
    /// Each takes memory of the kernel.
    pub const UNITS: u32 = 16_384;

    /// The most commands that the midlayer lets a logical unit have in flight.
    pub const QUEUE_DEPTH_MAX: u32 = i16::MAX as u32;

    /// The most virtqueues that a device can have, less controlq and eventq.
    pub const QUEUES_MAX: u32 = u16::MAX as u32 - 2;

    /// Returns the settings for a kernel that writes a dump: one request queue, which interrupts.
    pub const fn for_crash_kernel(self) -> Self {
        Self {
            poll_queues: 0,
            request_queues: 1,
            ..self
        }
    }

    /// Returns whether a device may have `count` logical units.
    pub const fn allows(&self, count: u32) -> bool {
        self.max_units == 0 || count <= self.max_units
    }

    /// Returns why the module must not be loaded with these values, if there is a reason.
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
        if self.request_queues != 0 && self.poll_queues >= self.request_queues {
            return Some(
                "poll_queues has to be less than request_queues: at least one queue must interrupt",
            );
        }
        None
    }
}
