// SPDX-License-Identifier: GPL-2.0

//! The time in which events are handled, from the host's scan to its removal; and the work that no
//! event brings, for logical units that the midlayer has found and after device resets.

use super::{
    handler::EventHandler,
    handler_work::HandlerWork,
    identities::Identities,
    inbox::{
        Inbox,
        Work, //
    },
    queue::EventQueue,
    units::Units,
    vpd_pages::{
        read_identities,
        read_lists,
        Reading, //
    },
};
use crate::{
    kernel_glue::{
        Queue,
        Worker, //
    },
    queues::{
        address_of,
        ControlQueue,
        Host,
        SharedState,
        Unit, //
    },
    recovery::Recovery, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The events of a device.
///
/// [`Self::start`] closes two cycles of references. [`Self::stop`], which every unbinding calls,
/// cuts both at the work item:
///
/// - work item -> `EventHandler` -> `EventQueue` -> `HandlerWork` -> work item;
/// - work item -> `EventHandler` -> `Host` -> `Initiator` -> this -> `HandlerWork` -> work item.
pub struct Events {
    control: Arc<ControlQueue>,
    queue: Arc<EventQueue>,
    inbox: Arc<Inbox>,
    handler: Arc<HandlerWork>,
    identities: Arc<Identities>,
}

impl Events {
    /// Creates the eventq of a device, without a virtqueue, for events of up to `event_size` bytes.
    ///
    /// Subscriptions to notifications are sent to `control`.
    pub fn new(
        shared: Arc<SharedState>,
        control: Arc<ControlQueue>,
        event_size: u32,
    ) -> Result<Arc<Self>> {
        let inbox = Inbox::new()?;
        let handler = HandlerWork::new()?;
        let queue = EventQueue::new(shared, event_size, inbox.clone(), handler.clone())?;

        Ok(Arc::new(
            Self {
                control,
                queue,
                inbox,
                handler,
                identities: Identities::new()?,
            },
            GFP_KERNEL,
        )?)
    }

    /// Returns the eventq.
    pub fn queue(&self) -> Arc<EventQueue> {
        self.queue.clone()
    }

    /// Starts to handle events for `host`, the host of `recovery`, and posts the buffers.
    ///
    /// Process context. Fails with [`ENOMEM`]; then no event is handled.
    pub(crate) fn start(&self, host: Arc<Host>, recovery: Arc<Recovery>) -> Result {
        let units = Units::new(
            host,
            recovery,
            self.control.clone(),
            self.identities.clone(),
            self.handler.clone(),
        );
        let handler = EventHandler::new(self.inbox.clone(), self.queue.clone(), units);
        let worker = Arc::pin_init(Worker::new(handler, Queue::Events), GFP_KERNEL)?;

        self.handler.install(worker);
        self.queue.post_spare();
        Ok(())
    }

    /// Continues after a device reset: posts the buffers, and finds out what was missed.
    ///
    /// Process context.
    pub fn resume(&self) {
        self.queue.post_spare();
        self.add(Work::Reconcile);
    }

    /// Stops handling events. When this returns, no event is being handled, and none will be.
    ///
    /// Process context.
    pub fn stop(&self) {
        self.handler.stop();
    }

    /// Called when the midlayer has found a logical unit.
    ///
    /// Process context. Commands that the midlayer sends to the unit must not be waited for.
    pub fn found(&self, recovery: &Recovery, unit: &Unit) {
        let Some(address) = address_of(unit) else {
            return;
        };
        let mut readings = [Reading::new(unit, address)];

        read_lists(recovery, &mut readings);

        // Without VPD pages, or with a malformed list of them, a unit has no identity.
        if unit.supports_vpd() {
            read_identities(recovery, &mut readings, &|| false);
        }

        let [mut reading] = readings;

        self.identities.keep(address, reading.take_pages());
        if unit.is_rom() {
            self.add(Work::Subscribe(address));
        }
    }

    /// Adds work to the inbox, and schedules the handler. Any context.
    fn add(&self, work: Work) {
        self.inbox.add(work);
        self.handler.schedule();
    }
}
