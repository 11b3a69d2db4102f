// SPDX-License-Identifier: GPL-2.0

//! What all queues of a device have in common.

use super::{
    counters::Counters,
    recovery::SelfHealing,
    wire::ByteOrder, //
};
use crate::virtio_glue::{
    new_locked,
    Device,
    Flag,
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
    /// Whether the device is given up: its commands end at once, and it is not reset any more.
    dead: Flag,
    /// What an operator can see of it.
    counters: Counters,
    /// Limits what the device can make the queues say.
    #[pin]
    complaints: RateLimit,
    /// Resets the device when it is found not to work, while there is one.
    #[pin]
    healing: Locked<Option<Arc<Worker<SelfHealing>>>>,
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
                dead: Flag::default(),
                counters: Counters::default(),
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

    /// Returns the order of bytes in the device's fields.
    #[inline]
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// Returns what is counted of the device.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns whether something that the device has brought about may be told now. Any context.
    pub fn may_complain(&self) -> bool {
        self.complaints.pass()
    }

    /// Gives the device up. Any context.
    pub fn give_up(&self) {
        self.dead.set();
    }

    /// Returns whether the device is given up. Any context.
    pub fn is_given_up(&self) -> bool {
        self.dead.is_set()
    }

    /// Sets what resets the device, or takes it away. In that case, when it returns, the device is
    /// not being reset, and will not be.
    ///
    /// Process context.
    pub fn set_healing(&self, worker: Option<Arc<Worker<SelfHealing>>>) {
        let former = core::mem::replace(&mut *self.healing.lock(), worker);

        if let Some(former) = former {
            former.cancel();
        }
    }

    /// Has the device reset soon, because it does not work. Any context.
    pub fn heal(&self) {
        if self.is_given_up() {
            return;
        }
        if let Some(worker) = &*self.healing.lock() {
            worker.schedule();
        }
    }
}
