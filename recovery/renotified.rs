// SPDX-License-Identifier: GPL-2.0

//! How many commands came back after the device was notified again.

use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Relaxed,
    Release, //
};

/// The number of commands in [`Stage::Notified`](crate::queues::Stage::Notified), as entered and
/// left. Those that the device has used since then are still in the number, and no longer among the
/// commands that the device has.
pub(super) struct Renotified {
    entered: Atomic<i32>,
    /// Whether a command has entered since the last grace period began.
    is_new: Atomic<bool>,
    /// How many resets the device had come back from when a command entered last.
    resets: Atomic<u64>,
}

impl Renotified {
    pub(super) fn new() -> Self {
        Self {
            entered: Atomic::new(0),
            is_new: Atomic::new(false),
            resets: Atomic::new(0),
        }
    }

    /// Counts a command after it has entered the stage, with the resets that the device has come
    /// back from. Any context.
    ///
    /// The review may see a command in the stage that is not counted yet, and even take the command
    /// out of the stage first. Then the number is too small for a moment, which is no loss.
    pub(super) fn enter(&self, resets: u64) {
        self.resets.store(resets, Relaxed);
        self.entered.fetch_add(1, Release);
        self.is_new.store(true, Relaxed);
    }

    /// Counts a command that was taken out of the stage and did not come back.
    pub(super) fn leave(&self) {
        self.entered.fetch_sub(1, Relaxed);
    }

    /// Returns whether a grace period is due.
    pub(super) fn take_new(&self) -> bool {
        self.is_new.xchg(false, Relaxed)
    }

    /// Returns whether the device was reset since a command has entered last, which has brought all
    /// of them back.
    pub(super) fn is_before(&self, resets: u64) -> bool {
        self.resets.load(Relaxed) != resets
    }

    /// Returns how many commands have come back since the last call, if `count` counts those in the
    /// stage that the device still has. Only the review calls this.
    pub(super) fn take_back(&self, count: impl FnOnce() -> i32) -> i32 {
        // Before the commands are counted: a command that is in this number is in the stage.
        let entered = self.entered.load(Acquire);
        let back = (entered - count()).max(0);

        self.entered.fetch_sub(back, Relaxed);
        back
    }
}

#[cfg(CONFIG_KUNIT = "y")]
mod tests;
