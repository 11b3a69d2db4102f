// SPDX-License-Identifier: GPL-2.0

//! The identities of the logical units that the midlayer has, to detect that another unit has
//! taken the place of one.

use super::vpd_pages::Pages;
use crate::protocol::address::Address;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// An entry of [`Identities`].
struct Known {
    address: Address,
    pages: Pages,
}

/// The VPD pages that logical units had when they were found.
///
/// The midlayer's own copies cannot be compared with: it reads the pages again at times, and may
/// have those of the unit that has taken the place of the first.
#[pin_data]
pub(super) struct Identities {
    #[pin]
    units: Mutex<KVec<Known>>,
}

impl Identities {
    /// Creates an empty list.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                units <- new_mutex!(KVec::new(), "Identities::units"),
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

        units.retain(|known| known.address != address);
        let _ = units.push(Known { address, pages }, GFP_KERNEL);
    }

    /// Forgets the pages of the logical unit at an address.
    ///
    /// Process context.
    pub(super) fn forget(&self, address: Address) {
        self.units.lock().retain(|known| known.address != address);
    }

    /// Returns whether `now` are the pages of another logical unit than the one that was found at
    /// the address. Pages that could not be read when the unit was found are kept from `now`.
    ///
    /// Process context.
    pub(super) fn differ(&self, address: Address, now: Pages) -> bool {
        let mut units = self.units.lock();
        let Some(known) = units.iter_mut().find(|known| known.address == address) else {
            return false;
        };
        let differs = known.pages.differ(&now);

        if !differs {
            known.pages.complete(now);
        }
        differs
    }
}
