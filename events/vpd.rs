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

/// How much of a page of vital product data is read, in bytes: what units that know no more than SCSI-2 can be asked
/// for.
pub const PAGE_LEN: u8 = 252;

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

    /// Returns INQUIRY for the first [`PAGE_LEN`] bytes of it.
    pub const fn inquiry(self) -> [u8; 6] {
        [0x12, 1, self.code(), 0, PAGE_LEN, 0]
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
    /// There is another one: of another type, or in the place of one that was not connected.
    Other,
    /// There is none.
    Gone,
    /// It is not connected for now.
    Away,
}

impl Presence {
    /// Compares what the first byte says with what it said when the unit was found.
    pub const fn of(kept: u8, now: u8) -> Self {
        const TYPE: u8 = 0x1f;
        const NO_TYPE: u8 = 0x1f;

        // The peripheral qualifier: 0 for a unit that is connected, 3 for none at all. With 1 a unit is meant that can
        // be there, and is not, or not by this way.
        match (kept >> 5, now >> 5) {
            (_, 3) => Self::Gone,
            (_, 1..) if now & TYPE == NO_TYPE => Self::Gone,
            (0, 1..) => Self::Away,
            // The midlayer has no driver for it, and gets none later.
            (1.., 0) => Self::Other,
            _ if now & TYPE != kept & TYPE => Self::Other,
            _ => Self::Same,
        }
    }
}

/// Returns whether a list of VPD pages can be believed: it is no longer than there are page codes, and has none that
/// tells anything more than a few times. The midlayer asks for all that is on it.
pub fn is_list_plausible(bytes: &[u8]) -> bool {
    const CODES: usize = 256;
    const REPEATS: usize = 8;

    let Some((codes, len)) = Page::List.body(bytes) else {
        // It is not taken for a list by the midlayer either.
        return true;
    };
    let mut seen = [false; CODES];
    let repeats = codes
        .iter()
        .filter(|code| {
            seen.get_mut(usize::from(**code))
                .is_some_and(|seen| core::mem::replace(seen, true))
        })
        .count();

    len <= CODES && repeats <= REPEATS
}

/// Returns whether a page is on a list of pages. What is no list says nothing.
pub fn has_page(list: &[u8], page: Page) -> Option<bool> {
    Page::List
        .body(list)
        .map(|(codes, _)| codes.contains(&page.code()))
}

/// What tells one logical unit from another: its pages, from their headers on, as far as they were read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// Unit Serial Number.
    pub serial: &'a [u8],
    /// Device Identification.
    pub identification: &'a [u8],
}

impl Identity<'_> {
    /// The types of designator that are unique in the world, the best first: NAA, EUI-64, SCSI name string, UUID.
    const UNIQUE: [u8; 4] = [3, 2, 8, 10];

    /// The type that is unique if its vendor sees to it: T10 vendor ID. Those that are vendor specific are no more
    /// than names, and may be changed.
    const T10: [u8; 1] = [1];

    /// Returns whether two readings are of two logical units. What was not read, or not in full, makes no difference.
    ///
    /// What both readings have decides, the best first: a unique designator, the serial number, that of the vendor.
    pub fn differs(&self, now: &Self) -> bool {
        let designators = |types| common_designator(self.identification, now.identification, types);
        let serials = || match (serial(self.serial), serial(now.serial)) {
            (Some(kept), Some(now)) => Some(kept == now),
            _ => None,
        };

        designators(&Self::UNIQUE)
            .or_else(serials)
            .or_else(|| designators(&Self::T10))
            .is_some_and(|same| !same)
    }
}

/// Returns the serial number of a page that was read in full, without the spaces around it. If there is none, the
/// page has spaces.
fn serial(bytes: &[u8]) -> Option<&[u8]> {
    let (serial, len) = Page::Serial.body(bytes)?;
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let first = serial.iter().position(|byte| !is_blank(byte))?;
    let last = serial.iter().rposition(|byte| !is_blank(byte))?;

    serial.get(first..=last).filter(|_| serial.len() == len)
}

/// Returns whether two pages have a designator in common, of the first of some types that both have. [`None`] if there
/// is no such type.
fn common_designator(kept: &[u8], now: &[u8], types: &[u8]) -> Option<bool> {
    let (kept, _) = Page::Identification.body(kept)?;
    let (now, _) = Page::Identification.body(now)?;
    let of_type = |list, kind| designators(list).filter(move |(each, _)| *each == kind);

    types
        .iter()
        .copied()
        .find(|kind| of_type(kept, *kind).next().is_some() && of_type(now, *kind).next().is_some())
        .map(|kind| of_type(kept, kind).any(|one| of_type(now, kind).any(|other| one == other)))
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
