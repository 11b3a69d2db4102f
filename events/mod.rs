// SPDX-License-Identifier: GPL-2.0

//! The eventq: what the device says of its own accord.
//!
//! An [`EventQueue`] copies each event and gives the buffer back to the device at once, so that the
//! device does not run out of buffers while an event is handled. Events are handled one after the
//! other, in the order in which they came, by one worker for each host.
//!
//! `worker.rs` says what is done about which event, `announced.rs` and `units.rs` do it, and `reconcile.rs` does what can be done
//! when events were missed.
//!
//! `wire.rs` is the bytes of events and `vpd.rs` those of what logical units say of themselves; the two know nothing
//! of the kernel.

mod announced;
mod identities;
mod inbox;
mod looks;
mod queue;
mod reconcile;
mod units;
mod worker;

pub mod vpd;
pub mod wire;

pub use self::queue::EventQueue;
