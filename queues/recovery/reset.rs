// SPDX-License-Identifier: GPL-2.0

//! Resetting the device, and giving it up.

use crate::{
    queues::{
        shared::Shared,
        states::{
            Cause,
            State, //
        }, //
    },
    virtio_glue::{
        ResetError,
        Resetter,
        Task,
        Virtqueues, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
};

/// How often to look whether a device can be reset, in milliseconds.
const LOOK: i64 = 20;

/// How long somebody else's reset of the device is waited for, in milliseconds. It is longer than anybody may
/// take ([`Return`]).
pub(super) const RESET_ELSEWHERE: i64 = 120_000;

/// The least time between two resets of the device that nobody asked for, in milliseconds: a device
/// that is broken again at once does not get to keep a CPU busy.
const BETWEEN_RESETS: u32 = 1_000;

/// How long a device that waits for interrupts is left alone between two tries, in milliseconds.
pub const BETWEEN_TRIES: u32 = 1_000;

/// How long a transport may take to reset its function, in milliseconds. PCI waits for a minute at most until a
/// function is ready.
const TRANSPORT: u32 = 90_000;

/// How long a system that is suspended or resumed may take to set the device up, in milliseconds. The end of it is
/// only seen when tasks run, which is after the core has set the device up.
const SYSTEM: u32 = 5_000;

/// What it takes to reset a device.
#[derive(Clone)]
pub struct DeviceReset {
    pub(super) shared: Arc<Shared>,
    resetter: Arc<Resetter>,
    virtqueues: Arc<Virtqueues>,
}

impl DeviceReset {
    /// Puts together what it takes.
    pub fn new(shared: Arc<Shared>, resetter: Arc<Resetter>, virtqueues: Arc<Virtqueues>) -> Self {
        Self {
            shared,
            resetter,
            virtqueues,
        }
    }

    /// Resets the device and builds its queues anew, unless it has come back from a reset after number `seen`.
    /// If that fails, the device is given up, unless it waits for interrupts: then this goes on until there are some.
    /// Either way, it has no command that it had before.
    ///
    /// Process context. Fails if the device is gone.
    pub(super) fn carry_out(&self, seen: u64) -> Result {
        let life = self.shared.life();
        let mut waited = 0;

        loop {
            // Somebody else resets it, which does as well, once it is done.
            if let State::Down(_) = life.settle(RESET_ELSEWHERE) {
                return Err(self.give_up(ETIMEDOUT));
            }
            if life.is_gone() {
                // Commands may not be back yet from whoever has given it up.
                self.virtqueues.delete();
                return Err(ENODEV);
            }

            match self
                .resetter
                .reset(|| life.resets() == seen && !life.is_gone())
            {
                Ok(wanted) => {
                    if wanted {
                        self.tell();
                    }
                    if wanted || life.resets() != seen {
                        return Ok(());
                    }
                }
                // Probe or unbind are under way, which end soon.
                Err(ResetError::NotBound) => {}
                // It waits for interrupts. An unbinding gives it up.
                Err(ResetError::Failed(error)) if error == EAGAIN => {
                    fsleep(Delta::from_millis(BETWEEN_TRIES.into()));
                    continue;
                }
                // The transport or the system was quicker.
                Err(ResetError::Failed(error)) if error == EBUSY => {}
                Err(ResetError::Failed(error)) => return Err(self.give_up(error)),
            }

            if waited >= RESET_ELSEWHERE {
                return Err(self.give_up(EBUSY));
            }
            fsleep(Delta::from_millis(LOOK));
            waited += LOOK;
        }
    }

    /// Resets a device that waits for interrupts once. Returns whether it still waits, and for nobody else.
    fn try_again(&self) -> bool {
        let waits = || self.shared.life().state() == State::Waiting;

        match self.resetter.reset(waits) {
            // Those who were quicker look after it.
            Err(ResetError::Failed(error)) if error == EAGAIN || error == EBUSY => waits(),
            Err(ResetError::Failed(error)) => {
                let _ = self.give_up(error);
                false
            }
            Ok(_) | Err(ResetError::NotBound) => false,
        }
    }

    fn tell(&self) {
        self.shared.counters().device_resets.count();
        if self.shared.may_complain() {
            dev_warn!(self.shared.dev(), "the device was reset\n");
        }
    }

    /// Gives the device up for an error, which it returns.
    fn give_up(&self, error: Error) -> Error {
        self.shared.counters().failed_device_resets.count();
        // Whoever has failed to bring it up may have done so, and said why.
        if self.shared.life().give_up() {
            dev_err!(
                self.shared.dev(),
                "the device could not be reset and is given up: {:?}\n",
                error
            );
        }
        self.virtqueues.delete();
        error
    }
}

/// Resets a device that was found not to work: one that has asked for it, or has broken the
/// protocol of a virtqueue.
pub struct Healing(DeviceReset);

impl Healing {
    /// Makes what heals a device.
    pub fn new(reset: DeviceReset) -> Self {
        Self(reset)
    }

    /// Returns whether the device has to be reset. Whoever has asked for it may have seen the device as it was
    /// before its last reset.
    fn is_needed(&self) -> bool {
        let shared = &self.0.shared;

        shared.life().state() == State::Live
            && (self.0.virtqueues.is_any_broken() || shared.virtio_device().needs_reset())
    }
}

impl Task for Healing {
    fn run(&self) -> Option<Jiffies> {
        let shared = &self.0.shared;
        let seen = shared.life().resets();

        if !self.is_needed() {
            return None;
        }

        shared.counters().failures.count();
        if shared.may_complain() {
            dev_warn!(shared.dev(), "the device does not work: resetting it\n");
        }
        let _ = self.0.carry_out(seen);

        // Whoever asks again has this run at once.
        fsleep(Delta::from_millis(BETWEEN_RESETS.into()));
        self.is_needed().then_some(0)
    }
}

/// Gives a device up that does not return from a reset by the system or the transport: the virtio core does not
/// always call the driver back. Resets one that has come back to find no interrupts until there are some.
pub struct Return(DeviceReset);

impl Return {
    /// Makes what waits for a device.
    pub fn new(reset: DeviceReset) -> Self {
        Self(reset)
    }

    /// Returns how long a device may be down for a cause, in jiffies, if somebody else has to bring it up.
    pub fn bound(cause: Cause) -> Option<Jiffies> {
        match cause {
            Cause::Probe | Cause::Driver => None,
            Cause::Suspend => Some(msecs_to_jiffies(SYSTEM)),
            Cause::Transport => Some(msecs_to_jiffies(TRANSPORT)),
        }
    }
}

impl Task for Return {
    fn run(&self) -> Option<Jiffies> {
        let shared = &self.0.shared;

        if shared.life().state() == State::Waiting {
            return self.0.try_again().then(|| msecs_to_jiffies(BETWEEN_TRIES));
        }
        if let State::Down(cause) = shared.life().state() {
            if Self::bound(cause).is_some() && shared.life().give_up() {
                let what = match cause {
                    Cause::Suspend => "suspend",
                    _ => "a reset of its function",
                };

                dev_err!(
                    shared.dev(),
                    "the device did not come back from {} and is given up\n",
                    what
                );
            }
        }
        None
    }
}
