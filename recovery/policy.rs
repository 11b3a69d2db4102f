// SPDX-License-Identifier: GPL-2.0

//! The user's settings for recovery: those of the module, which root can change at any time, and
//! those of a host, which take their place once root has set them.

use crate::kernel_glue::Parameter;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// A setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// 1: wait for each command without any recovery.
    Wait,
    /// How long the device may take to answer a task management function, in seconds.
    Step,
    /// How long to wait for a command that the device has, in seconds. 0: for ever.
    Patience,
    /// The same for commands that are marked fail-fast. 0: as for others.
    Failfast,
    /// How long to wait for a command if the device refuses QUERY TASK, in seconds. 0: for ever.
    Refused,
    /// The age at which a command is logged with all that is known about it, in seconds. 0: never.
    Report,
    /// The age of a command at which the kernel panics, for a dump, in seconds. 0: never.
    Panic,
}

impl Setting {
    /// All settings, each at the place of its number.
    pub const ALL: [Self; 7] = [
        Self::Wait,
        Self::Step,
        Self::Patience,
        Self::Failfast,
        Self::Refused,
        Self::Report,
        Self::Panic,
    ];

    /// Returns its number.
    pub const fn number(self) -> usize {
        // CAST: The settings are numbered from 0.
        self as usize
    }
}

/// The settings of the module, by number.
pub type Defaults = [&'static Parameter; Setting::ALL.len()];

/// Stands for a setting that the host has not. No parameter allows it.
const UNSET: u32 = u32::MAX;

/// The settings of a host.
pub struct Policy {
    defaults: &'static Defaults,
    own: [Atomic<u32>; Setting::ALL.len()],
}

/// Returns a number of seconds in jiffies, or [`None`] for 0.
fn bound(seconds: u32) -> Option<Jiffies> {
    (seconds != 0).then(|| msecs_to_jiffies(seconds.saturating_mul(1000)))
}

impl Policy {
    /// Makes the settings of a host, which are those of the module.
    pub fn new(defaults: &'static Defaults) -> Self {
        Self {
            defaults,
            own: [const { Atomic::new(UNSET) }; Setting::ALL.len()],
        }
    }

    /// Returns the host's own place for a setting, and the parameter of the module. The number of
    /// every setting is within both arrays.
    fn find(&self, setting: Setting) -> Option<(&Atomic<u32>, &'static Parameter)> {
        let number = setting.number();

        self.own.get(number).zip(self.defaults.get(number).copied())
    }

    /// Returns the value of a setting.
    #[inline(never)]
    pub fn get(&self, setting: Setting) -> u32 {
        let Some((own, default)) = self.find(setting) else {
            return 0;
        };

        match own.load(Relaxed) {
            UNSET => default.get(),
            value => value,
        }
    }

    /// Sets a setting of the host by what root has written: a number, or `default` for the setting
    /// of the module. Fails with [`EINVAL`] if it is neither, or if the parameter of the module
    /// would not allow the number.
    pub(crate) fn set(&self, setting: Setting, text: &str) -> Result {
        let (own, default) = self.find(setting).ok_or(EINVAL)?;
        let value = match text {
            "default" => UNSET,
            number => number
                .parse()
                .ok()
                .filter(|value| default.allows(*value))
                .ok_or(EINVAL)?,
        };

        own.store(value, Relaxed);
        Ok(())
    }

    /// Returns whether commands are waited for without any recovery.
    pub(crate) fn waits(&self) -> bool {
        self.get(Setting::Wait) != 0
    }

    /// Returns how long the device may take to answer a task management function, in jiffies.
    pub fn step(&self) -> Jiffies {
        bound(self.get(Setting::Step)).unwrap_or(0)
    }

    /// Returns how long to wait for a command that the device has, in jiffies from when it was
    /// sent. [`None`] means for ever.
    pub(crate) fn patience(&self, failfast: bool) -> Option<Jiffies> {
        let usual = bound(self.get(Setting::Patience));

        if failfast {
            bound(self.get(Setting::Failfast)).or(usual)
        } else {
            usual
        }
    }

    /// Returns the same if the device refuses QUERY TASK.
    pub(crate) fn refused(&self, failfast: bool) -> Option<Jiffies> {
        let usual = bound(self.get(Setting::Refused));

        match (self.patience(failfast), usual) {
            (Some(patience), Some(usual)) => Some(patience.min(usual)),
            (patience, usual) => patience.or(usual),
        }
    }

    /// Returns the age at which a command is logged, in jiffies since the kernel began with it.
    pub(crate) fn report(&self) -> Option<Jiffies> {
        bound(self.get(Setting::Report))
    }

    /// Returns the age of a command at which the kernel panics, in jiffies.
    pub(crate) fn panic(&self) -> Option<Jiffies> {
        bound(self.get(Setting::Panic))
    }
}
