// SPDX-License-Identifier: GPL-2.0

//! A SCSI host adapter without hardware, with one disk of zeroes, as an example for `scsi_glue`.
//!
//! `tools/build-example scsi_null` builds it with `scsi_glue` and `kernel_glue` alone. It is not
//! part of virtio_scsi_rs.

use crate::{
    host::{
        NoData,
        NullHost, //
    },
    scsi_glue::Host, //
};
use kernel::{
    device,
    faux,
    prelude::*,
    sync::Arc, //
};

#[deny(unsafe_code)]
pub mod host;
// Other drivers use the rest of it.
#[allow(unused)]
#[path = "../../kernel_glue/mod.rs"]
pub mod kernel_glue;
// The host has no attributes of its own, for which there is a macro.
#[allow(unused_imports, unused_macros)]
#[path = "../../scsi_glue/mod.rs"]
pub mod scsi_glue;

// The compiler has to refuse each of these: see tools/tests/test_example_scsi.py.
#[cfg(misuse_borrows)]
#[path = "misuse/borrows.rs"]
mod misuse;
#[cfg(misuse_constants)]
#[path = "misuse/constants.rs"]
pub mod misuse;
#[cfg(misuse_privacy)]
#[path = "misuse/privacy.rs"]
mod misuse;
#[cfg(misuse_types)]
#[path = "misuse/types.rs"]
mod misuse;

module! {
    type: ScsiNull,
    name: "scsi_null",
    authors: ["The authors of virtio_scsi_rs"],
    description: "SCSI host adapter with a disk of zeroes, an example",
    license: "GPL",
}

/// The module: a device, and a host below it. The host is dropped first.
pub struct ScsiNull {
    _host: Pin<KBox<Host<NoData>>>,
    _device: faux::Registration,
}

impl kernel::Module for ScsiNull {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let registration = faux::Registration::new(c"scsi_null", None)?;
        let device: &device::Device<device::Bound> = registration.as_ref().as_ref();
        let driver = Arc::new(NullHost, GFP_KERNEL)?;
        let host = KBox::pin_init(Host::new(device, host::LIMITS, driver), GFP_KERNEL)?;

        host.scan();
        Ok(Self {
            _host: host,
            _device: registration,
        })
    }
}
