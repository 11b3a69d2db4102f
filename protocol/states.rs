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
//! A device is `Down` during a reset, whoever resets it, and before its first virtqueues exist. The
//! side that took it down has to bring it up, to give it up, or to leave it `Waiting` for
//! interrupts, within a bounded time. While it waits, it is reset now and then until interrupts are
//! available.
//!
//! `queues/life.rs` keeps the state of a device, and is the only place where it changes.

/// Who has taken a device down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The probe, before it has made the virtqueues. It makes them or fails.
    Probe,
    /// The driver, as the last step of recovery. It gives the device up if the reset fails.
    Driver,
    /// The system, for suspend or hibernation. The device is given up if it is still down some time
    /// after tasks run again.
    Suspend,
    /// The transport, for a reset of the function. The device is given up after a time.
    Transport,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 4] = [Self::Probe, Self::Driver, Self::Suspend, Self::Transport];

    /// Returns its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Driver => "driver",
            Self::Suspend => "suspend",
            Self::Transport => "transport",
        }
    }
}

/// The state of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It has virtqueues, and commands are sent.
    Live,
    /// It has no virtqueues, and will get new ones. Commands are requeued.
    Down(Cause),
    /// It has no virtqueues for lack of interrupts, and is not being reset. Commands are requeued.
    Waiting,
    /// It is not used any more. Commands complete with an error.
    Gone,
}

/// A step in a device's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Delete its virtqueues and reset it.
    TakeDown(Cause),
    /// Use its new virtqueues.
    BringUp,
    /// Wait for interrupts for new virtqueues.
    Lack,
    /// Do not use it any more.
    GiveUp,
}

/// How the table answers a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The device is in this state now, and the caller does the work.
    Go(State),
    /// Another thread has taken the device down: wait until it has settled, and try again.
    Wait,
    /// The step means nothing in this state.
    Nothing,
}

impl State {
    /// Returns its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Down(Cause::Probe) => "down_probe",
            Self::Down(Cause::Driver) => "down_driver",
            Self::Down(Cause::Suspend) => "down_suspend",
            Self::Down(Cause::Transport) => "down_transport",
            Self::Waiting => "waiting",
            Self::Gone => "gone",
        }
    }

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

    /// Returns whether no reset is under way.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Down(_))
    }
}
