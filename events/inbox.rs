// SPDX-License-Identifier: GPL-2.0

//! Second stop of an event: the inbox, where it waits for the handler. Events that came twice are
//! merged here, and too many are turned into a reconciliation.

use crate::{
    kernel_glue::{
        new_locked,
        Locked, //
    },
    protocol::{
        address::Address,
        event::Event, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The capacity of the inbox. On overflow all units are reconciled, as after
/// `VIRTIO_SCSI_T_EVENTS_MISSED`.
const LEN: usize = 256;

/// A piece of work for the handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// Events were missed: find out what has changed.
    Reconcile,
    /// Handle an event.
    Event(Event),
    /// Subscribe to the asynchronous notifications of a logical unit.
    Subscribe(Address),
}

impl Work {
    /// Returns whether this must not overtake `earlier`, because both are for the same logical
    /// unit, or one is for a whole target and the other for one of its units.
    fn depends_on(&self, earlier: &Self) -> bool {
        match (self.address(), earlier.address()) {
            (Some(this), Some(that)) => {
                this.target == that.target
                    && (this.lun == that.lun || this.lun == 0 || that.lun == 0)
            }
            _ => true,
        }
    }

    /// Returns the logical unit of the work, if it is for one.
    fn address(&self) -> Option<Address> {
        match self {
            Self::Reconcile => None,
            Self::Event(event) => event.address(),
            Self::Subscribe(address) => Some(*address),
        }
    }
}

/// The queue of an [`Inbox`], first in, first out.
struct Waiting {
    /// Has a capacity of [`LEN`], so that adding work allocates nothing. The items before `first`
    /// were taken.
    items: KVec<Work>,
    first: usize,
    /// Whether to reconcile before anything in `items`.
    reconcile: bool,
}

impl Waiting {
    /// Replaces all events that wait by a reconciliation, which finds what they would have
    /// reported. Subscriptions stay: they are the driver's own.
    fn start_over(&mut self) {
        let first = self.first;
        let mut index = 0;

        self.items.retain(|item| {
            index += 1;
            index > first && matches!(item, Work::Subscribe(_))
        });
        self.first = 0;
        self.reconcile = true;
        if self.items.len() == LEN {
            // Reconciling subscribes to the units again.
            self.items.clear();
        }
    }
}

/// The inbox of the event handler.
#[pin_data]
pub(super) struct Inbox {
    #[pin]
    waiting: Locked<Waiting>,
}

impl Inbox {
    /// Creates an empty inbox.
    pub(super) fn new() -> Result<Arc<Self>> {
        let waiting = Waiting {
            items: KVec::with_capacity(LEN, GFP_KERNEL)?,
            first: 0,
            reconcile: false,
        };

        Arc::pin_init(
            pin_init!(Self {
                waiting <- new_locked!(waiting, c"Inbox::waiting"),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds work. Any context.
    ///
    /// Equal work that waits already is enough, unless other work that depends on it came later: a
    /// thousand equal events are one, and different events of a logical unit keep their order.
    pub(super) fn add(&self, work: Work) {
        let mut waiting = self.waiting.lock();
        let waiting = &mut *waiting;
        let pending = waiting.items.get(waiting.first..).unwrap_or(&[]);

        if work == Work::Reconcile {
            waiting.start_over();
            return;
        }

        let related = pending
            .iter()
            .rev()
            .find(|earlier| work.depends_on(earlier));

        if related == Some(&work) {
            return;
        }
        if waiting.items.push_within_capacity(work).is_err() {
            waiting.start_over();
        }
    }

    /// Returns whether no work waits.
    pub(super) fn is_empty(&self) -> bool {
        let waiting = self.waiting.lock();

        waiting.items.is_empty() && !waiting.reconcile
    }

    /// Takes the work that came first, a reconciliation before all.
    pub(super) fn take(&self) -> Option<Work> {
        let mut waiting = self.waiting.lock();
        let waiting = &mut *waiting;

        if waiting.reconcile {
            waiting.reconcile = false;
            return Some(Work::Reconcile);
        }

        let work = waiting.items.get(waiting.first).copied()?;

        waiting.first += 1;
        if waiting.first == waiting.items.len() {
            // All were taken, so the whole capacity is free again.
            waiting.items.clear();
            waiting.first = 0;
        }
        Some(work)
    }
}

#[cfg(CONFIG_KUNIT = "y")]
mod tests;
