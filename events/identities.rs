// SPDX-License-Identifier: GPL-2.0

//! The identities of the logical units that the midlayer has, to detect that another unit has
//! taken the place of one.

use super::vpd_pages::Pages;
use crate::protocol::address::Address;
use kernel::{
    new_mutex,
    prelude::*,
    rbtree::RBTree,
    sync::{
        Arc,
        Mutex, //
    },
};

/// The VPD pages that logical units had when they were found.
///
/// The midlayer's own copies cannot be compared with: it reads the pages again at times, and may
/// have those of the unit that has taken the place of the first.
#[pin_data]
pub(super) struct Identities {
    #[pin]
    units: Mutex<RBTree<Address, Pages>>,
}

impl Identities {
    /// Creates an empty list.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                units <- new_mutex!(RBTree::new(), "Identities::units"),
            }),
            GFP_KERNEL,
        )
    }

    /// Keeps the pages of a logical unit that was just found. Without memory the unit has no
    /// identity, and is not taken for another one later.
    ///
    /// Process context.
    pub(super) fn keep(&self, address: Address, pages: Pages) {
        let mut units = self.units.lock();

        if units
            .try_create_and_insert(address, pages, GFP_KERNEL)
            .is_err()
        {
            // The identity of the unit that was at the address before.
            units.remove(&address);
        }
    }

    /// Forgets the pages of the logical unit at an address.
    ///
    /// Process context.
    pub(super) fn forget(&self, address: Address) {
        self.units.lock().remove(&address);
    }

    /// Returns whether `now` are the pages of another logical unit than the one that was found at
    /// the address. Pages that could not be read when the unit was found are kept from `now`.
    ///
    /// Process context.
    pub(super) fn differ(&self, address: Address, now: Pages) -> bool {
        let mut units = self.units.lock();
        let Some(known) = units.get_mut(&address) else {
            return false;
        };
        let differs = known.differ(&now);

        if !differs {
            known.complete(now);
        }
        differs
    }
}
