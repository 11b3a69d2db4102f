// SPDX-License-Identifier: GPL-2.0

//! The configuration space of a device.
//!
//! Virtio 1.3, section 5.6.4.

use crate::{
    protocol::{
        adjustments::{
            Adjustments,
            Refusal, //
        },
        command::Layout,
        config::{
            offset,
            Config, //
        },
        features,
        limits::{
            Limits,
            Platform, //
        },
        settings::Settings, //
    },
    scsi_glue::possible_queues,
    virtio_glue::Device, //
};
use kernel::{
    device,
    fmt,
    prelude::*, //
};

/// Reads the configuration space, each field once.
fn read_config(dev: &Device<device::Bound>) -> Config {
    Config {
        num_queues: dev.read_config32(offset::NUM_QUEUES),
        seg_max: dev.read_config32(offset::SEG_MAX),
        max_sectors: dev.read_config32(offset::MAX_SECTORS),
        cmd_per_lun: dev.read_config32(offset::CMD_PER_LUN),
        event_info_size: dev.read_config32(offset::EVENT_INFO_SIZE),
        max_target: dev.read_config16(offset::MAX_TARGET),
        max_lun: dev.read_config32(offset::MAX_LUN),
    }
}

/// Reads and checks the configuration space.
///
/// Process context. Fails for a device that cannot be served, and logs why.
pub(super) fn read_limits(
    dev: &Device<device::Bound>,
    settings: &Settings,
    adjustments: &mut Adjustments,
) -> Result<Limits> {
    Limits::new(
        &read_config(dev),
        settings,
        Platform {
            queues: possible_queues(u32::MAX),
            // CAST: A `usize` has 64 bits or fewer.
            mapping: dev.max_mapping() as u64,
        },
        adjustments,
    )
    .map_err(|refusal| refuse(dev, refusal))
}

/// Writes the sizes of CDB and sense data that the driver wants, and reads those that the device
/// accepts.
///
/// Process context. Fails for a device that cannot be served, and logs why.
pub(super) fn set_layout(
    dev: &Device<device::Bound>,
    adjustments: &mut Adjustments,
) -> Result<Layout> {
    dev.write_config32(offset::CDB_SIZE, Layout::WANTED.cdb_size.into());
    dev.write_config32(offset::SENSE_SIZE, Layout::WANTED.sense_size.into());

    Layout::new(
        dev.read_config32(offset::CDB_SIZE),
        dev.read_config32(offset::SENSE_SIZE),
        dev.has_feature(features::VIRTIO_SCSI_F_T10_PI),
        adjustments,
    )
    .map_err(|refusal| refuse(dev, refusal))
}

/// Logs why a device cannot be served, and returns the error for it.
pub(super) fn refuse(dev: &Device<device::Bound>, refusal: Refusal) -> Error {
    dev_err!(dev, "the device cannot be served: {refusal}\n");
    EINVAL
}

/// Logs the values that the driver has adjusted.
pub(super) fn log_adjustments(dev: &Device<device::Bound>, adjustments: &Adjustments) {
    if !adjustments.is_empty() {
        dev_warn!(dev, "adjusted: {adjustments}\n");
    }
}

impl fmt::Display for Adjustments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}
