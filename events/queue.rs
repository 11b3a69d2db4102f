// SPDX-License-Identifier: GPL-2.0

//! First stop of an event: the buffers of the eventq, which are posted, collected, and posted again
//! before their events are handled.

use super::{
    handler_work::HandlerWork,
    inbox::{
        Inbox,
        Work, //
    },
};
use crate::{
    kernel_glue::{
        new_locked,
        DeviceBuffer,
        Locked, //
        RcuSection,
    },
    protocol::{
        event::{
            Event,
            EventBytes,
            EventInfo,
            PRESET, //
        },
        limits::EVENT_SIZE_MAX, //
    },
    queues::SharedState,
    trace_glue::{
        self,
        EventFacts,
        UnitFacts, //
    },
    virtio_glue::{
        new_virtqueue,
        AddError,
        Handler,
        Rest,
        Virtqueue,
        VirtqueueGuard, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc, //
    },
};

/// Returns what a tracepoint tells of an event.
#[cold]
#[inline(never)]
pub(super) fn facts_of<'a>(shared: &'a SharedState, event: &Event) -> EventFacts<'a> {
    let unit = event
        .address()
        .map_or((0, 0), |unit| (unit.target, unit.lun));

    EventFacts {
        device: shared.dev().name(),
        unit: UnitFacts {
            target: unit.0.into(),
            lun: unit.1,
        },
        event: event.name(),
        detail: event.detail(),
    }
}

/// Returns what a tracepoint tells of events that the device has missed.
#[cold]
#[inline(never)]
pub(super) fn missed(shared: &SharedState) -> EventFacts<'_> {
    EventFacts {
        event: "missed",
        ..facts_of(shared, &Event::NoEvent)
    }
}

/// How many buffers are posted.
///
/// A buffer is posted again in the interrupt that reports its event, so these only have to last
/// until that was handled. The first draft of the specification suggests 10 to 15.
const BUFFERS: usize = 16;

/// How many events are collected at a time, so that a device which reports them without end does
/// not keep a CPU in an interrupt.
const COLLECT_MAX: usize = 4 * BUFFERS;

/// A buffer for an event.
pub struct Buffer(DeviceBuffer<[u8; EVENT_SIZE_MAX as usize]>);

/// The events that [`EventQueue::collect`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Collected {
    /// None.
    None,
    /// All that the device had reported.
    All,
    /// As many as are collected at a time. The device may have reported more.
    Limit,
}

/// The eventq.
///
/// Lock order: `ring`, then `spare` or the lock of the inbox.
#[pin_data]
pub struct EventQueue {
    shared: Arc<SharedState>,
    /// How many bytes of an event the device may write.
    event_size: u32,
    #[pin]
    ring: Virtqueue<KBox<Buffer>>,
    /// The buffers that are not posted. Has a capacity of [`BUFFERS`].
    #[pin]
    spare: Locked<KVec<KBox<Buffer>>>,
    inbox: Arc<Inbox>,
    handler: Arc<HandlerWork>,
    /// Whether a buffer could not be posted for lack of memory.
    starved: Atomic<bool>,
}

