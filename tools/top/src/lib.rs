// SPDX-License-Identifier: GPL-2.0

//! Shows what the driver virtio_scsi_rs and its devices are doing.
//!
//! The driver writes its reports to debugfs. [`view::look`] reads them, and says what they mean;
//! [`text`], [`json`] and [`prometheus`] print that once, and [`terminal`] shows it live.

#![forbid(unsafe_code)]

pub mod app;
pub mod attention;
pub mod cdb;
pub mod disks;
pub mod json;
pub mod latency;
pub mod prometheus;
pub mod rates;
pub mod report;
pub mod screen;
pub mod source;
pub mod stuck;
pub mod terminal;
pub mod text;
pub mod units;
pub mod view;

#[cfg(test)]
mod made_up;
