// SPDX-License-Identifier: GPL-2.0

//! What logical units said of themselves when they were found.

use super::vpd::Page;
use crate::scsi_glue::{
    LogicalUnit,
    VpdPage, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// The most of a page that is kept, in bytes.
pub(super) const PAGE_MAX: usize = crate::queues::OWN_DATA;

/// A page of vital product data, from its header on. Empty if the logical unit did not have it, or it was not read.
pub(super) type Bytes = KVec<u8>;

/// What a logical unit said of itself.
struct Identity {
    target: u32,
    lun: u64,
    serial: Bytes,
    identification: Bytes,
}

/// What logical units said of themselves when they were found.
///
/// The midlayer keeps that, too, but reads it again at times, and then it may be what another unit has said that has
/// taken the place of the first.
#[pin_data]
pub(super) struct Identities {
    #[pin]
    units: Mutex<KVec<Identity>>,
}

impl Identities {
    /// Makes an empty list.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            units <- new_mutex!(KVec::new(), "Identities::units"),
        })
    }

    /// Keeps what the midlayer has read of a logical unit, unless something is kept already.
    ///
    /// Process context. Fails with [`ENOMEM`].
    pub(super) fn keep(&self, unit: &LogicalUnit) -> Result {
        let (target, lun) = (unit.target(), unit.lun());
        let mut units = self.units.lock();

        if units
            .iter()
            .any(|one| (one.target, one.lun) == (target, lun))
        {
            return Ok(());
        }

        let identity = Identity {
            target,
            lun,
            serial: read(unit, VpdPage::Serial)?,
            identification: read(unit, VpdPage::Identification)?,
        };

        Ok(units.push(identity, GFP_KERNEL)?)
    }

    /// Forgets what the logical unit at an address said.
    ///
    /// Process context.
    pub(super) fn forget(&self, target: u32, lun: u64) {
        self.units
            .lock()
            .retain(|one| (one.target, one.lun) != (target, lun));
    }

    /// Returns what a logical unit said of itself when it was found, from the header of the page on. It is empty if
    /// the unit did not have the page, or it was not read.
    ///
    /// Process context. Fails with [`ENOMEM`].
    pub(super) fn page(&self, unit: &LogicalUnit, page: Page) -> Result<Bytes> {
        let mut copy = KVec::new();

        self.keep(unit)?;
        if let Some(identity) = self
            .units
            .lock()
            .iter()
            .find(|one| (one.target, one.lun) == (unit.target(), unit.lun()))
        {
            let bytes: &[u8] = match page {
                Page::List => &[],
                Page::Serial => &identity.serial,
                Page::Identification => &identity.identification,
            };

            copy.extend_from_slice(bytes, GFP_KERNEL)?;
        }
        Ok(copy)
    }
}

/// Copies what the midlayer has read of a page.
fn read(unit: &LogicalUnit, page: VpdPage) -> Result<Bytes> {
    let mut bytes = KVec::from_elem(0, PAGE_MAX, GFP_KERNEL)?;
    let len = unit.copy_vpd(page, &mut bytes).unwrap_or(0);
    let mut kept = KVec::new();

    // Most are much shorter than what there was room for.
    kept.extend_from_slice(bytes.get(..len).unwrap_or(&[]), GFP_KERNEL)?;
    Ok(kept)
}
