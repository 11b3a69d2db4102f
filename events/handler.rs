// SPDX-License-Identifier: GPL-2.0

//! Third stop of an event: the handler, which takes the work from the inbox, one after the other,
//! and acts on it.

use super::{
    inbox::{
        Inbox,
        Work, //
    },
    queue::{
        facts_of,
        missed,
        Collected,
        EventQueue, //
    },
    rechecks::Due,
    reconcile::reconcile,
    reread::{
        report_attention_when_well,
        reread_when_well, //
    },
    rereads::Rereads,
    topology::Topology,
    units::Units,
    vpd_pages::read_list, //
};
use crate::{
    kernel_glue::{
        RateLimit,
        Stamp,
        Task, //
    },
    protocol::{
        address::Address,
        control::{
            ASYNC_MEDIA_CHANGE,
            ASYNC_OPERATIONAL_CHANGE, //
        },
        event::Event, //
    },
    scsi_glue::DeviceEvent,
    trace_glue, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
};

/// How long the handler sleeps when the device reports events faster than they are collected, in
/// milliseconds.
const FLOOD_BACKOFF_MS: i64 = 10;

/// How many pieces of work are done in one run: the workqueue can be frozen for a suspend only
/// between runs.
const BATCH: usize = 64;

/// After how many of them a unit is read again, if it is time.
const READ_EVERY: usize = 8;

/// How long a run takes, in milliseconds. Not checked within a piece of work.
const BATCH_MS: u32 = 1_000;

/// After how many milliseconds buffers that could not be posted for lack of memory are posted.
const REPOST_DELAY_MS: u32 = 1_000;

/// How many times subscriptions are renewed in [`RENEWALS_PERIOD_S`]. Without this limit a device
/// that breaks on each subscription would be reset and subscribed to for ever.
const RENEWALS: u32 = 5;

/// The period of [`RENEWALS`], in seconds.
const RENEWALS_PERIOD_S: u32 = 600;

/// Additional sense code and qualifier of a parameter change (SPC).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct AdditionalSense {
    asc: u8,
    ascq: u8,
}

impl AdditionalSense {
    /// Returns the event that user space gets, if there is one.
    fn unit_event(self) -> Option<DeviceEvent> {
        match (self.asc, self.ascq) {
            (0x2a, 0x01) => Some(DeviceEvent::ModeParameterChange),
            (0x2a, 0x06) => Some(DeviceEvent::AccessStateChange),
            (0x2a, 0x09) => Some(DeviceEvent::CapacityChange),
            (0x38, 0x07) => Some(DeviceEvent::SoftThreshold),
            (0x3f, 0x03) => Some(DeviceEvent::InquiryChange),
            (0x3f, 0x0e) => Some(DeviceEvent::LunChange),
            _ => None,
        }
    }
}

/// The event handler of a host.
#[pin_data]
pub(super) struct EventHandler {
    inbox: Arc<Inbox>,
    queue: Arc<EventQueue>,
    #[pin]
    topology: Topology,
    #[pin]
    rereads: Rereads,
    /// Limits how often subscriptions are renewed.
    #[pin]
    renewals: RateLimit,
}

