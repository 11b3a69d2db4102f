// SPDX-License-Identifier: GPL-2.0

//! REPORT LUNS: the logical units of a target, as the target lists them.
//!
//! SPC-4, section 6.33.

use super::{
    address::LUN_FLAT,
    cdb::operation, //
};

/// How many bytes a logical unit takes in the list, and its header.
const ENTRY: usize = 8;

/// How many bytes of a list are read: its header and 127 logical units.
pub const LIST_LEN: usize = 1_024;

/// REPORT LUNS for [`LIST_LEN`] bytes, without well known logical units.
pub const REPORT_LUNS: [u8; 12] = {
    let [_, _, high, low] = (LIST_LEN as u32).to_be_bytes();

    [operation::REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, high, low, 0, 0]
};

/// A list of logical units.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    /// The entries, of which the last may be cut off.
    entries: &'a [u8],
    is_cut_off: bool,
}

impl<'a> List<'a> {
    /// Decodes the data of [`REPORT_LUNS`]. [`None`] if they have no header.
    pub fn decode(data: &'a [u8]) -> Option<Self> {
        let ([a, b, c, d, _, _, _, _], rest) = data.split_first_chunk()?;
        let len = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);

        Some(Self {
            entries: rest.get(..len).unwrap_or(rest),
            is_cut_off: len > LIST_LEN - ENTRY,
        })
    }

    /// Returns whether the target has more logical units than were read.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// Returns the logical units in the order of the list, as the midlayer numbers them. Those
    /// whose addresses have more than one level, or another format than the peripheral and the flat
    /// one, are left out. Some targets list units above 255 as plain numbers.
    pub fn luns(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.entries.chunks_exact(ENTRY).filter_map(|entry| {
            let [high, low, 0, 0, 0, 0, 0, 0] = *entry else {
                return None;
            };
            let number = u64::from(u16::from_be_bytes([high, low]));

            (number < 2 * LUN_FLAT).then_some(number)
        })
    }
}
