// SPDX-License-Identifier: GPL-2.0

//! What a logical unit says of itself: INQUIRY data and the vital product data (VPD) that tell one unit from
//! another.
//!
//! SPC-4, sections 6.6.2 and 7.8.
//!
//! This file uses `core` alone, because it is also compiled for the host, and tested there.

/// The length of the INQUIRY data that every logical unit has, in bytes.
pub const INQUIRY_LEN: u8 = 36;

/// INQUIRY, for [`INQUIRY_LEN`] bytes.
pub const INQUIRY: [u8; 6] = [0x12, 0, 0, 0, INQUIRY_LEN, 0];

/// The list of pages, of which units that know no more than SCSI-2 give no more than this, in bytes.
pub const PAGE_LIST_LEN: u8 = 252;

/// A page of vital product data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// Supported VPD Pages.
    List,
    /// Unit Serial Number.
    Serial,
    /// Device Identification.
    Identification,
}

impl Page {
    /// Returns its page code.
    pub const fn code(self) -> u8 {
        match self {
            Self::List => 0x00,
            Self::Serial => 0x80,
            Self::Identification => 0x83,
        }
    }

    /// Returns INQUIRY for the first `len` bytes of it.
    pub const fn inquiry(self, len: u16) -> [u8; 6] {
        let [high, low] = len.to_be_bytes();

        [0x12, 1, self.code(), high, low, 0]
    }

    /// Returns what follows the header of a page, if `bytes` begin with this page: as much as there is of it. And how
    /// long the page says that is.
    fn body(self, bytes: &[u8]) -> Option<(&[u8], usize)> {
        let ([_, code, high, low], rest) = bytes.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes([*high, *low]));

        (*code == self.code()).then(|| (rest.get(..len).unwrap_or(rest), len))
    }
}

/// What the first byte of INQUIRY data says of a logical unit that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// It is there.
    Same,
    /// There is a unit of another type.
    OtherType,
    /// No unit is connected.
    Gone,
}

impl Presence {
    /// Compares what the first byte says with what it said when the unit was found.
    pub const fn of(kept: u8, now: u8) -> Self {
        const TYPE: u8 = 0x1f;

        // The peripheral qualifier. The midlayer takes some units that say that they are not connected, too.
        if now >> 5 != 0 && now >> 5 != kept >> 5 {
            Self::Gone
        } else if now & TYPE != kept & TYPE {
            Self::OtherType
        } else {
            Self::Same
        }
    }
}

/// Returns whether a list of VPD pages can be believed: it is no longer than there are page codes, and has none
/// twice. The midlayer asks for every page that is on it.
pub fn is_list_plausible(bytes: &[u8]) -> bool {
    let Some((codes, len)) = Page::List.body(bytes) else {
        // It is not taken for a list by the midlayer either.
        return true;
    };
    let mut seen = [false; 256];

    len <= seen.len()
        && codes.iter().all(|code| {
            seen.get_mut(usize::from(*code))
                .is_some_and(|seen| !core::mem::replace(seen, true))
        })
}

/// Returns whether two readings of a page are of two logical units. What was not read in full makes no difference.
///
/// `kept` is what was read first, and `now` what was read with the same length.
pub fn differ(page: Page, kept: &[u8], now: &[u8]) -> bool {
    let (Some(kept), Some(now)) = (page.body(kept), page.body(now)) else {
        return false;
    };

    match page {
        Page::List => false,
        Page::Serial => {
            let is_whole =
                |(serial, len): (&[u8], usize)| !serial.is_empty() && serial.len() == len;

            // The one that is longer now was read as far as the first.
            is_whole(kept) && !now.0.is_empty() && now.0.len() >= kept.1.min(now.1) && kept != now
        }
        Page::Identification => differ_by_designator(kept.0, now.0),
    }
}

/// The types of designator that can tell one logical unit from another, the best first: NAA, EUI-64, SCSI name
/// string, UUID, T10 vendor ID, vendor specific.
const TYPES: [u8; 6] = [3, 2, 8, 10, 1, 0];

/// Returns whether two lists of designators are of two logical units: they have none in common of the first type
/// that both have.
fn differ_by_designator(kept: &[u8], now: &[u8]) -> bool {
    let of_type = |list, kind| designators(list).filter(move |(each, _)| *each == kind);

    TYPES
        .into_iter()
        .find(|kind| of_type(kept, *kind).next().is_some() && of_type(now, *kind).next().is_some())
        .is_some_and(|kind| {
            !of_type(kept, kind).any(|one| of_type(now, kind).any(|other| one == other))
        })
}

/// Returns the designators of a list that are whole and about the logical unit, not about a port or the target: type
/// and value.
fn designators(mut list: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    const ASSOCIATION: u8 = 0x30;

    core::iter::from_fn(move || loop {
        let ([_, kind, _, len], rest) = list.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;

        list = rest;
        if kind & ASSOCIATION == 0 && !value.is_empty() {
            return Some((kind & 0x0f, value));
        }
    })
}
