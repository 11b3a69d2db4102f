// SPDX-License-Identifier: GPL-2.0

//! Resetting the device, and giving it up.

use crate::{
    kernel_glue::Task,
    protocol::states::{
        Cause,
        State, //
    },
    queues::SharedState,
    trace_glue,
    virtio_glue::{
        ResetError,
        Resetter,
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

/// How often to check whether a device can be reset, in milliseconds.
const POLL_INTERVAL_MS: i64 = 20;

/// How long to wait for a reset by another thread, in milliseconds. Longer than any may take: see
/// [`ReturnWatchdog`].
const RESET_ELSEWHERE_MS: i64 = 120_000;

/// The minimum interval between unsolicited resets, in milliseconds, so that a device which breaks
/// again immediately cannot monopolise a CPU.
const RESET_INTERVAL_MS: u32 = 1_000;

/// How long to wait before a device that lacks interrupts is reset again, in milliseconds.
pub const RETRY_INTERVAL_MS: u32 = 1_000;

/// How long the transport may take to reset the function, in milliseconds. PCI waits up to a minute
/// until a function is ready.
const TRANSPORT_TIMEOUT_MS: u32 = 90_000;

/// How long a suspend or resume may take to set the device up, in milliseconds. The watchdog runs
/// when tasks do, which is after the virtio core has set the device up.
const SUSPEND_TIMEOUT_MS: u32 = 5_000;

/// The reset of a device.
#[derive(Clone)]
pub struct DeviceReset {
    shared: Arc<SharedState>,
    resetter: Arc<Resetter>,
    virtqueues: Arc<Virtqueues>,
}

impl DeviceReset {
    /// Makes the reset of a device.
    pub fn new(
        shared: Arc<SharedState>,
        resetter: Arc<Resetter>,
        virtqueues: Arc<Virtqueues>,
    ) -> Self {
        Self {
            shared,
            resetter,
            virtqueues,
        }
    }

    /// Resets the device and builds its queues anew, unless it has come back from another reset
    /// than number `seen`. If that fails for lack of interrupts, tries again until there are some;
    /// for another reason, gives the device up. Either way the device has none of its commands any
    /// more.
    ///
    /// The core resets it by way of the driver's own callbacks: see `device.rs`.
    ///
    /// Process context. Fails if the device is gone.
    pub(super) fn reset(&self, seen: u64) -> Result {
        let life = self.shared.life();
        let mut waited = 0;

        loop {
            // A reset by another thread will do.
            if let State::Down(_) = life.settle(RESET_ELSEWHERE_MS) {
                return Err(self.give_up(ETIMEDOUT));
            }
            if life.is_gone() {
                // The thread that has given it up may not have completed its commands yet.
                self.virtqueues.delete();
                return Err(ENODEV);
            }

            match self
                .resetter
                .reset(|| life.resets() == seen && !life.is_gone())
            {
                Ok(wanted) => {
                    if wanted {
                        self.note_reset();
                    }
                    if wanted || life.resets() != seen {
                        return Ok(());
                    }
                }
                // Probe or unbind is under way, and will end soon.
                Err(ResetError::NotBound) => {}
                // It lacks interrupts. An unbinding gives it up.
                Err(ResetError::Failed(error)) if error == EAGAIN => {
                    fsleep(Delta::from_millis(RETRY_INTERVAL_MS.into()));
                    continue;
                }
                // The transport or the system was faster.
                Err(ResetError::Failed(error)) if error == EBUSY => {}
                Err(ResetError::Failed(error)) => return Err(self.give_up(error)),
            }

            if waited >= RESET_ELSEWHERE_MS {
                return Err(self.give_up(EBUSY));
            }
            fsleep(Delta::from_millis(POLL_INTERVAL_MS));
            waited += POLL_INTERVAL_MS;
        }
    }

    /// Resets a device that lacks interrupts once. Returns whether it still lacks them, and is not
    /// being reset by another thread.
    fn try_again(&self) -> bool {
        let waits = || self.shared.life().state() == State::Waiting;

        match self.resetter.reset(waits) {
            // A thread that was faster cares for it.
            Err(ResetError::Failed(error)) if error == EAGAIN || error == EBUSY => waits(),
            Err(ResetError::Failed(error)) => {
                let _ = self.give_up(error);
                false
            }
            Ok(_) | Err(ResetError::NotBound) => false,
        }
    }

    /// Counts and logs a reset.
    fn note_reset(&self) {
        self.shared.counters().device_resets.count();
        if self.shared.may_complain() {
            dev_warn!(self.shared.dev(), "the device was reset\n");
        }
    }

    /// Gives the device up, and returns the error.
    fn give_up(&self, error: Error) -> Error {
        self.shared.counters().failed_device_resets.count();
        // `device::bring_up` may have done so, and logged the reason.
        if self.shared.life().give_up() {
            self.shared.history().add(None, "give_up", "reset_failed");
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

/// The task that resets a device that does not work: it has set `DEVICE_NEEDS_RESET`, or has broken
/// the protocol of a virtqueue.
pub struct Healing(DeviceReset);

impl Healing {
    /// Makes the task.
    pub fn new(reset: DeviceReset) -> Self {
        Self(reset)
    }

    /// Returns whether the device does not work now. The task may have been scheduled before its
    /// last reset.
    fn is_needed(&self) -> bool {
        let shared = &self.0.shared;

        shared.life().state() == State::Live
            && (self.0.virtqueues.is_any_broken() || self.0.virtqueues.needs_reset())
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
        if self.0.virtqueues.is_any_broken() {
            trace_glue::violate(|| (shared.dev().name(), "virtqueue"));
        }
        if shared.may_complain() {
            dev_warn!(shared.dev(), "the device does not work: resetting it\n");
        }
        let _ = self.0.reset(seen);

        // Not as a delay of the next run, which a schedule() would cut short.
        fsleep(Delta::from_millis(RESET_INTERVAL_MS.into()));
        self.is_needed().then_some(0)
    }
}

/// The task that gives up a device which does not come back from a suspend or a reset of its
/// function: the virtio core does not always call the driver back. It also resets a device that
/// lacks interrupts until there are some.
pub struct ReturnWatchdog(DeviceReset);

impl ReturnWatchdog {
    /// Makes the task.
    pub fn new(reset: DeviceReset) -> Self {
        Self(reset)
    }

    /// Returns how long a device may be down for a cause, in jiffies, if the system or the
    /// transport has to bring it up.
    pub fn bound(cause: Cause) -> Option<Jiffies> {
        match cause {
            Cause::Probe | Cause::Driver => None,
            Cause::Suspend => Some(msecs_to_jiffies(SUSPEND_TIMEOUT_MS)),
            Cause::Transport => Some(msecs_to_jiffies(TRANSPORT_TIMEOUT_MS)),
        }
    }
}

impl Task for ReturnWatchdog {
    fn run(&self) -> Option<Jiffies> {
        let shared = &self.0.shared;

        if shared.life().state() == State::Waiting {
            return self
                .0
                .try_again()
                .then(|| msecs_to_jiffies(RETRY_INTERVAL_MS));
        }
        if let State::Down(cause) = shared.life().state() {
            if Self::bound(cause).is_some() && shared.life().give_up() {
                shared.history().add(None, "give_up", "not_back");
                let from = match cause {
                    Cause::Suspend => "suspend",
                    _ => "a reset of its function",
                };

                dev_err!(
                    shared.dev(),
                    "the device did not come back from {} and is given up\n",
                    from
                );
            }
        }
        None
    }
}
