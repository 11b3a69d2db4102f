// SPDX-License-Identifier: GPL-2.0

//! The configuration and the settings that several tests begin with.

use virtio_scsi_wire::protocol::{config::Config, settings::Settings};

/// A configuration that is as a device would have it.
pub const ORDINARY: Config = Config {
    num_queues: 4,
    seg_max: 126,
    max_sectors: 0xffff,
    cmd_per_lun: 128,
    event_info_size: 16,
    max_target: 255,
    max_lun: 16383,
};

/// No settings.
pub const UNSET: Settings = Settings {
    poll_queues: 0,
    request_queues: 0,
    queue_depth: 0,
    max_units: Settings::UNITS,
};
