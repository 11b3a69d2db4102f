// SPDX-License-Identifier: GPL-2.0-or-later

//! A virtio-scsi device that behaves by script, served over vhost-user. See README.md.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(test)]
mod bench;
pub mod bytes;
pub mod config_space;
pub mod conformance;
pub mod control;
pub mod device;
#[cfg(test)]
mod documents;
pub mod event_loop;
pub mod log;
pub mod ring;
pub mod rules;
pub mod scenario;
pub mod scsi;
pub mod vhost;
pub mod wire;
