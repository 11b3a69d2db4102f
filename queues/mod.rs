// SPDX-License-Identifier: GPL-2.0

//! The request queues and the controlq: commands, task management, and what becomes of them.
//!
//! An [`Initiator`] is what the midlayer sees of a device: it queues commands to the request queue
//! of their hardware queue, and turns steps of error handling into task management functions on
//! the controlq.
//!
//! `life.rs` is the state that a device is in, and `recovery/` what becomes of commands that are not answered.
//!
//! `wire.rs` is the bytes, `response.rs` what the answers mean, `limits.rs` what the device may
//! ask of the driver, `states.rs` the table of a device's states, `sense.rs` sense data. These five know nothing of the kernel.
//! `config.rs` reads what `limits.rs` is about.

mod attentions;
mod control;
mod counters;
mod finish;
mod initiator;
mod life;
mod own;
mod progress;
mod removal;
mod request;
mod shared;

pub mod adjustments;
pub mod config;
pub mod limits;
pub mod recovery;
pub mod response;
pub mod sense;
pub mod states;
pub mod wire;

pub use self::{
    control::ControlQueue,
    counters::Counters,
    initiator::{
        Initiator,
        Listener, //
    },
    life::Life,
    own::OwnAnswer,
    removal::Removal,
    request::RequestQueue,
    shared::Shared, //
};

use kernel::fmt;

impl fmt::Display for limits::Adjustments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for limits::Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}
