// SPDX-License-Identifier: GPL-2.0

//! The CDBs of commands that the driver sends by itself.

/// Operation codes, the first byte of a CDB (SPC-4, section 6).
pub mod operation {
    /// INQUIRY.
    pub const INQUIRY: u8 = 0x12;
    /// REPORT LUNS.
    pub const REPORT_LUNS: u8 = 0xa0;
    /// MAINTENANCE IN, with a service action.
    pub const MAINTENANCE_IN: u8 = 0xa3;
}

/// The length of the INQUIRY data that every logical unit has, in bytes.
pub const INQUIRY_LEN: u8 = 36;

/// INQUIRY for [`INQUIRY_LEN`] bytes (SPC).
pub const INQUIRY: [u8; 6] = [operation::INQUIRY, 0, 0, 0, INQUIRY_LEN, 0];

/// How much of a VPD page is read, in bytes. SCSI-2 has one byte for the allocation length.
pub const VPD_LEN: u8 = 252;

/// Returns INQUIRY for the first [`VPD_LEN`] bytes of the VPD page with a page code (SPC).
pub const fn inquiry_vpd(page_code: u8) -> [u8; 6] {
    [operation::INQUIRY, 1, page_code, 0, VPD_LEN, 0]
}

/// TEST UNIT READY (SPC).
pub const TEST_UNIT_READY: [u8; 16] = [0; 16];

/// The length of the header and one event of GET EVENT STATUS NOTIFICATION, in bytes.
pub const EVENT_STATUS_LEN: u8 = 8;

/// GET EVENT STATUS NOTIFICATION for the media class, polled (MMC).
pub const GET_EVENT_STATUS: [u8; 16] = {
    let mut cdb = [0; 16];

    cdb[0] = 0x4a;
    // Polled.
    cdb[1] = 1;
    // The media class.
    cdb[4] = 1 << 4;
    cdb[8] = EVENT_STATUS_LEN;
    cdb
};

/// Returns whether the data of [`GET_EVENT_STATUS`] report that the medium was inserted, removed or
/// changed.
#[inline]
pub fn is_media_change(data: &[u8]) -> bool {
    const NEW_MEDIA: u8 = 2;
    const MEDIA_CHANGED: u8 = 4;

    data.get(4)
        .is_some_and(|code| (NEW_MEDIA..=MEDIA_CHANGED).contains(&(code & 0x0f)))
}
