// SPDX-License-Identifier: GPL-2.0

//! What is done about an event.

use super::{
    inbox::Item,
    looks::{
        Due,
        Looks, //
    },
    queue::{
        EventQueue,
        ROUND, //
    },
    units::{
        check_list,
        patience,
        TEST_UNIT_READY, //
    },
    wire::Event, //
};
use crate::{
    queues::{
        wire::{
            Address,
            ASYNC_MEDIA_CHANGE,
            ASYNC_OPERATIONAL_CHANGE, //
        },
        Initiator, //
    },
    scsi_glue::{
        Host,
        UnitEvent, //
    },
    virtio_glue::{
        Stamp,
        Task, //
    },
};
use kernel::{
    fmt,
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
};

/// How long the worker rests when the device reports events faster than they can be taken, in
/// milliseconds.
const REST: i64 = 10;

/// How many things the worker does before it lets the system be suspended.
const AT_A_TIME: usize = 64;

/// How long it takes at the most for them before that, but for the last, in milliseconds.
const AT_A_TIME_MS: u32 = 1_000;

/// After how many milliseconds buffers that found no memory are given to the device again.
const LATER: u32 = 1_000;

/// Handles the events of a host.
#[pin_data]
pub(super) struct Handling {
    pub(super) queue: Arc<EventQueue>,
    pub(super) host: Arc<Host<Initiator>>,
    #[pin]
    pub(super) looks: Looks,
}

impl Handling {
    pub(super) fn new(queue: Arc<EventQueue>, host: Arc<Host<Initiator>>) -> impl PinInit<Self> {
        pin_init!(Self {
            queue,
            host,
            looks <- Looks::new(),
        })
    }

    /// Does one thing.
    fn handle(&self, item: Item) {
        match item {
            Item::Reconcile => {
                self.tell(format_args!(
                    "events may have been missed: looking for changes"
                ));
                self.reconcile();
            }
            Item::Subscribe(address) => self.subscribe(address),
            Item::Event(event) => self.handle_event(event),
        }
    }

    /// Has a logical unit notify of what the driver wants to know.
    pub(super) fn subscribe(&self, address: Address) {
        if let Some(initiator) = self.host.driver() {
            initiator.recovery().subscribe(address);
        }
    }

    /// Handles an event.
    fn handle_event(&self, event: Event) {
        match event {
            Event::Nothing => {}
            // What is said of LUN 0 is said of the target.
            Event::Rescan(Address { target, lun: 0 }) => self.target_announced(target, 0),
            Event::Removed(address) => self.removed(address),
            Event::Rescan(address) => self.announced(address, 0),
            Event::HardReset(address) => self.host.report_reset(address.target.into()),
            Event::Changed(address, asc, ascq) => self.changed(address, asc, ascq),
            Event::Notification(address, events) => {
                if events & (ASYNC_MEDIA_CHANGE | ASYNC_OPERATIONAL_CHANGE) != 0 {
                    if let Some(unit) = self.find(address) {
                        unit.tell(UnitEvent::MediaChange);
                    }
                }
            }
            Event::Unknown => self.tell(format_args!(
                "the device has reported an event that does not exist"
            )),
        }
    }

    /// Says something that the device has brought about.
    pub(super) fn tell(&self, what: fmt::Arguments<'_>) {
        let shared = self.queue.shared();

        if shared.may_complain() {
            dev_info!(shared.dev(), "{}\n", what);
        }
    }

    /// Does what a logical unit's saying that something of it has changed is about: additional
    /// sense code and qualifier, as in a unit attention (SPC).
    fn changed(&self, address: Address, asc: u8, ascq: u8) {
        let Some(unit) = self.find(address) else {
            return;
        };
        let event = match (asc, ascq) {
            (0x2a, 0x01) => Some(UnitEvent::ModeParameterChange),
            (0x2a, 0x06) => Some(UnitEvent::AccessStateChange),
            (0x2a, 0x09) => Some(UnitEvent::CapacityChange),
            (0x38, 0x07) => Some(UnitEvent::SoftThreshold),
            (0x3f, 0x03) => Some(UnitEvent::InquiryChange),
            (0x3f, 0x0e) => Some(UnitEvent::LunChange),
            _ => None,
        };

        // Of what it reports the midlayer makes a task that reads it again.
        if let Some(initiator) = self.host.driver() {
            let _ = check_list(initiator, &unit, address);
        }
        if !self.is_in_trouble(&unit) {
            // Now it reports the change to the midlayer, which tells user space.
            let _awake = unit.wake();
            let _ = unit.execute(&TEST_UNIT_READY, &mut [], patience());
        }

        let known = Address {
            target: address.target,
            lun: unit.lun(),
        };

        // It does not report all that the device does.
        if let Some(event) =
            event.filter(|_| !self.queue.shared().attentions().take(known, asc, ascq))
        {
            unit.tell(event);
        }

        match event {
            // Nothing of what is known of it has changed.
            Some(UnitEvent::SoftThreshold) => {}
            Some(UnitEvent::LunChange) => {
                self.check_target(address.target);
                let _ = self.scan_target(address.target);
            }
            Some(UnitEvent::InquiryChange) => self.announced(known, 0),
            _ => self.read_again_when_well(&unit, 0),
        }
    }
}

impl Task for Handling {
    fn run(&self) -> Option<Jiffies> {
        let began = Stamp::now();

        for _ in 0..AT_A_TIME {
            if self.queue.is_stopped() {
                return None;
            }
            if began.elapsed() >= msecs_to_jiffies(AT_A_TIME_MS) {
                break;
            }
            if let Some(item) = self.queue.inbox().take() {
                self.handle(item);
            } else if self.queue.collect() == ROUND {
                fsleep(Delta::from_millis(REST));
            } else if let Some(due) = self.looks.take_due() {
                match due {
                    Due::Look(look) => self.look(look),
                    Due::All => self.handle(Item::Reconcile),
                }
            } else if self.queue.inbox().is_empty() {
                // Buffers that found no memory find some later.
                let starved = self.queue.is_starved().then(|| msecs_to_jiffies(LATER));

                return [starved, self.looks.next()].into_iter().flatten().min();
            }
        }
        // The system may want to be suspended, for which this has to pause.
        Some(0)
    }
}
