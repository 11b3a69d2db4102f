// SPDX-License-Identifier: GPL-2.0

//! What all queues of a device have in common.

use super::{
    attentions::Attentions,
    counters::Counters,
    life::Life,
    recovery::Healing,
    wire::ByteOrder, //
};
use crate::virtio_glue::{
    new_locked,
    Device,
    Locked,
    RateLimit,
    Worker, //
};
use kernel::{
    device,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

/// What all queues of a device have in common.
#[pin_data]
pub struct Shared {
    /// The device, to name in the log.
    dev: ARef<Device>,
    /// The order of bytes in its fields.
    order: ByteOrder,
    /// Where it is in its life.
    #[pin]
    life: Life,
    /// What an operator can see of it.
    counters: Counters,
    /// What logical units have reported not long ago.
    #[pin]
    attentions: Attentions,
    /// Limits what the device can make the queues say.
    #[pin]
    complaints: RateLimit,
    /// Resets the device when it is found not to work, from probe to the end of unbinding.
    #[pin]
    healing: Locked<Option<Arc<Worker<Healing>>>>,
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
                life <- Life::new(),
                counters: Counters::default(),
                attentions <- Attentions::new(),
                complaints <- RateLimit::new(),
                healing <- new_locked!(None, c"Shared::healing"),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the device, to name in the log.
    pub fn dev(&self) -> &device::Device {
        (*self.dev).as_ref()
    }

    /// Returns the device, to ask how it is.
    pub fn virtio_device(&self) -> &Device {
        &self.dev
    }

    /// Returns the order of bytes in the device's fields.
    #[inline]
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// Returns the device's life, which is to be asked for whatever depends on its state.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// Returns what is counted of the device.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns what logical units have reported not long ago.
    pub fn attentions(&self) -> &Attentions {
        &self.attentions
    }

    /// Returns whether something that the device has brought about may be told now. Any context.
    pub fn may_complain(&self) -> bool {
        self.complaints.pass()
    }

    /// Sets what resets the device, or takes it away. In that case, when it returns, it does not reset the
    /// device, and will not.
    ///
    /// Process context.
    pub fn set_healing(&self, worker: Option<Arc<Worker<Healing>>>) {
        let former = core::mem::replace(&mut *self.healing.lock(), worker);

        if let Some(former) = former {
            former.cancel();
        }
    }

    /// Has the device looked at soon, and reset if it does not work. Any context.
    pub fn heal(&self) {
        if self.life.is_gone() {
            return;
        }
        if let Some(worker) = &*self.healing.lock() {
            worker.schedule();
        }
    }
}
