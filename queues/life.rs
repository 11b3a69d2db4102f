// SPDX-License-Identifier: GPL-2.0

//! The life of a device: its state, and the number of its resets.
//!
//! This is the only place where the state changes. The table of states is in
//! [`states`](crate::protocol::states).

use crate::{
    kernel_glue::{
        new_locked,
        Locked, //
    },
    protocol::states::{
        Answer,
        Cause,
        State,
        Step, //
    },
    trace_glue,
    virtio_glue::Device, //
};
use kernel::{
    device,
    prelude::*,
    sync::aref::ARef,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// How often to check whether the device has settled, in milliseconds.
const POLL_INTERVAL_MS: i64 = 20;

struct Inner {
    state: State,
    /// Whether the device is being unbound.
    leaving: bool,
    /// How many resets the device has come back from.
    resets: u64,
}

/// The life of a device.
#[pin_data]
pub struct Life {
    /// The device, for tracepoints.
    device: Option<ARef<Device>>,
    #[pin]
    inner: Locked<Inner>,
}

impl Life {
    /// Makes the life of a device that is being probed; or of none, for tests.
    pub fn new(device: Option<ARef<Device>>) -> impl PinInit<Self> {
        let inner = Inner {
            state: State::Down(Cause::Probe),
            leaving: false,
            resets: 0,
        };

        pin_init!(Self {
            device,
            inner <- new_locked!(inner, c"Life::inner"),
        })
    }

    /// Takes a step if the table allows it, and returns the answer of the table. Any context.
    fn take(&self, step: Step) -> Answer {
        let mut inner = self.inner.lock();

        // An unbinding does not wait for interrupts.
        if step == Step::Lack && inner.leaving {
            return Answer::Nothing;
        }

        let answer = inner.state.on(step);

        if let Answer::Go(state) = answer {
            // The virtqueues of the probe do not follow a reset.
            if step == Step::BringUp && inner.state != State::Down(Cause::Probe) {
                inner.resets = inner.resets.wrapping_add(1);
            }
            inner.state = state;
            if let Some(device) = self.device.as_deref() {
                trace_glue::change_state(|| {
                    let device: &device::Device = device.as_ref();

                    (device.name(), state.name())
                });
            }
        }
        answer
    }

    /// Takes the device down, for a reset. The caller deletes the virtqueues.
    #[inline]
    pub fn take_down(&self, cause: Cause) -> Answer {
        self.take(Step::TakeDown(cause))
    }

    /// Brings the device up, once it has virtqueues. Returns whether it is live: not if it was
    /// given up meanwhile.
    #[must_use]
    #[inline]
    pub fn bring_up(&self) -> bool {
        self.take(Step::BringUp) == Answer::Go(State::Live)
    }

    /// Notes that the virtqueues lack interrupts. Returns whether the device waits for some: not if
    /// it is being unbound or was given up.
    #[must_use]
    #[inline]
    pub fn lack(&self) -> bool {
        self.take(Step::Lack) == Answer::Go(State::Waiting)
    }

    /// Gives the device up. Returns whether this is the first time.
    #[inline]
    pub fn give_up(&self) -> bool {
        self.take(Step::GiveUp) == Answer::Go(State::Gone)
    }

    /// Notes that the device is being unbound.
    pub fn leave(&self) {
        self.inner.lock().leaving = true;
    }

    /// Returns whether the device is being unbound or is given up, so that nothing must be waited
    /// for.
    pub fn is_leaving(&self) -> bool {
        let inner = self.inner.lock();

        inner.leaving || inner.state == State::Gone
    }

    /// Returns the state, which may change at any time unless it is [`State::Gone`].
    pub fn state(&self) -> State {
        self.inner.lock().state
    }

    /// Returns whether the device is given up.
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.state() == State::Gone
    }

    /// Returns how many resets the device has come back from. A request for a reset carries the
    /// number at the time of its reason: a greater number fulfils the request.
    pub fn resets(&self) -> u64 {
        self.inner.lock().resets
    }

    /// Waits up to `timeout_ms` milliseconds until the device has settled, and returns its state.
    ///
    /// Process context.
    pub fn settle(&self, timeout_ms: i64) -> State {
        let mut waited = 0;

        loop {
            let state = self.state();

            if state.is_settled() || waited >= timeout_ms {
                return state;
            }
            fsleep(Delta::from_millis(POLL_INTERVAL_MS));
            waited += POLL_INTERVAL_MS;
        }
    }
}

#[cfg(CONFIG_KUNIT = "y")]
mod tests;
