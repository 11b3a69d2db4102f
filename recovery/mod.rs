// SPDX-License-Identifier: GPL-2.0

//! Error recovery: commands that time out, and devices that do not work.
//!
//! # The time-out of a command
//!
//! 1. All request queues are polled, for a lost interrupt (`timeout.rs`).
//! 2. The device is notified again, for a lost notification, and gets a grace period of a second.
//! 3. QUERY TASK asks the device whether it has the command (`review.rs`):
//!
//!    | answer | meaning | what follows |
//!    |---|---|---|
//!    | it has the command | the device is slow | wait, for ever unless the user has set a time |
//!    | it has not | the response was lost | go on with 4 |
//!    | refused | the device has no QUERY TASK | wait, for a time that the user can set |
//!    | none | the device is dead | go on with 4, without ABORT TASK |
//!
//! 4. The ladder (`ladder.rs`): ABORT TASK, LOGICAL UNIT RESET, I_T NEXUS RESET, and a reset of the
//!    device (`reset.rs`). Each rung takes a bounded time.
//!
//! The midlayer would stop the whole host for all rungs but the first. So the ladder is climbed in
//! `eh_abort_handler`, which the midlayer calls command by command while the host goes on. Units
//! that work are disturbed by a reset of the device alone, and then their commands are retried. A
//! unit for which the device had to be reset twice in a row is taken offline (`strikes.rs`).
//!
//! A command is given back only when the device has used it or was reset. Whatever the response to
//! a task management function, a device may transfer the data of a command that is on its
//! virtqueue.
//!
//! If the user wants so, a command of some age is logged, or has the kernel panic
//! (`post_mortem.rs`).
//!
//! # Other ways to recovery
//!
//! - A device that asks for a reset, or breaks the protocol of a virtqueue, is reset unasked
//!   (`reset.rs`).
//! - A device that does not come back from a suspend, or from a reset of its function, is given up
//!   (`reset.rs`).
//! - Events that report a unit as removed have its commands released (`units.rs`).
//! - The removal of a host does not wait for a device that does not answer (`removal.rs`).

mod ladder;
mod policy;
mod post_mortem;
mod removal;
mod renotified;
mod report;
mod reset;
mod review;
mod strikes;
mod task_management;
mod timeout;
mod unit_set;
mod units;

pub use self::{
    ladder::Recovery,
    policy::{
        Defaults,
        Policy,
        Setting, //
    },
    removal::Removal,
    reset::{
        DeviceReset,
        Healing,
        ReturnWatchdog,
        RETRY_INTERVAL_MS, //
    },
    review::Review, //
};
