// SPDX-License-Identifier: GPL-2.0

//! INQUIRY data: whether a logical unit is still there, and the vital product data (VPD) that
//! identify it.
//!
//! SPC-4, sections 6.6.2 and 7.8.

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
    /// Returns the page code.
    pub const fn code(self) -> u8 {
        match self {
            Self::List => 0x00,
            Self::Serial => 0x80,
            Self::Identification => 0x83,
        }
    }

    /// Returns the body of the page, as far as `bytes` hold it, and its length in the page's
    /// header. [`None`] if `bytes` do not begin with this page.
    fn body(self, bytes: &[u8]) -> Option<Body<'_>> {
        let ([_, code, high, low], rest) = bytes.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes([*high, *low]));

        (*code == self.code()).then(|| Body {
            bytes: rest.get(..len).unwrap_or(rest),
            len,
        })
    }
}

/// A VPD page without its header.
#[derive(Clone, Copy)]
struct Body<'a> {
    /// The bytes that were read.
    bytes: &'a [u8],
    /// The length in the page's header, in bytes. More than `bytes` have if the page was cut off.
    len: usize,
}

impl Body<'_> {
    /// Returns whether the page was read in full.
    fn is_whole(&self) -> bool {
        self.bytes.len() == self.len
    }
}

/// Whether a logical unit is still there, by the first byte of its standard INQUIRY data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// The unit is there.
    Same,
    /// Another unit is there: of another device type, or where one was not connected before.
    Other,
    /// No unit is there.
    Gone,
    /// The unit is not connected for now.
    Away,
}

impl Presence {
    /// Compares the first byte as it is now with the one that was read when the unit was found.
    pub const fn of(kept: u8, now: u8) -> Self {
        const TYPE: u8 = 0x1f;

        // The peripheral qualifier: 0 for a unit that is connected, 1 for one that can be connected
        // and is not, or not by this path, 3 for none.
        match (kept >> 5, now >> 5) {
            _ if !is_unit(now) => Self::Gone,
            (0, 1..) => Self::Away,
            // The midlayer binds no driver to a unit that was not connected when it was found.
            (1.., 0) => Self::Other,
            _ if now & TYPE != kept & TYPE => Self::Other,
            _ => Self::Same,
        }
    }
}

/// The device type of a logical unit that is none.
const NO_TYPE: u8 = 0x1f;

/// Returns whether there is a logical unit, by the first byte of its standard INQUIRY data.
pub const fn is_unit(first: u8) -> bool {
    match first >> 5 {
        0 => true,
        3 => false,
        _ => first & NO_TYPE != NO_TYPE,
    }
}

/// Returns whether a list of VPD pages is plausible: not longer than there are page codes, and with
/// a few repeated codes at most. The midlayer reads every page on the list.
pub fn is_list_plausible(bytes: &[u8]) -> bool {
    const CODES: usize = 256;
    const REPEATS: usize = 8;

    let Some(list) = Page::List.body(bytes) else {
        // The midlayer does not take it for a list either.
        return true;
    };
    let mut seen = [false; CODES];
    let repeats = list
        .bytes
        .iter()
        .filter(|code| {
            seen.get_mut(usize::from(**code))
                .is_some_and(|seen| core::mem::replace(seen, true))
        })
        .count();

    list.len <= CODES && repeats <= REPEATS
}

/// Returns whether a page is on a list of VPD pages. [`None`] if `list` is not a list.
pub fn has_page(list: &[u8], page: Page) -> Option<bool> {
    Page::List
        .body(list)
        .map(|list| list.bytes.contains(&page.code()))
}

/// The VPD pages that identify a logical unit, from their headers on, as far as they were read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// Unit Serial Number.
    pub serial: &'a [u8],
    /// Device Identification.
    pub identification: &'a [u8],
}

impl Identity<'_> {
    /// The types of designator that are unique in the world, the best first: NAA, EUI-64, SCSI name
    /// string, UUID.
    const UNIQUE: [u8; 4] = [3, 2, 8, 10];

    /// The type that is unique if its vendor sees to it: T10 vendor ID. Vendor specific designators
    /// are only names, and may be changed.
    const T10: [u8; 1] = [1];

    /// Returns whether two readings are of two logical units. What was not read of a page makes no
    /// difference.
    ///
    /// Decided by the best that both readings have: a unique designator, the serial number, a T10
    /// vendor ID.
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

/// Returns the serial number of a page that was read in full, without the spaces around it.
/// [`None`] if it has spaces only, which means that the unit has no number to report.
fn serial(bytes: &[u8]) -> Option<&[u8]> {
    let page = Page::Serial.body(bytes).filter(Body::is_whole)?;
    let serial = page.bytes;
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let first = serial.iter().position(|byte| !is_blank(byte))?;
    let last = serial.iter().rposition(|byte| !is_blank(byte))?;

    serial.get(first..=last)
}

/// Returns whether two pages have a designator in common, of the first of `types` that both pages
/// have. [`None`] if they have none of the types in common, or if the designator may be in a part
/// that was not read.
fn common_designator(kept: &[u8], now: &[u8], types: &[u8]) -> Option<bool> {
    let kept = Page::Identification.body(kept)?;
    let now = Page::Identification.body(now)?;
    let are_whole = kept.is_whole() && now.is_whole();
    let (kept, now) = (kept.bytes, now.bytes);
    let of_type = |list, kind| designators(list).filter(move |each| each.kind == kind);

    types
        .iter()
        .copied()
        .find(|kind| of_type(kept, *kind).next().is_some() && of_type(now, *kind).next().is_some())
        .map(|kind| of_type(kept, kind).any(|one| of_type(now, kind).any(|other| one == other)))
        .filter(|is_same| *is_same || are_whole)
}

/// A designator of a Device Identification page.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Designator<'a> {
    /// The designator type.
    kind: u8,
    value: &'a [u8],
}

/// Returns the designators of a list that were read in full and are associated with the logical
/// unit, not with a port or the target.
fn designators(mut list: &[u8]) -> impl Iterator<Item = Designator<'_>> {
    const ASSOCIATION: u8 = 0x30;

    core::iter::from_fn(move || loop {
        let ([_, kind, _, len], rest) = list.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;

        list = rest;
        if kind & ASSOCIATION == 0 && !value.is_empty() {
            return Some(Designator {
                kind: kind & 0x0f,
                value,
            });
        }
    })
}