impl EventQueue {
    /// Creates an eventq without a virtqueue, for events of up to `event_size` bytes, which it
    /// leaves in `inbox` for `handler`.
    pub(super) fn new(
        shared: Arc<SharedState>,
        event_size: u32,
        inbox: Arc<Inbox>,
        handler: Arc<HandlerWork>,
    ) -> Result<Arc<Self>> {
        let mut spare = KVec::with_capacity(BUFFERS, GFP_KERNEL)?;

        for _ in 0..BUFFERS {
            let buffer = KBox::new(Buffer(DeviceBuffer::default()), GFP_KERNEL)?;

            spare.push(buffer, GFP_KERNEL)?;
        }

        Arc::pin_init(
            pin_init!(Self {
                shared,
                event_size,
                ring <- new_virtqueue!(c"EventQueue::ring"),
                spare <- new_locked!(spare, c"EventQueue::spare"),
                inbox,
                handler,
                starved: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// Posts all spare buffers. A small ring does not take all.
    pub(super) fn post_spare(&self) {
        loop {
            let buffer = self.spare.lock().pop();

            if !buffer.is_some_and(|buffer| self.post(&mut self.ring.lock(), buffer)) {
                break;
            }
        }
        self.notify();
    }

    /// Posts the buffers that could not be posted for lack of memory. Returns whether memory is
    /// still short.
    pub(super) fn is_starved(&self) -> bool {
        if self.starved.load(Relaxed) {
            self.starved.store(false, Relaxed);
            self.post_spare();
        }
        self.starved.load(Relaxed)
    }

    /// Posts a buffer, or keeps it as a spare one. Returns whether it was posted.
    fn post(&self, ring: &mut VirtqueueGuard<'_, KBox<Buffer>>, mut buffer: KBox<Buffer>) -> bool {
        buffer.0.preset(PRESET);

        let added = ring.add(buffer, |buffer, chain| {
            chain.writable(&buffer.0, self.event_size as usize)
        });

        added
            .map_err(|(buffer, error)| {
                if error == AddError::NoMemory {
                    self.starved.store(true, Relaxed);
                }
                self.keep(buffer);
            })
            .is_ok()
    }

    /// Keeps a spare buffer.
    fn keep(&self, buffer: KBox<Buffer>) {
        // There is capacity for all buffers, so this does not fail.
        let _ = self.spare.lock().push_within_capacity(buffer);
    }

    /// Moves the events that the device has reported to the inbox, and posts their buffers again.
    /// Any context.
    pub(super) fn collect(&self) -> Collected {
        let counters = self.shared.counters();
        let mut count = 0;

        while count < COLLECT_MAX {
            // Held until the event is in the inbox: the interrupt and the handler may both collect,
            // and the order of the ring is kept.
            let mut ring = self.ring.lock();
            let Some((buffer, _len)) = ring.get_buf() else {
                break;
            };

            // The only read of the buffer: the device may go on to write to it.
            let bytes: EventBytes = buffer.0.copy(0).unwrap_or(PRESET);
            let info = EventInfo::decode(self.shared.order(), bytes);

            if info.missed {
                trace_glue::receive_event(|| missed(&self.shared));
                self.inbox.add(Work::Reconcile);
            }
            if info.event != Event::NoEvent {
                trace_glue::receive_event(|| facts_of(&self.shared, &info.event));
                self.inbox.add(Work::Event(info.event));
            }
            self.post(&mut ring, buffer);
            drop(ring);

            count += 1;
            counters.events.count();
            if info.missed {
                counters.missed_events.count();
            }
            if info.event == Event::Unknown {
                counters.bad_events.count();
                trace_glue::violate(|| (self.shared.dev().name(), "event"));
            }
        }

        if count == 0 {
            if self.ring.lock().is_broken() {
                self.shared.heal();
            }
            return Collected::None;
        }
        self.notify();
        if count < COLLECT_MAX {
            Collected::All
        } else {
            Collected::Limit
        }
    }

    /// Notifies the device of the buffers that were posted.
    fn notify(&self) {
        let rcu = rcu::read_lock();
        let notify = self.ring.lock().kick_prepare(&rcu);

        notify.send();
    }
}

/// [`crate::virtio_glue::Virtqueues`] calls `callback` and `detach_unused` while it deletes the
/// virtqueues, and holds its mutex: neither may call back into it, nor wait for the event handler
/// or for a device reset, which may. They take spinlocks and schedule work only.
impl Handler for EventQueue {
    type Token = KBox<Buffer>;

    fn virtqueue(&self) -> &Virtqueue<Self::Token> {
        &self.ring
    }

    fn name(&self) -> &'static CStr {
        c"event"
    }

    fn has_interrupt(&self) -> bool {
        true
    }

    fn callback(&self, _rcu: RcuSection<'_>) -> Rest {
        // The handler collects what is left on the ring.
        if self.collect() != Collected::None {
            self.handler.schedule();
        }
        Rest::None
    }

    fn detach_unused(&self, buffer: Self::Token) {
        self.keep(buffer);
    }
}
