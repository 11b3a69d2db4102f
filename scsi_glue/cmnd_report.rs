// SPDX-License-Identifier: GPL-2.0

//! What a report of commands in flight tells of each.
//!
//! C header: [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h)

use super::{
    cmnd::Cmnd,
    pdu::CommandData, //
};
use crate::kernel_glue::Stamp;
use kernel::time::Jiffies;

/// A copy of a CDB.
pub struct CdbCopy {
    bytes: [u8; 32],
    len: usize,
}

impl CdbCopy {
    /// Returns the bytes with zeroes after them, and their number.
    pub fn padded(&self) -> ([u8; 32], u8) {
        // The midlayer writes zeroes after the CDB.
        //
        // CAST: The length is that of a C field of 16 bits, and 32 at the most after `min`.
        (self.bytes, self.len.min(32) as u8)
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

impl<D: CommandData> Cmnd<D> {
    /// Returns a copy of its CDB. The midlayer may complete the command meanwhile, and write
    /// another one: for reports only.
    pub fn copy_cdb(&self) -> CdbCopy {
        // SAFETY: By the type invariant the command is valid. All bytes are valid values, whatever
        // is written meanwhile.
        let (bytes, len) = unsafe {
            (
                (&raw const (*self.as_raw()).cmnd).read_volatile(),
                (&raw const (*self.as_raw()).cmd_len).read_volatile(),
            )
        };

        CdbCopy {
            bytes,
            len: len.into(),
        }
    }

    /// Returns the kernel's number of its host.
    pub fn host_number(&self) -> u32 {
        // SAFETY: By the type invariant the command is valid, so its device and its host are.
        unsafe { (*(*(*self.as_raw()).device).host).host_no }
    }

    /// Returns when the midlayer began with it, before all retries, or when it was renewed.
    pub fn allocated_at(&self) -> Stamp {
        // SAFETY: By the type invariant the command is valid.
        let since = unsafe { (&raw const (*self.as_raw()).jiffies_at_alloc).read_volatile() };

        // CAST: A `Jiffies` is the C type of the field.
        Stamp::from_raw(since as Jiffies)
    }

    /// Returns when the midlayer sent it last, as its deadline tells (`struct request`). A time-out
    /// that does not end it sets another deadline, and is taken for that.
    pub fn started_at(&self) -> Stamp {
        // SAFETY: By the type invariant the command is valid, so the request before it is.
        let deadline = unsafe { (&raw const (*self.block_request()).deadline).read_volatile() };

        // CAST: As above.
        Stamp::from_raw(deadline as Jiffies).before(self.timeout())
    }
}
