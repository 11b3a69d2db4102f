// SPDX-License-Identifier: GPL-2.0

//! The eventq: what the device says of its own accord.
//!
//! An [`EventQueue`] copies each event and gives the buffer back to the device at once, so that the
//! device does not run out of buffers while an event is handled. Events are handled one after the
//! other, in the order in which they came, by one worker for each host.
//!
//! `wire.rs` is the bytes, and knows nothing of the kernel.

mod inbox;
mod queue;
mod reconcile;
mod worker;

pub mod wire;

pub use self::queue::EventQueue;
