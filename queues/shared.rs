// SPDX-License-Identifier: GPL-2.0

//! What all queues of a device have in common.

use super::wire::ByteOrder;
use crate::virtio_glue::{
    Device,
    RateLimit, //
};
use kernel::{
    device,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

/// What all queues of a device have in common. It does not change while the device is bound.
#[pin_data]
pub struct Shared {
    /// The device, to name in the log.
    dev: ARef<Device>,
    /// The order of bytes in its fields.
    order: ByteOrder,
    /// Limits what the device can make the queues say.
    #[pin]
    complaints: RateLimit,
}

impl Shared {
    /// Notes what there is to know of a device.
    pub fn new(dev: &Device<device::Bound>) -> Result<Arc<Self>> {
        let order = if dev.is_little_endian() {
            ByteOrder::Little
        } else {
            ByteOrder::Big
        };

        Arc::pin_init(
            pin_init!(Self {
                dev: dev.into(),
                order,
                complaints <- RateLimit::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the device, to name in the log.
    pub fn dev(&self) -> &device::Device {
        (*self.dev).as_ref()
    }

    /// Returns the order of bytes in the device's fields.
    #[inline]
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// Returns whether something that the device has brought about may be told now. Any context.
    pub fn may_complain(&self) -> bool {
        self.complaints.pass()
    }
}
