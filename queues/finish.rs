// SPDX-License-Identifier: GPL-2.0

//! What becomes of a command that the device has finished.

use super::{
    initiator::Initiator,
    request::RequestQueue,
    response::Outcome,
    sense::{
        SenseCode,
        KEY_UNIT_ATTENTION, //
    },
    wire::{
        Address,
        CommandResponse,
        ResponseHeader, //
    },
};
use crate::scsi_glue::{
    Command,
    HostStatus,
    Sense, //
};
use core::mem::size_of;
use kernel::prelude::*;

/// `SAM_STAT_RESERVATION_CONFLICT` of `include/scsi/scsi_proto.h`.
const STATUS_RESERVATION_CONFLICT: u8 = 0x18;

/// `SAM_STAT_BUSY` of `include/scsi/scsi_proto.h`.
const STATUS_BUSY: u8 = 0x08;

/// `SAM_STAT_TASK_SET_FULL` of the same file.
const STATUS_TASK_SET_FULL: u8 = 0x28;

/// INTERNAL TARGET FAILURE, with the sense key HARDWARE ERROR (SPC).
const SENSE_TARGET_FAILURE: Sense = Sense {
    key: 0x04,
    asc: 0x44,
    ascq: 0x00,
};

impl RequestQueue {
    /// Completes a command as the device has said.
    #[inline]
    pub(super) fn finish(&self, mut command: Command<Initiator>) {
        let header = command.response().copy::<{ ResponseHeader::SIZE }>(0);
        let header = ResponseHeader::decode(
            self.shared().order(),
            header.unwrap_or(ResponseHeader::PRESET),
        );

        if header.residual != 0 {
            command.set_residual(header.residual);
        }
        if header.sense_len != 0 {
            self.take_sense(&mut command, header.sense_len);
        }

        let host = match Outcome::of_command(
            header.response,
            command.as_ref().private().abort_requested(),
        ) {
            Outcome::Status if matches!(header.status, STATUS_BUSY | STATUS_TASK_SET_FULL) => {
                return self.busy(command, header.status);
            }
            Outcome::Status => HostStatus::Ok,
            Outcome::BadTarget => HostStatus::BadTarget,
            Outcome::Abort => HostStatus::Abort,
            Outcome::Reset => {
                // It was waited for, and ended with its logical unit.
                if command.as_ref().private().has_taken_long() {
                    command.renew();
                }
                HostStatus::Reset
            }
            Outcome::Busy => return self.busy(command, STATUS_BUSY),
            Outcome::TransportDisrupted => HostStatus::TransportDisrupted,
            Outcome::Error => HostStatus::Error,
            Outcome::TargetFailure => return command.complete_with_sense(SENSE_TARGET_FAILURE),
            Outcome::ReservationConflict => {
                return command.complete(HostStatus::Ok, STATUS_RESERVATION_CONFLICT);
            }
            Outcome::Violation => {
                self.complain(&command, header.response);
                HostStatus::Error
            }
        };

        command.complete(host, header.status);
    }

    /// Completes a command for which the target was too busy: the midlayer tries it again. If the device is being
    /// unbound, nobody waits for that.
    #[cold]
    fn busy(&self, command: Command<Initiator>, status: u8) {
        if self.shared().life().is_leaving() {
            command.complete(HostStatus::NoConnect, 0);
        } else {
            command.complete(HostStatus::Ok, status);
        }
    }

    /// Copies sense data to the midlayer, and wipes it, so that the next command's is not mixed
    /// with it.
    ///
    /// A device can claim more than it may write. What is behind that is zeroes.
    #[cold]
    fn take_sense(&self, command: &mut Command<Initiator>, len: u32) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let head = command.response().copy(ResponseHeader::SIZE);

        command.copy_sense(ResponseHeader::SIZE, len);
        if let Some(code) = head.and_then(|head| SenseCode::decode(head, len)) {
            let about = command.as_ref();

            if let (KEY_UNIT_ATTENTION, Ok(target)) = (code.key, u8::try_from(about.target())) {
                let lun = about.lun();

                self.shared()
                    .attentions()
                    .note(Address { target, lun }, code);
            }
        }
        command
            .response_mut()
            .preset([0; size_of::<CommandResponse>()]);
    }

    /// Tells of a response that does not exist.
    #[cold]
    fn complain(&self, command: &Command<Initiator>, response: u8) {
        let about = command.as_ref();

        self.shared().counters().bad_responses.count();
        if self.shared().may_complain() {
            dev_warn!(
                self.shared().dev(),
                "target {} lun {}: the device answered a command with response {}, which does \
                 not exist\n",
                about.target(),
                about.lun(),
                response
            );
        }
    }
}
