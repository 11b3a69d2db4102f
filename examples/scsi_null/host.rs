// SPDX-License-Identifier: GPL-2.0

//! The host adapter: each command completes at once.

use crate::kernel_glue::RcuSection;
use crate::scsi_glue::{
    Busy,
    CommandData,
    Driver,
    HostLimits,
    HostStatus,
    OwnedCmnd,
    QueueCounts,
    Sense, //
};
use kernel::prelude::*;

/// One target with one logical unit, and one hardware queue.
pub const LIMITS: HostLimits = HostLimits {
    can_queue: 64,
    cmd_per_lun: 64,
    sg_tablesize: 128,
    max_sectors: 1024,
    max_segment_size: 65536,
    max_id: 1,
    max_lun: 1,
    max_cmd_len: 16,
    queues: QueueCounts {
        interrupt: 1,
        polled: 0,
    },
    no_scsi2_lun_in_cdb: true,
    protection: None,
};

/// The number of the last block of the disk, of 512 bytes: 64 MiB.
const LAST_BLOCK: u32 = (64 << 11) - 1;

/// INVALID COMMAND OPERATION CODE, with the sense key ILLEGAL REQUEST (SPC).
const INVALID_COMMAND: Sense = Sense {
    key: 0x05,
    asc: 0x20,
    ascq: 0x00,
};

/// INVALID FIELD IN CDB, with the sense key ILLEGAL REQUEST (SPC).
const INVALID_FIELD: Sense = Sense {
    key: 0x05,
    asc: 0x24,
    ascq: 0x00,
};

/// Standard INQUIRY data (SPC): a disk that follows SPC-3.
const INQUIRY_DATA: [u8; 36] = *b"\x00\x00\x05\x02\x1f\x00\x00\x00Example Disk of zeroes  0001";

/// Mode parameter header, six byte form (SPC): no pages, write protected.
const MODE_HEADER: [u8; 4] = [3, 0, 0x80, 0];

/// The data that are kept with a command: none, as no device has it.
pub enum NoData {}

impl CommandData for NoData {
    type Request = ();
    type Response = ();
    type Private = ();
    type Device = ();
}

/// The driver object of the host.
pub struct NullHost;

/// Completes a command with data for the initiator.
fn answer(mut cmnd: OwnedCmnd<NoData>, data: &[u8]) {
    let copied = cmnd.copy_from_buffer(data);
    let residual = (cmnd.data_len() as usize).saturating_sub(copied);

    cmnd.set_residual(u32::try_from(residual).unwrap_or(u32::MAX));
    cmnd.complete(HostStatus::Ok, 0);
}

#[vtable]
impl Driver for NullHost {
    const NAME: &'static CStr = c"SCSI host adapter without hardware";
    const PROC_NAME: &'static CStr = c"scsi_null";

    type CommandData = NoData;

    fn queue_command(
        &self,
        _queue: u32,
        mut cmnd: OwnedCmnd<NoData>,
        _rcu: RcuSection<'_>,
    ) -> Result<(), Busy<NoData>> {
        match *cmnd.cdb() {
            // TEST UNIT READY
            [0x00, ..] => cmnd.complete(HostStatus::Ok, 0),
            // INQUIRY
            [0x12, 0, ..] => answer(cmnd, &INQUIRY_DATA),
            [0x12, ..] => cmnd.complete_with_sense(INVALID_FIELD),
            // MODE SENSE(6)
            [0x1a, ..] => answer(cmnd, &MODE_HEADER),
            // READ CAPACITY(10)
            [0x25, ..] => {
                let [a, b, c, d] = LAST_BLOCK.to_be_bytes();

                answer(cmnd, &[a, b, c, d, 0, 0, 2, 0]);
            }
            // READ(10), which the midlayer keeps within the capacity.
            [0x28, ..] => {
                cmnd.zero_buffer();
                cmnd.complete(HostStatus::Ok, 0);
            }
            _ => cmnd.complete_with_sense(INVALID_COMMAND),
        }
        Ok(())
    }
}
