// SPDX-License-Identifier: GPL-2.0

//! The request queues and the controlq.
//!
//! A command of the midlayer comes to [`RequestQueues::send`], which passes it to the
//! [`RequestQueue`] that serves its hardware queue. There the request is written, and its memory is
//! added to the ring (`request.rs`). When the device has used it, the interrupt handler takes it
//! off the ring, and `finish.rs` translates the response and completes it. `command_state.rs` has
//! the data that the driver keeps with a command all the time.
//!
//! If the command could not be added, `request_queues.rs` decides whether the midlayer tries again.
//!
//! The driver's own commands (`execute.rs`, `flight.rs`, `sender.rs`) share the ring of the first
//! request queue. Task management functions and asynchronous notification requests have the
//! [`ControlQueue`].
//!
//! All queues of a device share its [`SharedState`]: the table of states that it can be in
//! (`life.rs`), its counters, the last steps of recovery (`history.rs`), and the recent unit
//! attentions of its logical units. `report.rs` shows the queues and the commands in flight.

mod age;
mod attentions;
mod command_memory;
mod command_state;
mod control;
mod control_request;
mod counters;
mod execute;
mod finish;
mod flight;
mod history;
mod latencies;
mod life;
mod notifications;
mod own_command;
mod report;
mod request;
mod request_queues;
mod sender;
mod shared_state;
mod traces;
mod unanswered;

pub(crate) use self::{
    age::age_of,
    command_state::{
        address_of,
        Cmnd,
        Host,
        OwnedCmnd,
        Stage, //
    },
    counters::Counter,
    report::{
        CommandLine,
        QueueLine, //
    },
    traces::facts_of, //
};

pub use self::{
    command_state::{
        condemn,
        CommandPdu,
        Unit, //
    },
    control::ControlQueue,
    execute::Bounds,
    history::History,
    latencies::Latencies,
    own_command::{
        Answer,
        ExecuteResult,
        Job, //
    },
    request::RequestQueue,
    request_queues::RequestQueues, //
    shared_state::SharedState,
};
