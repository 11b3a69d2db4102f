// SPDX-License-Identifier: GPL-2.0

//! The status byte of a command (SAM).
//!
//! C header: [`include/scsi/scsi_proto.h`](srctree/include/scsi/scsi_proto.h)

/// The command succeeded.
pub const SAM_STAT_GOOD: u8 = 0x00;

/// The command failed; sense data has the reason.
pub const SAM_STAT_CHECK_CONDITION: u8 = 0x02;

/// The logical unit is busy.
pub const SAM_STAT_BUSY: u8 = 0x08;

/// The command conflicts with a reservation.
pub const SAM_STAT_RESERVATION_CONFLICT: u8 = 0x18;

/// The logical unit has no room for another command.
pub const SAM_STAT_TASK_SET_FULL: u8 = 0x28;
