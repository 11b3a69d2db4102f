// SPDX-License-Identifier: GPL-2.0

//! The parts of `virtio_scsi_rs` that use `core` alone.
//!
//! These are the files of the module itself, not copies. They are compiled here for the host, so
//! that the tests beside this can try them with far more than a device would send.

pub mod invariants;
#[path = "../../../protocol/mod.rs"]
pub mod protocol;
