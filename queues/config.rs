// SPDX-License-Identifier: GPL-2.0

//! The device's configuration space, and the features that it depends on.
//!
//! Specification: virtio 1.3, section 5.6.4.

use super::{
    limits::{
        offset,
        Adjustments,
        Config,
        DeviceLimits,
        Layout,
        Platform,
        Refusal,
        Settings, //
    },
    wire, //
};
use crate::{
    scsi_glue::possible_queues,
    virtio_glue::Device, //
};
use kernel::{
    device,
    prelude::*, //
};

/// Commands can have protection information: `VIRTIO_SCSI_F_T10_PI`, a feature bit of
/// `include/uapi/linux/virtio_scsi.h`.
pub const VIRTIO_SCSI_F_T10_PI: u32 = 3;

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

/// Reads the configuration space and checks it. What has to be taken differently from what the
/// device says is noted in `adjustments`.
///
/// Process context. Fails for a device that cannot be served.
pub fn read_limits(
    dev: &Device<device::Bound>,
    settings: &Settings,
    adjustments: &mut Adjustments,
) -> Result<DeviceLimits, Refusal> {
    DeviceLimits::new(
        &read_config(dev),
        settings,
        Platform {
            queues: possible_queues(u32::MAX),
            // CAST: A `usize` has 64 bits or fewer.
            mapping: dev.max_mapping() as u64,
        },
        adjustments,
    )
}

/// Sets the sizes of CDB and sense data, and reads what became of it.
///
/// Process context. Fails for a device that cannot be served.
pub fn set_layout(
    dev: &Device<device::Bound>,
    adjustments: &mut Adjustments,
) -> Result<Layout, Refusal> {
    dev.write_config32(offset::CDB_SIZE, wire::CDB_MAX as u32);
    dev.write_config32(offset::SENSE_SIZE, wire::SENSE_WANTED);

    Layout::new(
        dev.read_config32(offset::CDB_SIZE),
        dev.read_config32(offset::SENSE_SIZE),
        dev.has_feature(VIRTIO_SCSI_F_T10_PI),
        adjustments,
    )
}

/// Says what the driver makes of odd values.
pub fn tell_adjustments(dev: &Device<device::Bound>, adjustments: &Adjustments) {
    if !adjustments.is_empty() {
        dev_warn!(
            dev,
            "taking what the device offers differently: {adjustments}\n"
        );
    }
}
