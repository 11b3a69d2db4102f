// SPDX-License-Identifier: GPL-2.0

//! What the user has set of recovery.

use crate::{
    kernel_glue::Parameter,
    queues::limits::Settings, //
};
use kernel::time::{
    msecs_to_jiffies,
    Jiffies, //
};

/// The parameters that can be changed at any time, in seconds.
#[derive(Clone, Copy)]
pub struct Times {
    /// How long to wait for a command that the device has; 0: for ever.
    pub patience: &'static Parameter,
    /// The same for commands that are marked fail-fast; 0: as for others.
    pub failfast: &'static Parameter,
    /// How long to wait for a command of which the device refuses to say whether it has it; 0: for ever.
    pub refused: &'static Parameter,
}

/// What the user has set of recovery.
#[derive(Clone, Copy)]
pub struct Policy {
    /// Whether to wait for a command for as long as it takes, and do nothing else.
    pub(super) wait: bool,
    /// How long the device may take to answer a task management function, in seconds.
    step: u32,
    times: Times,
}

/// Returns a number of seconds in jiffies.
fn seconds(seconds: u32) -> Jiffies {
    msecs_to_jiffies(seconds.saturating_mul(1000))
}

/// Returns a number of seconds in jiffies, or [`None`] for 0, which is for ever.
fn bound(parameter: &Parameter) -> Option<Jiffies> {
    match parameter.get() {
        0 => None,
        set => Some(seconds(set)),
    }
}

impl Policy {
    /// Makes the policy of what was set when the module was loaded, and of what can be changed.
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
    pub(super) fn step(&self) -> Jiffies {
        seconds(self.step)
    }

    /// Returns how long a command that the device has is waited for, in jiffies, from when it was sent.
    /// [`None`] is for ever.
    pub(super) fn patience(&self, failfast: bool) -> Option<Jiffies> {
        let usual = bound(self.times.patience);

        if failfast {
            bound(self.times.failfast).or(usual)
        } else {
            usual
        }
    }

    /// Returns the same for a command of which the device refuses to say whether it has it.
    pub(super) fn refused(&self, failfast: bool) -> Option<Jiffies> {
        let usual = bound(self.times.refused);

        match (self.patience(failfast), usual) {
            (Some(patience), Some(usual)) => Some(patience.min(usual)),
            (patience, usual) => patience.or(usual),
        }
    }
}
