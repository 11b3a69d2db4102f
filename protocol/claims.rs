// SPDX-License-Identifier: GPL-2.0

//! Lengths that data begin with, and by which the kernel allocates the memory for the next try.
//!
//! `scsi_report_lun_scan()` and `alua_rtpg()` ask again, for all that there is, if the data of
//! REPORT LUNS or REPORT TARGET PORT GROUPS claim to be longer than what was read. They believe any
//! length, and to ask the page allocator for more than it can ever have is a warning.

/// The smallest operation code of a command with such data. Those that disks are read and written
/// with are smaller.
pub const FIRST_CLAIMING: u8 = 0xa0;

/// The operation code of REPORT LUNS (SPC-4, section 6.33).
const REPORT_LUNS: u8 = 0xa0;

/// The operation code and service action of REPORT TARGET PORT GROUPS (SPC-4, section 6.37).
const MAINTENANCE_IN: u8 = 0xa3;
const REPORT_TARGET_PORT_GROUPS: u8 = 0x0a;
const SERVICE_ACTION_MASK: u8 = 0x1f;

/// The greatest length that makes sense, in bytes: a target has 16,384 logical units at most, with
/// eight bytes each.
pub const CLAIM_MAX: u32 = 8 * 16_384;

/// Returns how many bytes of the data of a command do not count for the length that they begin
/// with, in four bytes, big-endian. [`None`] if the data of the command have no such length.
pub fn uncounted(cdb: &[u8]) -> Option<u32> {
    match *cdb {
        [REPORT_LUNS, ..] => Some(8),
        [MAINTENANCE_IN, action, ..]
            if action & SERVICE_ACTION_MASK == REPORT_TARGET_PORT_GROUPS =>
        {
            Some(4)
        }
        _ => None,
    }
}

/// Returns the length that data claim and the one to put in its place, if the former makes no
/// sense: that of what was transferred, `transferred` bytes with the `uncounted` ones.
pub fn excessive_claim(head: [u8; 4], transferred: u32, uncounted: u32) -> Option<(u32, u32)> {
    let claimed = u32::from_be_bytes(head);

    (claimed > CLAIM_MAX).then_some((claimed, transferred.saturating_sub(uncounted)))
}
