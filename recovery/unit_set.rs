// SPDX-License-Identifier: GPL-2.0

//! A small set of logical units.

use crate::protocol::address::Address;

/// The most units of a set.
const UNITS: usize = 64;

/// A small set of logical units.
#[derive(Clone, Copy)]
pub(super) struct UnitSet([Option<Address>; UNITS]);

impl UnitSet {
    /// The empty set.
    pub(super) const EMPTY: Self = Self([None; UNITS]);

    /// Adds a unit. Without room, it is left out.
    pub(super) fn add(&mut self, address: Address) {
        if !self.contains(address) {
            if let Some(place) = self.0.iter_mut().find(|place| place.is_none()) {
                *place = Some(address);
            }
        }
    }

    /// Returns whether a unit is in the set.
    pub(super) fn contains(&self, address: Address) -> bool {
        self.0.contains(&Some(address))
    }

    /// Returns the units that are not in another set.
    pub(super) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Address> + 'a {
        self.0
            .iter()
            .flatten()
            .copied()
            .filter(|address| !other.contains(*address))
    }
}