impl EventHandler {
    /// Makes an initialiser for the handler of `inbox` and `queue`, which acts on `units`.
    pub(super) fn new(
        inbox: Arc<Inbox>,
        queue: Arc<EventQueue>,
        units: impl PinInit<Units>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            inbox,
            queue,
            topology <- Topology::new(units),
            rereads <- Rereads::new(),
            renewals <- RateLimit::of(RENEWALS, RENEWALS_PERIOD_S),
        })
    }

    fn units(&self) -> &Units {
        self.topology.units()
    }

    /// Does a piece of work.
    fn handle(&self, work: Work) {
        match work {
            Work::Reconcile => {
                self.reconcile(0);
                trace_glue::handle_event(|| missed(self.units().shared()));
            }
            Work::Subscribe(address) => self.units().subscribe(address),
            Work::Event(event) => {
                self.handle_event(event);
                trace_glue::handle_event(|| facts_of(self.units().shared(), &event));
            }
        }
    }

    /// Reconciles all logical units, after `attempt` times that have not asked all of them.
    fn reconcile(&self, attempt: usize) {
        let shared = self.units().shared();

        if shared.may_complain() {
            dev_info!(
                shared.dev(),
                "events may have been missed, checking all logical units\n"
            );
        }
        reconcile(&self.topology, &self.rereads, self.renewals.pass(), attempt);
    }

    /// Handles an event.
    fn handle_event(&self, event: Event) {
        match event {
            Event::NoEvent => {}
            Event::Rescan(Address { target, lun: 0 }) => self.topology.rescan_target(target, 0),
            Event::Rescan(address) => self.topology.rescan_unit(address, 0),
            Event::Removed(address) => self.topology.remove(address),
            Event::HardReset(address) => self
                .units()
                .host()
                .report_device_reset(address.target.into()),
            Event::ParameterChange { address, asc, ascq } => {
                self.change_parameter(address, AdditionalSense { asc, ascq });
            }
            Event::AsyncNotify { address, events } => {
                if events & (ASYNC_MEDIA_CHANGE | ASYNC_OPERATIONAL_CHANGE) != 0 {
                    if let Some(unit) = self.units().find(address) {
                        unit.send_event(DeviceEvent::MediaChange);
                    }
                }
            }
            Event::Unknown => {
                let shared = self.units().shared();

                if shared.may_complain() {
                    dev_info!(shared.dev(), "the device has reported an unknown event\n");
                }
            }
        }
    }

    /// Handles a parameter change: has user space get one event for it, and the midlayer read what
    /// has changed.
    fn change_parameter(&self, address: Address, sense: AdditionalSense) {
        let units = self.units();
        let Some(unit) = units.find(address) else {
            return;
        };

        // A unit attention can have the midlayer read the VPD pages.
        let list = read_list(units.recovery(), &unit, address);

        report_attention_when_well(units, &unit);

        let known = Address {
            target: address.target,
            lun: unit.lun(),
        };
        let event = sense.unit_event();
        let attentions = units.shared().attentions();

        // Not every change that the device reports is a unit attention of the unit.
        if let Some(event) = event.filter(|_| !attentions.take(known, sense.asc, sense.ascq)) {
            unit.send_event(event);
        }

        match event {
            // Nothing that the midlayer has read is affected.
            Some(DeviceEvent::SoftThreshold) => {}
            Some(DeviceEvent::LunChange) => {
                self.topology.check_target(address.target);
                let _ = self.topology.look_for_units(address.target);
            }
            Some(DeviceEvent::InquiryChange) => self.topology.rescan_unit(known, 0),
            _ => reread_when_well(units, &unit, list, 0),
        }
    }
}

impl Task for EventHandler {
    fn run(&self) -> Option<Jiffies> {
        let rechecks = self.units().rechecks();
        let began = Stamp::now();

        for piece in 0..BATCH {
            if self.units().is_stopped() {
                return None;
            }
            // Events and checks that never end do not keep units from being read again.
            if piece % READ_EVERY == 0 {
                let _ = self.rereads.read_next(self.units());
            }
            if began.elapsed() >= msecs_to_jiffies(BATCH_MS) {
                break;
            }
            if let Some(work) = self.inbox.take() {
                self.handle(work);
                continue;
            }

            let collected = self.queue.collect();

            if collected == Collected::Limit {
                fsleep(Delta::from_millis(FLOOD_BACKOFF_MS));
            } else if let Some(due) = rechecks.take_due() {
                match due {
                    Due::Recheck(recheck) => self.topology.recheck(recheck),
                    Due::Reconcile { attempt } => self.reconcile(attempt),
                    Due::Census { first, attempt } => {
                        self.topology.look_for_all_units(first, attempt);
                    }
                }
            } else if !self.rereads.read_next(self.units()) && self.inbox.is_empty() {
                let starved = self
                    .queue
                    .is_starved()
                    .then(|| msecs_to_jiffies(REPOST_DELAY_MS));

                return [starved, rechecks.next(), self.rereads.next()]
                    .into_iter()
                    .flatten()
                    .min();
            }
        }
        // Runs again at once, unless the system is being suspended.
        Some(0)
    }
}
