// SPDX-License-Identifier: GPL-2.0

//! What is done about a command that the device does not answer, and about a device that does not
//! work.
//!
//! When a command has taken too long, its queue is polled, in case that only the interrupt was lost, and the device
//! is notified again and gets a moment, in case that only the notification was. Then it is asked by QUERY TASK
//! whether it has the command ([`ask`]):
//!
//! - It has: it is alive and slow. The command is waited for, for ever if the user has not set a time.
//! - It does not: its answer was lost.
//! - It refuses to say: it is alive, and knows fewer functions. The command is waited for, for a time.
//! - It does not answer: it is dead.
//!
//! Only a command whose answer was lost, or that is not to be waited for any longer, and the commands of a dead
//! device go up the ladder ([`ladder`]), each rung of which takes a bounded time.
//!
//! A command is given back only when the device has answered it or was reset. Whatever a device
//! says of a task management function, the command that is still on its virtqueue is still its own,
//! and it may still transfer the data.

mod ask;
mod functions;
mod ladder;
mod policy;
mod reset;
mod strikes;
mod units;

pub use self::{
    ask::Asker,
    ladder::Recovery,
    policy::{
        Policy,
        Times, //
    },
    reset::{
        DeviceReset,
        Healing,
        Return,
        BETWEEN_TRIES, //
    },
};
