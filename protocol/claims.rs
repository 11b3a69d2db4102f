// SPDX-License-Identifier: GPL-2.0

//! Lengths that data begin with, and by which the kernel decides what to read next.
//!
//! `scsi_report_lun_scan()` and `alua_rtpg()` ask again, for all that there is, if the data of
//! REPORT LUNS or REPORT TARGET PORT GROUPS claim to be longer than what was read. They believe any
//! length, and to ask the page allocator for more than it can ever have is a warning.
//!
//! `scsi_attach_vpd()` reads a page for each entry of the list of VPD pages, and believes any
//! number of entries, too.

use super::cdb::operation::{
    INQUIRY,
    MAINTENANCE_IN,
    REPORT_LUNS, //
};

/// The bit EVPD of INQUIRY (SPC-4, section 6.6), and the page that lists all.
const EVPD: u8 = 0x01;
const LIST_OF_PAGES: u8 = 0x00;

/// The service action of REPORT TARGET PORT GROUPS (SPC-4, section 6.37).
const REPORT_TARGET_PORT_GROUPS: u8 = 0x0a;
const SERVICE_ACTION_MASK: u8 = 0x1f;

/// The length that the data of a command begin with: where in their first four bytes it is, and
/// which length makes sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The bits of the first four bytes, big-endian, that are the length.
    pub mask: u32,
    /// How many bytes of the data do not count.
    pub uncounted: u32,
    /// The greatest length that makes sense, in bytes.
    pub most: u32,
}

impl Claim {
    /// A target has 16,384 logical units at most, with eight bytes each.
    const LIST_MAX: u32 = 8 * 16_384;

    /// Returns what the data of a command begin with, or [`None`] if that is not a length by which
    /// the kernel decides.
    pub fn of(cdb: &[u8]) -> Option<Self> {
        match *cdb {
            [REPORT_LUNS, ..] => Some(Self {
                mask: u32::MAX,
                uncounted: 8,
                most: Self::LIST_MAX,
            }),
            [MAINTENANCE_IN, action, ..]
                if action & SERVICE_ACTION_MASK == REPORT_TARGET_PORT_GROUPS =>
            {
                Some(Self {
                    mask: u32::MAX,
                    uncounted: 4,
                    most: Self::LIST_MAX,
                })
            }
            // There is a byte for each page, and no page is there twice.
            [INQUIRY, flags, LIST_OF_PAGES, ..] if flags & EVPD != 0 => Some(Self {
                mask: 0xffff,
                uncounted: 4,
                most: 256,
            }),
            _ => None,
        }
    }

    /// Returns the length that data claim and the one to put in its place, if the former makes no
    /// sense: that of what was transferred, `transferred` bytes with the uncounted ones, as far as
    /// that makes sense.
    pub fn excessive(self, head: [u8; 4], transferred: u32) -> Option<(u32, u32)> {
        let claimed = u32::from_be_bytes(head) & self.mask;
        let bound = transferred.saturating_sub(self.uncounted).min(self.most);

        (claimed > self.most).then_some((claimed, bound))
    }

    /// Returns the first four bytes of data, `head`, with another length.
    pub fn replaced(self, head: [u8; 4], len: u32) -> [u8; 4] {
        (u32::from_be_bytes(head) & !self.mask | len & self.mask).to_be_bytes()
    }
}
