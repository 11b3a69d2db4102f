// SPDX-License-Identifier: GPL-2.0

//! What is done about an event.

use super::{
    inbox::Item,
    queue::{
        EventQueue,
        ROUND, //
    },
    wire::Event,
};
use crate::{
    queues::{
        wire::{
            Address,
            ASYNC_MEDIA_CHANGE,
            ASYNC_OPERATIONAL_CHANGE,
            LUN_FLAT, //
        },
        Initiator, //
    },
    scsi_glue::{
        Host,
        LogicalUnit,
        UnitEvent, //
    },
    virtio_glue::Task, //
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

/// After how many milliseconds buffers that found no memory are given to the device again.
const LATER: u32 = 1_000;

/// Handles the events of a host.
pub(super) struct Handling {
    pub(super) queue: Arc<EventQueue>,
    pub(super) host: Arc<Host<Initiator>>,
}

impl Handling {
    pub(super) fn new(queue: Arc<EventQueue>, host: Arc<Host<Initiator>>) -> Self {
        Self { queue, host }
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
            Event::Rescan(Address { target, lun: 0 }) => self.host.scan_target(target.into()),
            Event::Removed(Address { target, lun: 0 }) => self.reconcile_target(target.into()),
            Event::Rescan(address) => self.add(address),
            Event::Removed(address) => {
                if let Some(unit) = self.find(address) {
                    self.remove(unit);
                }
            }
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
    fn tell(&self, what: fmt::Arguments<'_>) {
        let shared = self.queue.shared();

        if shared.may_complain() {
            dev_info!(shared.dev(), "{}\n", what);
        }
    }

    /// Returns the logical unit at an address.
    ///
    /// A unit below 256 that the device reports in the flat format has another number than one in
    /// the peripheral format, which is what addresses of events are in.
    fn find(&self, address: Address) -> Option<LogicalUnit> {
        let target = address.target.into();

        self.host
            .logical_unit(target, address.lun)
            .or_else(|| self.host.logical_unit(target, address.lun | LUN_FLAT))
    }

    /// Adds the logical unit at an address.
    fn add(&self, address: Address) {
        match self.find(address) {
            // It may be another by now.
            Some(unit) => {
                let _ = unit.rescan();
            }
            // That it is not there after all is nothing to tell of.
            None => {
                let _ = self
                    .host
                    .add_logical_unit(address.target.into(), address.lun);
            }
        }
    }

    /// Removes a logical unit that is gone, in a bounded time.
    ///
    /// Its commands must be back before the midlayer removes it: the midlayer waits for them, and
    /// lets nobody add or remove any other logical unit of the host meanwhile.
    pub(super) fn remove(&self, unit: LogicalUnit) {
        let (target, lun) = (unit.target(), unit.lun());

        unit.condemn();

        if let (Ok(id), Some(initiator)) = (u8::try_from(target), self.host.driver()) {
            // If nobody handles events any more, the removal of the host sees to the commands.
            let busy = || {
                !self.queue.is_stopped()
                    && self.host.any_in_flight(|command| {
                        (command.target(), command.lun()) == (target, lun)
                            && initiator.holds(&command)
                    })
            };

            initiator
                .recovery()
                .release(initiator, Address { target: id, lun }, busy);
        }

        unit.remove();
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

        match event {
            // Nothing of what is known of it has changed.
            Some(UnitEvent::SoftThreshold) => {}
            Some(UnitEvent::LunChange) => self.host.scan_target(unit.target()),
            _ => {
                let _ = unit.rescan();
            }
        }
        if let Some(event) = event {
            unit.tell(event);
        }
    }
}

impl Task for Handling {
    fn run(&self) -> Option<Jiffies> {
        for _ in 0..AT_A_TIME {
            if self.queue.is_stopped() {
                return None;
            }
            if let Some(item) = self.queue.inbox().take() {
                self.handle(item);
            } else if self.queue.collect() == ROUND {
                fsleep(Delta::from_millis(REST));
            } else if self.queue.inbox().is_empty() {
                // Buffers that found no memory find some later.
                return self.queue.is_starved().then(|| msecs_to_jiffies(LATER));
            }
        }
        // The system may want to be suspended, for which this has to pause.
        Some(0)
    }
}
