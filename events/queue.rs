// SPDX-License-Identifier: GPL-2.0

//! The eventq itself.

use super::{
    identities::{
        Identities,
        Pages, //
    },
    inbox::{
        Inbox,
        Item, //
    },
    units::{
        address_of,
        check_list,
        patience, //
    },
    wire::{
        Event,
        EventBytes,
        Report,
        PRESET, //
    },
    worker::Handling, //
};
use crate::{
    queues::{
        limits::EVENT_SIZE_MAX,
        Initiator,
        Listener,
        Shared, //
    },
    scsi_glue::{
        Host,
        LogicalUnit, //
    },
    virtio_glue::{
        new_locked,
        AddError,
        DeviceBuffer,
        Flag,
        Handler,
        Locked,
        Queue,
        RateLimit,
        Rest,
        Virtqueue,
        Worker, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
};

/// How many buffers the device gets.
///
/// A buffer is back with the device as soon as its interrupt was handled, so these only have to
/// last for as long as that takes. The first draft of the specification suggests 10 to 15.
const BUFFERS: usize = 16;

/// How often notifications are asked for again, in how many seconds. A device may break whenever it
/// is asked, be reset for it, and so be asked again.
const RENEWALS: (u32, u32) = (5, 600);

/// How many logical units are replaced by others at the most, in how many seconds.
const REPLACEMENTS: (u32, u32) = (256, 600);

/// How many events are taken at a time.
pub(super) const ROUND: usize = 4 * BUFFERS;

/// A buffer for an event.
pub struct Buffer(DeviceBuffer<[u8; EVENT_SIZE_MAX as usize]>);

/// The eventq.
#[pin_data]
pub struct EventQueue {
    shared: Arc<Shared>,
    /// How many bytes of an event the device may write.
    event_size: u32,
    #[pin]
    ring: Locked<Virtqueue<KBox<Buffer>>>,
    /// Buffers that the device does not have. There is room for all.
    #[pin]
    spare: Locked<KVec<KBox<Buffer>>>,
    inbox: Arc<Inbox>,
    /// What logical units said of themselves when they were found.
    #[pin]
    identities: Identities,
    /// Handles events while the host is there.
    #[pin]
    worker: Locked<Option<Arc<Worker<Handling>>>>,
    /// Limits how often notifications are asked for again.
    #[pin]
    renewals: RateLimit,
    /// Limits how often logical units are replaced by others.
    #[pin]
    replacements: RateLimit,
    /// Whether a buffer found no memory on its way to the device.
    starved: Flag,
    /// Whether events are not handled any more.
    stopped: Flag,
}

impl EventQueue {
    /// Makes an eventq that has no ring yet, for events of up to `event_size` bytes.
    pub fn new(shared: Arc<Shared>, event_size: u32) -> Result<Arc<Self>> {
        let inbox = Inbox::new()?;
        let mut spare = KVec::with_capacity(BUFFERS, GFP_KERNEL)?;

        for _ in 0..BUFFERS {
            let buffer = KBox::new(Buffer(DeviceBuffer::default()), GFP_KERNEL)?;

            spare.push(buffer, GFP_KERNEL)?;
        }

        Arc::pin_init(
            pin_init!(Self {
                shared,
                event_size,
                ring <- new_locked!(Virtqueue::default(), c"EventQueue::ring"),
                spare <- new_locked!(spare, c"EventQueue::spare"),
                inbox,
                identities <- Identities::new(),
                worker <- new_locked!(None, c"EventQueue::worker"),
                renewals <- RateLimit::of(RENEWALS.0, RENEWALS.1),
                replacements <- RateLimit::of(REPLACEMENTS.0, REPLACEMENTS.1),
                starved: Flag::default(),
                stopped: Flag::default(),
            }),
            GFP_KERNEL,
        )
    }

    /// Starts to handle events for a host: gives the device buffers for them.
    ///
    /// Process context.
    pub fn start(this: &Arc<Self>, host: Arc<Host<Initiator>>) -> Result {
        let handling = Handling::new(this.clone(), host);
        let worker = Arc::pin_init(Worker::new(handling, Queue::Events), GFP_KERNEL)?;

        *this.worker.lock() = Some(worker);
        this.post_spare();
        Ok(())
    }

    /// Returns what all queues of the device have in common.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns whether notifications may be asked for again.
    pub(super) fn may_renew(&self) -> bool {
        self.renewals.pass()
    }

    /// Returns whether a logical unit may be replaced by another.
    pub(super) fn may_replace(&self) -> bool {
        self.replacements.pass()
    }

    /// Returns what logical units said of themselves when they were found.
    pub(super) fn identities(&self) -> &Identities {
        &self.identities
    }

    /// Returns what the worker has to do.
    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Goes on after the device was reset: gives it buffers again, and finds out what has happened
    /// meanwhile.
    ///
    /// Process context.
    pub fn resume(&self) {
        self.post_spare();
        self.add(Item::Reconcile);
    }

    /// Stops to handle events. When it returns, none is being handled, and none will be.
    ///
    /// Process context.
    pub fn stop(&self) {
        // The worker looks at this before each step.
        self.stopped.set();

        let worker = self.worker.lock().take();

        if let Some(worker) = worker {
            worker.cancel();
        }
    }

    /// Returns whether events are not handled any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_set()
    }

    /// Leaves something to the worker. Any context.
    fn add(&self, item: Item) {
        self.inbox.add(item);
        if let Some(worker) = &*self.worker.lock() {
            worker.schedule();
        }
    }

    /// Gives the device all buffers that it does not have. A small ring does not take all.
    fn post_spare(&self) {
        loop {
            let buffer = self.spare.lock().pop();

            if !buffer.is_some_and(|buffer| self.post(&mut self.ring.lock(), buffer)) {
                break;
            }
        }
        self.notify();
    }

    /// Gives the device a buffer, or keeps it if there is no room for it. Returns whether there was.
    fn post(&self, ring: &mut Virtqueue<KBox<Buffer>>, mut buffer: KBox<Buffer>) -> bool {
        buffer.0.preset(PRESET);

        let added = ring.add(buffer, |buffer, chain| {
            chain.writable(&buffer.0, self.event_size as usize)
        });

        added
            .map_err(|(buffer, error)| {
                if error == AddError::NoMemory {
                    self.starved.set();
                }
                self.keep(buffer);
            })
            .is_ok()
    }

    /// Gives the device buffers that it did not get because there was no memory. Returns whether there is none
    /// yet.
    pub(super) fn is_starved(&self) -> bool {
        if self.starved.is_set() {
            self.starved.clear();
            self.post_spare();
        }
        self.starved.is_set()
    }

    /// Keeps a buffer for later.
    fn keep(&self, buffer: KBox<Buffer>) {
        // There is room for all buffers, so this does not fail.
        let _ = self.spare.lock().push_within_capacity(buffer);
    }

    /// Takes the events that the device has reported, and returns how many. Any context.
    ///
    /// The device gets each buffer back at once, before its event is handled, so it can report
    /// events for as long as this goes on. After [`ROUND`] of them this leaves the rest for later.
    pub(super) fn collect(&self) -> usize {
        let counters = self.shared.counters();
        let mut count = 0;

        while count < ROUND {
            // Events get to the inbox in the order of the ring: two may do this at the same time.
            let mut ring = self.ring.lock();
            let Some((buffer, _len)) = ring.take_used() else {
                break;
            };

            // Nothing that the device does to the buffer after this makes a difference.
            let bytes: EventBytes = buffer.0.copy(0).unwrap_or(PRESET);
            let report = Report::decode(self.shared.order(), bytes);

            if report.missed {
                self.inbox.add(Item::Reconcile);
            }
            if report.event != Event::Nothing {
                self.inbox.add(Item::Event(report.event));
            }
            self.post(&mut ring, buffer);
            drop(ring);

            count += 1;
            counters.events.count();
            if report.missed {
                counters.missed_events.count();
            }
            if report.event == Event::Unknown {
                counters.bad_events.count();
            }
        }

        if count > 0 {
            self.notify();
        } else if self.ring.lock().is_broken() {
            self.shared.heal();
        }
        count
    }

    /// Notifies the device of the buffers that it was given.
    fn notify(&self) {
        let rcu = rcu::read_lock();
        let notify = self.ring.lock().prepare_notify(&rcu);

        notify.send();
    }
}

impl Listener for EventQueue {
    fn found(&self, initiator: &Initiator, unit: &LogicalUnit) {
        let Some(address) = address_of(unit) else {
            return;
        };
        let list = check_list(initiator, unit, address);
        let pages = Pages::of(initiator, address, &list, patience());

        self.identities.keep(address, pages);
        if unit.is_mmc() {
            self.add(Item::Subscribe(address));
        }
    }
}

impl Handler for EventQueue {
    type Token = KBox<Buffer>;

    fn virtqueue(&self) -> &Locked<Virtqueue<Self::Token>> {
        &self.ring
    }

    fn name(&self) -> &'static CStr {
        c"event"
    }

    fn has_interrupt(&self) -> bool {
        true
    }

    fn used(&self) -> Rest {
        // The worker goes on with what this has left.
        if self.collect() > 0 {
            if let Some(worker) = &*self.worker.lock() {
                worker.schedule();
            }
        }
        Rest::None
    }

    fn unused(&self, buffer: Self::Token) {
        self.keep(buffer);
    }
}
