// SPDX-License-Identifier: GPL-2.0

//! The eventq, and the journey of an event that the device reports on it.
//!
//! 1. `queue.rs`, in the interrupt: the buffer is copied and posted again at once, so that the
//!    device does not run out of buffers while events are handled. The ring's lock is held until
//!    the event is in the inbox, so that events stay in the order of the ring.
//! 2. `inbox.rs`: the event waits. Equal events are merged, the order of different events of a
//!    logical unit is kept. If the device had no buffer for an event, or the inbox is full, the
//!    events that wait are replaced by one reconciliation.
//! 3. `handler.rs`, in process context: one work item for each host takes the work one after the
//!    other. What it does with an event is in
//!    - `topology.rs`: logical units that were added, removed or replaced;
//!    - `reread.rs`: units that have changed;
//!    - `reconcile.rs`: events that were missed. All units are compared with the device at once,
//!      and read again with rests in between: `rereads.rs`.
//!
//!    The first and the last look for new units with `census.rs`.
//! 4. `rechecks.rs`: addresses that are checked later, because the device may have reported too
//!    early. The handler takes those that are due when the inbox is empty.
//!
//! Below these: `compare.rs` compares logical units of the host with the device, `units.rs` finds
//! and removes them, `identities.rs` remembers which unit was found at which address, and
//! `inquiry.rs` and `vpd_pages.rs` have the commands for that.
//! `handler_work.rs` lets the others schedule and stop the handler without its type, and
//! `lifecycle.rs` creates, starts and stops all of this.
//!
//! Rules:
//!
//! - In this folder only the handler adds and removes logical units, and it never runs twice at a
//!   time, whoever schedules it: events need no lock against each other. Users and the midlayer's
//!   own scans may add and remove units at any time.
//! - No lock of this folder is held while a command is sent or the midlayer is called.
//! - The handler checks between two steps whether it was stopped. A step takes as long as the
//!   recovery of its commands.
//! - Unbinding stops the handler before it removes the host. Work that is added to the inbox after
//!   that stays there.

mod census;
mod compare;
mod handler;
mod handler_work;
mod identities;
mod inbox;
mod inquiry;
mod lifecycle;
mod queue;
mod rechecks;
mod reconcile;
mod reread;
mod rereads;
mod topology;
mod units;
mod vpd_pages;

pub use self::lifecycle::Events;
