// SPDX-License-Identifier: GPL-2.0

//! How the logical units of the midlayer compare with the device.
//!
//! Units are compared in groups, and each group in rounds: INQUIRY of all of them, the lists of VPD
//! pages of those that answered, then page by page. As many commands of a round are in flight as
//! the ring has room for, so that it is the slowest of them that is waited for, not the sum.
//!
//! The commands are the driver's own, so that the state of a unit in the midlayer makes no
//! difference: a unit that is offline or asleep can be compared, and stays so.

use super::{
    inquiry::{
        bounds_for,
        inquire_all,
        InquiryResult, //
    },
    units::{
        is_settled,
        Units, //
    },
    vpd_pages::{
        read_identities,
        read_lists,
        Reading,
        VpdList, //
    },
};
use crate::{
    protocol::vpd::Presence,
    queues::{
        address_of,
        Unit, //
    },
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// How many logical units are compared together. This bounds the memory that their pages take.
pub(super) const GROUP: usize = 64;

/// How a logical unit of the midlayer compares with the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Finding {
    /// The unit is there. The list of its VPD pages is [`VpdList::Checked`].
    Same,
    /// The target does not answer, or reports that it does not have the unit.
    Gone,
    /// Another unit is in its place: of another type, or with another serial number or designator.
    Another,
    /// The unit does not answer.
    Silent,
    /// The unit was not asked, and is to be compared another time.
    Unasked,
    /// The unit answers, but could not be compared.
    Unknown,
}

impl Finding {
    /// Returns whether nothing is known of the unit.
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Self::Silent | Self::Unasked)
    }

    /// Returns the finding by the INQUIRY data of a unit alone, if it follows from them.
    fn by_inquiry(unit: &Unit, result: InquiryResult) -> Option<Self> {
        let now = match result {
            InquiryResult::Data(now) => now,
            InquiryResult::NotThere => return Some(Self::Gone),
            InquiryResult::Silent => return Some(Self::Silent),
            InquiryResult::NotSent => return Some(Self::Unasked),
            InquiryResult::Failed => return Some(Self::Unknown),
        };

        match unit.inquiry_byte().map(|kept| Presence::of(kept, now)) {
            None | Some(Presence::Away) => Some(Self::Unknown),
            Some(Presence::Gone) => Some(Self::Gone),
            Some(Presence::Other) => Some(Self::Another),
            Some(Presence::Same) if !unit.supports_vpd() => Some(Self::Same),
            Some(Presence::Same) => None,
        }
    }

    /// Returns the finding by the VPD pages of a unit whose INQUIRY data are as they were.
    fn by_pages(units: &Units, mut now: Reading<'_>) -> Self {
        // In the place of a unit that is being removed there may be another one by now.
        if !is_settled(now.unit()) {
            return Self::Unknown;
        }
        if units.identities().differ(now.address(), now.take_pages()) {
            Self::Another
        } else if now.vpd_list() == VpdList::Unchecked {
            Self::Unknown
        } else {
            Self::Same
        }
    }
}

/// Compares the logical units of a group with the device. Returns the findings in the order of the
/// group, or nothing once `is_over`, which is looked at between the rounds.
///
/// Process context.
pub(super) fn compare(
    units: &Units,
    group: &[ARef<Unit>],
    is_over: &dyn Fn() -> bool,
) -> KVec<Finding> {
    match compare_in_rounds(units, group, is_over) {
        Ok(findings) => findings,
        Err(_) => {
            // Nothing was sent, for lack of memory.
            units.rechecks().add_reconcile();
            KVec::new()
        }
    }
}

/// Does the work of [`compare`]. Fails for lack of memory.
fn compare_in_rounds(
    units: &Units,
    group: &[ARef<Unit>],
    is_over: &dyn Fn() -> bool,
) -> Result<KVec<Finding>> {
    let recovery = units.recovery();
    // A unit without an address cannot be asked.
    let mut by_inquiry = KVec::from_elem(Some(Finding::Unknown), group.len(), GFP_KERNEL)?;
    let mut findings = KVec::with_capacity(group.len(), GFP_KERNEL)?;
    let mut readings = KVec::with_capacity(group.len(), GFP_KERNEL)?;
    let addresses = group
        .iter()
        .enumerate()
        .filter_map(|(number, unit)| Some((number, address_of(unit)?)));

    inquire_all(
        recovery,
        addresses,
        bounds_for(group.len()),
        |number, result| {
            if let (Some(unit), Some(finding)) = (group.get(number), by_inquiry.get_mut(number)) {
                *finding = Finding::by_inquiry(unit, result);
            }
        },
    );
    for (unit, finding) in group.iter().zip(&by_inquiry) {
        if let (None, Some(address)) = (finding, address_of(unit)) {
            readings.push(Reading::new(unit, address), GFP_KERNEL)?;
        }
    }
    if !is_over() {
        read_lists(recovery, &mut readings);
    }
    read_identities(recovery, &mut readings, is_over);
    if is_over() {
        return Ok(KVec::new());
    }

    let mut readings = readings.into_iter();

    for finding in by_inquiry {
        let by_pages = || readings.next().map(|now| Finding::by_pages(units, now));
        let finding = finding.or_else(by_pages).unwrap_or(Finding::Unknown);

        findings.push(finding, GFP_KERNEL)?;
    }
    Ok(findings)
}
