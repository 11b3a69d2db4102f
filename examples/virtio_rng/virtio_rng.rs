// SPDX-License-Identifier: GPL-2.0

//! A driver for the virtio entropy device, as an example for `virtio_glue`.
//!
//! `tools/build-example virtio_rng` builds it with `virtio_glue` and `kernel_glue` alone. It is not
//! part of virtio_scsi_rs. What the device has of random bytes can be read from
//! `/sys/kernel/debug/virtio_rng/DEVICE/random`. Nobody may have that open when the module is
//! unloaded: files of [`kernel::debugfs`] do not hold the module that they are of.
//!
//! Specification: virtio 1.3, section 5.4.
//! C version of this driver:
//! [`drivers/char/hw_random/virtio-rng.c`](srctree/drivers/char/hw_random/virtio-rng.c)

use crate::{
    device::VirtioRng,
    kernel_glue::ModuleParts,
    virtio_glue::{
        Adapter,
        DeviceId, //
    },
};
use kernel::{
    driver,
    prelude::*, //
};

#[deny(unsafe_code)]
pub mod device;
#[deny(unsafe_code)]
pub mod request_queue;
// Other drivers use the rest of them.
#[allow(unused)]
#[path = "../../kernel_glue/mod.rs"]
pub mod kernel_glue;
#[allow(unused)]
#[path = "../../virtio_glue/mod.rs"]
pub mod virtio_glue;

// The compiler has to refuse each of these: see tools/tests/test_example_virtio.py.
#[cfg(misuse_borrows)]
#[path = "misuse/borrows.rs"]
mod misuse;
#[cfg(misuse_privacy)]
#[path = "misuse/privacy.rs"]
mod misuse;
#[cfg(misuse_types)]
#[path = "misuse/types.rs"]
mod misuse;

module! {
    type: Module,
    name: "virtio_rng",
    authors: ["The authors of virtio_scsi_rs"],
    description: "Virtio entropy device driver, an example",
    license: "GPL",
}

/// `VIRTIO_ID_RNG` of `include/uapi/linux/virtio_ids.h`.
const VIRTIO_ID_RNG: u32 = 4;

virtio_glue::virtio_device_table!(ID_TABLE, [DeviceId::any_vendor(VIRTIO_ID_RNG)]);

/// The module: a driver on the virtio bus. The driver is dropped first.
#[pin_data]
pub struct Module {
    #[pin]
    _driver: driver::Registration<Adapter<VirtioRng>>,
    _parts: ModuleParts,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _parts: ModuleParts::new(c"virtio_rng", c"virtio_rng_awake")?,
            _driver <- driver::Registration::new(c"virtio_rng", module),
        })
    }
}
