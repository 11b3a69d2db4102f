// SPDX-License-Identifier: GPL-2.0

//! Work that waits for the worker.

use super::wire::Event;
use crate::{
    queues::wire::Address,
    virtio_glue::{
        new_locked,
        Locked, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// How many things can wait. If there are more, it is as if the device had not had buffers for the
/// events, and the worker finds out what has changed by looking.
const LEN: usize = 256;

/// Something that the worker has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Item {
    /// Events were missed: find out what has changed.
    Reconcile,
    /// Handle an event.
    Event(Event),
    /// Have a logical unit tell of changes, if it can.
    Subscribe(Address),
}

impl Item {
    /// Returns whether this has to stay behind `earlier` if both are to be done, because they are
    /// about the same logical unit, or about a whole target and one of its units.
    fn depends_on(&self, earlier: &Self) -> bool {
        match (self.address(), earlier.address()) {
            (Some(this), Some(that)) => {
                this.target == that.target
                    && (this.lun == that.lun || this.lun == 0 || that.lun == 0)
            }
            _ => true,
        }
    }

    /// Returns the logical unit that this is about, if it is about one.
    fn address(&self) -> Option<Address> {
        match self {
            Self::Reconcile => None,
            Self::Event(event) => event.address(),
            Self::Subscribe(address) => Some(*address),
        }
    }
}

/// Things that wait to be done, first in, first out.
struct Waiting {
    /// There is room for [`LEN`], so that adding one never needs memory. Those before `first` are
    /// done.
    items: KVec<Item>,
    first: usize,
    /// Whether to reconcile before anything that waits.
    reconcile: bool,
}

impl Waiting {
    /// Has all be found out by looking, instead of what the events that wait would have said. What the driver
    /// wants to do of its own accord stays.
    fn start_over(&mut self) {
        let first = self.first;
        let mut index = 0;

        self.items.retain(|item| {
            index += 1;
            index > first && matches!(item, Item::Subscribe(_))
        });
        self.first = 0;
        self.reconcile = true;
        if self.items.len() == LEN {
            // There are more new units than can wait, all of which reconciling asks.
            self.items.clear();
        }
    }
}

/// Where interrupt context leaves things for the worker.
#[pin_data]
pub(super) struct Inbox {
    #[pin]
    waiting: Locked<Waiting>,
}

impl Inbox {
    /// Makes an empty one.
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

    /// Adds something. Any context.
    ///
    /// If the same waits already, and nothing behind it has to do with it, that will do: a thousand
    /// times the same event is one. The order of different events of a logical unit is kept.
    pub(super) fn add(&self, item: Item) {
        let mut waiting = self.waiting.lock();
        let waiting = &mut *waiting;
        let pending = waiting.items.get(waiting.first..).unwrap_or(&[]);

        if item == Item::Reconcile {
            waiting.start_over();
            return;
        }

        let related = pending
            .iter()
            .rev()
            .find(|earlier| item.depends_on(earlier));

        if related == Some(&item) {
            return;
        }
        if waiting.items.push_within_capacity(item).is_err() {
            waiting.start_over();
        }
    }

    /// Returns whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        let waiting = self.waiting.lock();

        waiting.items.is_empty() && !waiting.reconcile
    }

    /// Takes what came first.
    pub(super) fn take(&self) -> Option<Item> {
        let mut waiting = self.waiting.lock();
        let waiting = &mut *waiting;

        if waiting.reconcile {
            waiting.reconcile = false;
            return Some(Item::Reconcile);
        }

        let item = waiting.items.get(waiting.first).copied()?;

        waiting.first += 1;
        if waiting.first == waiting.items.len() {
            // That was the last: all the room is free again.
            waiting.items.clear();
            waiting.first = 0;
        }
        Some(item)
    }
}
