// SPDX-License-Identifier: GPL-2.0

//! The bytes and numbers of virtio 1.3, section 5.6, and of SCSI: requests and responses, the
//! meaning of response codes, and the limits that a device offers.
//!
//! Nothing here may name the kernel: the files use `core` alone, and the crate in `tools/wire`
//! compiles and tests them on the host.
//!
//! C header: [`include/uapi/linux/virtio_scsi.h`](srctree/include/uapi/linux/virtio_scsi.h)

pub mod address;
pub mod adjustments;
pub mod byte_order;
pub mod cdb;
pub mod claims;
pub mod command;
pub mod config;
pub mod control;
pub mod event;
pub mod features;
pub mod limits;
pub mod report_luns;
pub mod response;
pub mod sense;
pub mod settings;
pub mod states;
pub mod status;
pub mod vpd;
