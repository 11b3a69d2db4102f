// SPDX-License-Identifier: GPL-2.0

//! The table of a device's states.
//!
//! ```text
//!              take down (cause)        bring up      lack           give up
//! Live         go to Down(cause)        nothing       nothing        go to Gone
//! Down(cause)  wait                     go to Live    go to Waiting  go to Gone
//! Waiting      go to Down(cause)        nothing       nothing        go to Gone
//! Gone         nothing                  nothing       nothing        nothing
//! ```
//!
//! A device is `Down` while a reset is under way, whoever resets it, and before its first virtqueues
//! are there. Whoever has taken it down is bound, by time, to bring it up, to give it up, or to leave it
//! `Waiting` for interrupts, which others have. Then it is reset every now and then, until there are some.
//!
//! This file uses `core` alone, because it is also compiled for the host, and tested there.

/// Who has taken a device down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The probe, which has not made its virtqueues yet. It ends with them or fails.
    Probe,
    /// The driver itself, as the last step of recovery. It gives the device up if the reset fails.
    Driver,
    /// The system, which is being suspended or hibernated. The device is given up if it is still down
    /// some time after tasks run again.
    Suspend,
    /// The transport, whose function is being reset. The device is given up after a time.
    Transport,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Probe, Self::Driver, Self::Suspend, Self::Transport];
}

/// Where a device is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Its virtqueues are there, and commands go to it.
    Live,
    /// It has no virtqueues, and is to get new ones. Commands are sent back to the midlayer as busy.
    Down(Cause),
    /// It has no virtqueues, as there are no interrupts for them, and nobody resets it now. Commands are sent back
    /// to the midlayer as busy.
    Waiting,
    /// It does not come back. Commands end with an error.
    Gone,
}

/// A step in a device's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Reset it and take its virtqueues away.
    TakeDown(Cause),
    /// It has new virtqueues.
    BringUp,
    /// There are no interrupts for new virtqueues.
    Lack,
    /// It will not be used any more.
    GiveUp,
}

/// How the table answers a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The device goes to this state, and the caller does the work.
    Go(State),
    /// Somebody else has taken the device down: wait until it is settled, and ask again.
    Wait,
    /// There is nothing to do in this state.
    Nothing,
}

impl State {
    /// Returns how the table answers a step in this state.
    pub const fn on(self, step: Step) -> Answer {
        match (self, step) {
            (Self::Live | Self::Waiting, Step::TakeDown(cause)) => Answer::Go(Self::Down(cause)),
            (Self::Live | Self::Waiting, Step::BringUp | Step::Lack) => Answer::Nothing,
            (Self::Down(_), Step::TakeDown(_)) => Answer::Wait,
            (Self::Down(_), Step::BringUp) => Answer::Go(Self::Live),
            (Self::Down(_), Step::Lack) => Answer::Go(Self::Waiting),
            (Self::Live | Self::Down(_) | Self::Waiting, Step::GiveUp) => Answer::Go(Self::Gone),
            (Self::Gone, _) => Answer::Nothing,
        }
    }

    /// Returns whether nobody is resetting the device.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Down(_))
    }
}
