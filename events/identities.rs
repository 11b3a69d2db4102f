// SPDX-License-Identifier: GPL-2.0

//! What logical units said of themselves when they were found.

use super::vpd::{
    self,
    Identity,
    Page,
    PAGE_LEN, //
};
use crate::queues::{
    wire::Address,
    Initiator,
    OwnAnswer, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex,
    time::Jiffies, //
};

/// A page of vital product data, from its header on.
#[derive(Default)]
pub(super) enum Reading {
    /// It could not be read.
    #[default]
    Unknown,
    /// The logical unit does not have it.
    Missing,
    /// It has it.
    Page(KVec<u8>),
}

impl Reading {
    /// Asks a logical unit for a page.
    ///
    /// Process context. The midlayer need not know the unit.
    pub(super) fn of(
        initiator: &Initiator,
        address: Address,
        page: Page,
        patience: Jiffies,
    ) -> Self {
        let Ok(mut bytes) = KVec::from_elem(0, PAGE_LEN.into(), GFP_KERNEL) else {
            return Self::Unknown;
        };

        match initiator.execute(address, &page.inquiry(), &mut bytes, patience) {
            OwnAnswer::Good(len) => {
                bytes.truncate(len);
                Self::Page(bytes)
            }
            OwnAnswer::Refused => Self::Missing,
            _ => Self::Unknown,
        }
    }

    /// Returns the bytes, none if there are none.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Page(bytes) => bytes,
            Self::Unknown | Self::Missing => &[],
        }
    }
}

/// The pages that tell one logical unit from another.
#[derive(Default)]
pub(super) struct Pages {
    pub(super) serial: Reading,
    pub(super) identification: Reading,
}

impl Pages {
    /// Asks a logical unit for them, as far as they are on its list of pages.
    ///
    /// Process context.
    pub(super) fn of(
        initiator: &Initiator,
        address: Address,
        list: &Reading,
        patience: Jiffies,
    ) -> Self {
        let read = |page| match vpd::has_page(list.bytes(), page) {
            Some(true) => Reading::of(initiator, address, page, patience),
            Some(false) => Reading::Missing,
            None => Reading::Unknown,
        };

        Self {
            serial: read(Page::Serial),
            identification: read(Page::Identification),
        }
    }

    /// Returns what there is to compare.
    fn identity(&self) -> Identity<'_> {
        Identity {
            serial: self.serial.bytes(),
            identification: self.identification.bytes(),
        }
    }
}

/// What a logical unit said of itself.
struct Known {
    address: Address,
    pages: Pages,
}

/// What logical units said of themselves when they were found.
///
/// The midlayer keeps that, too, but reads it again at times, and then it may be what another unit has said that has
/// taken the place of the first.
#[pin_data]
pub(super) struct Identities {
    #[pin]
    units: Mutex<KVec<Known>>,
}

impl Identities {
    /// Makes an empty list.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            units <- new_mutex!(KVec::new(), "Identities::units"),
        })
    }

    /// Keeps what a logical unit says that was just found. If there is no memory, nothing is known of it.
    ///
    /// Process context.
    pub(super) fn keep(&self, address: Address, pages: Pages) {
        let mut units = self.units.lock();

        units.retain(|known| known.address != address);
        let _ = units.push(Known { address, pages }, GFP_KERNEL);
    }

    /// Forgets what the logical unit at an address said.
    ///
    /// Process context.
    pub(super) fn forget(&self, address: Address) {
        self.units.lock().retain(|known| known.address != address);
    }

    /// Returns whether what the logical unit at an address says now is said by another than the one that was found
    /// there. What could not be read when it was found is kept from now on.
    ///
    /// Process context.
    pub(super) fn differ(&self, address: Address, now: Pages) -> bool {
        let mut units = self.units.lock();
        let Some(known) = units.iter_mut().find(|known| known.address == address) else {
            return false;
        };
        let differs = known.pages.identity().differs(&now.identity());

        if !differs {
            if let Reading::Unknown = known.pages.serial {
                known.pages.serial = now.serial;
            }
            if let Reading::Unknown = known.pages.identification {
                known.pages.identification = now.identification;
            }
        }
        differs
    }
}
