// SPDX-License-Identifier: GPL-2.0

//! The offered values that the driver adjusts or refuses, and how the log names them.

use core::fmt;

/// A field whose value the driver has brought into the range that it can serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Adjustment {
    /// The name of the field.
    pub field: &'static str,
    /// The device's value.
    pub offered: u32,
    /// The driver's value.
    pub used: u32,
}

/// All adjustments of a device, for one line in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Adjustments([Option<Adjustment>; 10]);

impl Adjustments {
    /// Notes an adjustment, and returns the value to use.
    pub(super) fn note(&mut self, field: &'static str, offered: u32, used: u32) -> u32 {
        if offered != used {
            if let Some(place) = self.0.iter_mut().find(|place| place.is_none()) {
                *place = Some(Adjustment {
                    field,
                    offered,
                    used,
                });
            }
        }
        used
    }

    /// Returns whether nothing was adjusted.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Returns the adjustments in the order in which they were noted.
    pub fn iter(&self) -> impl Iterator<Item = &Adjustment> {
        self.0.iter().flatten()
    }
}

impl fmt::Display for Adjustments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, one) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };

            write!(f, "{comma}{} {} -> {}", one.field, one.offered, one.used)?;
        }
        Ok(())
    }
}

/// A field whose value the driver cannot serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The name of the field.
    pub field: &'static str,
    /// The device's value.
    pub offered: u32,
    /// Why that cannot be served.
    pub reason: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: {}", self.field, self.offered, self.reason)
    }
}
