// SPDX-License-Identifier: GPL-2.0

//! The user's settings for recovery.

use crate::{
    kernel_glue::Parameter,
    protocol::settings::Settings, //
};
use kernel::time::{
    msecs_to_jiffies,
    Jiffies, //
};

/// The parameters that can be changed at any time, in seconds. All count from when a command was
/// sent.
#[derive(Clone, Copy)]
pub struct Times {
    /// How long to wait for a command that the device has. 0: for ever.
    pub patience: &'static Parameter,
    /// The same for commands that are marked fail-fast. 0: as for others.
    pub failfast: &'static Parameter,
    /// How long to wait for a command if the device refuses QUERY TASK. 0: for ever.
    pub refused: &'static Parameter,
}

/// The user's settings for recovery.
#[derive(Clone, Copy)]
pub struct Policy {
    /// Whether commands are waited for without any recovery.
    pub(crate) wait: bool,
    /// See [`Policy::step`]. In seconds.
    step: u32,
    times: Times,
}

/// Returns a number of seconds in jiffies.
fn seconds(seconds: u32) -> Jiffies {
    msecs_to_jiffies(seconds.saturating_mul(1000))
}

/// Returns the value of a parameter in jiffies, or [`None`] for 0, which means for ever.
fn bound(parameter: &Parameter) -> Option<Jiffies> {
    match parameter.get() {
        0 => None,
        set => Some(seconds(set)),
    }
}

impl Policy {
    /// Makes the policy of the parameters that were set when the module was loaded, and of those
    /// that can be changed.
    pub fn new(settings: &Settings, times: Times) -> Self {
        Self {
            wait: settings.recovery_wait != 0,
            step: match settings.recovery_step {
                0 => Settings::RECOVERY_STEP,
                seconds => seconds,
            },
            times,
        }
    }

    /// Returns how long the device may take to answer a task management function, in jiffies.
    #[inline]
    pub fn step(&self) -> Jiffies {
        seconds(self.step)
    }

    /// Returns how long to wait for a command that the device has, in jiffies from when it was
    /// sent. [`None`] means for ever.
    pub(crate) fn patience(&self, failfast: bool) -> Option<Jiffies> {
        let usual = bound(self.times.patience);

        if failfast {
            bound(self.times.failfast).or(usual)
        } else {
            usual
        }
    }

    /// Returns the same if the device refuses QUERY TASK.
    pub(crate) fn refused(&self, failfast: bool) -> Option<Jiffies> {
        let usual = bound(self.times.refused);

        match (self.patience(failfast), usual) {
            (Some(patience), Some(usual)) => Some(patience.min(usual)),
            (patience, usual) => patience.or(usual),
        }
    }
}
