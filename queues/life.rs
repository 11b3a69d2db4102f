// SPDX-License-Identifier: GPL-2.0

//! The life of a device: the state that it is in, and the number of its resets.
//!
//! This is the only place where the state changes; `states.rs` says how it can. Everything else asks.

use super::states::{
    Answer,
    Cause,
    State,
    Step, //
};
use crate::virtio_glue::{
    new_locked,
    Locked, //
};
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// How often to look whether somebody else's reset is over, in milliseconds.
const LOOK: i64 = 20;

/// What the lock protects.
struct Inner {
    state: State,
    leaving: bool,
    resets: u64,
}

/// The life of a device.
#[pin_data]
pub struct Life {
    #[pin]
    inner: Locked<Inner>,
}

impl Life {
    /// Makes the life of a device that is being probed.
    pub fn new() -> impl PinInit<Self> {
        let inner = Inner {
            state: State::Down(Cause::Probe),
            leaving: false,
            resets: 0,
        };

        pin_init!(Self {
            inner <- new_locked!(inner, c"Life::inner"),
        })
    }

    /// Takes a step, if the table lets it, and returns how the table has answered. Any context.
    fn take(&self, step: Step) -> Answer {
        let mut inner = self.inner.lock();

        // Nobody would try again.
        if step == Step::Lack && inner.leaving {
            return Answer::Nothing;
        }

        let answer = inner.state.on(step);

        if let Answer::Go(state) = answer {
            // The virtqueues of the probe are the first ones.
            if step == Step::BringUp && inner.state != State::Down(Cause::Probe) {
                inner.resets = inner.resets.wrapping_add(1);
            }
            inner.state = state;
        }
        answer
    }

    /// Notes that the device is reset and loses its virtqueues.
    pub fn take_down(&self, cause: Cause) -> Answer {
        self.take(Step::TakeDown(cause))
    }

    /// Notes that the device has virtqueues. Returns whether it is live now: one that was given up
    /// meanwhile is not.
    #[must_use]
    pub fn bring_up(&self) -> bool {
        self.take(Step::BringUp) == Answer::Go(State::Live)
    }

    /// Notes that there are no interrupts for the device's virtqueues. Returns whether it waits for them: one that
    /// is being unbound, or was given up, does not.
    #[must_use]
    pub fn lack(&self) -> bool {
        self.take(Step::Lack) == Answer::Go(State::Waiting)
    }

    /// Gives the device up. Returns whether it was not given up before.
    pub fn give_up(&self) -> bool {
        self.take(Step::GiveUp) == Answer::Go(State::Gone)
    }

    /// Notes that the device is being unbound.
    pub fn leave(&self) {
        self.inner.lock().leaving = true;
    }

    /// Returns whether the device is being unbound, or is gone: nothing is waited for any more.
    pub fn is_leaving(&self) -> bool {
        let inner = self.inner.lock();

        inner.leaving || inner.state == State::Gone
    }

    /// Returns the state. It may be another one as soon as this returns, but for [`State::Gone`].
    pub fn state(&self) -> State {
        self.inner.lock().state
    }

    /// Returns whether the device is given up.
    pub fn is_gone(&self) -> bool {
        self.state() == State::Gone
    }

    /// Returns how many resets the device has come back from. Whoever wants a reset says which one he
    /// has seen last: if there was one since, his wish is fulfilled.
    pub fn resets(&self) -> u64 {
        self.inner.lock().resets
    }

    /// Waits until the device is settled, `most` milliseconds at most, and returns its state.
    ///
    /// Process context.
    pub fn settle(&self, most: i64) -> State {
        let mut waited = 0;

        loop {
            let state = self.state();

            if state.is_settled() || waited >= most {
                return state;
            }
            fsleep(Delta::from_millis(LOOK));
            waited += LOOK;
        }
    }
}
