// SPDX-License-Identifier: GPL-2.0

//! What the driver says of numbers that a device offers, and that it takes differently or refuses.
//!
//! This file uses `core` alone, because it is also compiled for the host, and tested there.

use core::fmt;

/// A field that the driver has brought to what it can serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Adjustment {
    /// The name of the field.
    pub field: &'static str,
    /// What the device offers.
    pub offered: u32,
    /// What the driver uses.
    pub used: u32,
}

/// All adjustments of a device, which are worth one line in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Adjustments([Option<Adjustment>; 10]);

impl Adjustments {
    /// Notes an adjustment, and returns what is used.
    pub(super) fn note(&mut self, field: &'static str, offered: u32, used: u32) -> u32 {
        if offered != used {
            if let Some(slot) = self.0.iter_mut().find(|slot| slot.is_none()) {
                *slot = Some(Adjustment {
                    field,
                    offered,
                    used,
                });
            }
        }
        used
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Returns them in the order in which they were noted.
    pub fn iter(&self) -> impl Iterator<Item = &Adjustment> {
        self.0.iter().flatten()
    }
}

impl fmt::Display for Adjustments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, it) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };

            write!(f, "{comma}{} {} as {}", it.field, it.offered, it.used)?;
        }
        Ok(())
    }
}

/// A field with a value that the driver cannot serve at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The name of the field.
    pub field: &'static str,
    /// What the device offers.
    pub offered: u32,
    /// Why that cannot be served.
    pub reason: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: {}", self.field, self.offered, self.reason)
    }
}
