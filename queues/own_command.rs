// SPDX-License-Identifier: GPL-2.0

//! A command of the driver's own: its memory, and the meaning of its response.

use crate::{
    kernel_glue::{
        DeviceBuffer,
        TimedCompletion, //
    },
    protocol::{
        address::Address,
        byte_order::ByteOrder,
        command::{
            CommandRequest,
            CommandResponse,
            Layout,
            ResponseHeader, //
        },
        response::code,
        sense::{
            SenseCode,
            KEY_ILLEGAL_REQUEST,
            KEY_UNIT_ATTENTION,
            SENSE_HEAD, //
        },
        status::{
            SAM_STAT_BUSY,
            SAM_STAT_CHECK_CONDITION,
            SAM_STAT_GOOD,
            SAM_STAT_TASK_SET_FULL, //
        },
    },
    virtio_glue::Chain, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    },
};

/// The most data of a command, in bytes. More is not read.
pub(super) const DATA_MAX: usize = 1_024;

/// The result of a command of the driver's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExecuteResult {
    /// The logical unit has carried it out, and has transferred this many bytes.
    Good(usize),
    /// The target or the logical unit does not exist.
    NotThere,
    /// The target exists, and reports that it does not have the logical unit.
    NoUnit,
    /// The logical unit exists, and does not support the command.
    Refused,
    /// The logical unit exists, and has no medium.
    NoMedium,
    /// It has failed.
    Failed,
    /// It was not sent: for lack of memory, because the ring had no room or did not exist, because
    /// too many others were not answered, or because the device is being unbound.
    NotSent,
    /// The device has not answered.
    Unanswered,
}

/// A command to execute.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The address that it goes to.
    pub address: Address,
    /// The CDB.
    pub cdb: &'a [u8],
    /// How many bytes it reads. More than 1,024 are not read.
    pub len: usize,
    /// What its sender knows it by.
    pub number: usize,
}

/// The answer to a [`Job`].
pub struct Answer {
    /// The result.
    pub result: ExecuteResult,
    /// The command, if it has read data.
    command: Option<Arc<OwnCommand>>,
}

impl Answer {
    /// Makes an answer without data.
    pub(super) const fn without_data(result: ExecuteResult) -> Self {
        Self {
            result,
            command: None,
        }
    }

    /// Makes an answer whose data are those of `command`.
    pub(super) fn new(result: ExecuteResult, command: Arc<OwnCommand>) -> Self {
        Self {
            result,
            command: Some(command),
        }
    }

    /// Copies the data that the target has transferred to `data`, as much as both have. Without
    /// data they are zeroes, or `data` stays as it is.
    pub fn copy_to(&self, data: &mut [u8]) {
        if let Some(command) = &self.command {
            command.copy_data(data);
        }
    }
}

/// What to do about a command that the device does not have any more.
pub(super) enum Next {
    /// Return a result.
    Return(ExecuteResult),
    /// Send it again: a reset, an abort or a unit attention ended it.
    Resend,
    /// Send it again after a pause: the target or the device was busy.
    ResendLater,
}

/// A command of the driver's own.
///
/// Its memory belongs to the command, not to the thread that waits for it, so that the device may
/// keep a command that nobody waits for any more.
#[pin_data]
pub struct OwnCommand {
    request: CommandRequest,
    response: DeviceBuffer<CommandResponse>,
    data: DeviceBuffer<[u8; DATA_MAX]>,
    /// How many bytes of `data` the target may transfer.
    len: usize,
    /// Whether the device has used it. If it is ended and not used, the device was reset.
    used: Atomic<bool>,
    /// Whether the device does not have it any more.
    ended: Atomic<bool>,
    /// Shared with the other commands that are waited for at the same time.
    done: Arc<TimedCompletion>,
}

impl OwnCommand {
    /// Makes a command that reads at most `len` bytes, and completes `done` when it ends.
    pub(super) fn new(
        request: CommandRequest,
        len: usize,
        done: Arc<TimedCompletion>,
    ) -> Result<Arc<Self>> {
        let mut response = DeviceBuffer::default();

        response.preset(ResponseHeader::PRESET);
        Arc::pin_init(
            pin_init!(Self {
                request,
                response,
                data: DeviceBuffer::default(),
                len: len.min(DATA_MAX),
                used: Atomic::new(false),
                ended: Atomic::new(false),
                done,
            }),
            GFP_KERNEL,
        )
    }

    /// Describes its memory.
    pub(super) fn describe<'a>(&'a self, layout: Layout, chain: &mut Chain<'a>) {
        chain.readable(self.request.bytes(layout));
        chain.writable(&self.response, layout.response_len());
        if self.len > 0 {
            chain.writable(&self.data, self.len);
        }
    }

    /// Notes that the device has used it. Any context.
    #[cold]
    pub(super) fn end_used(self: Arc<Self>) {
        self.used.store(true, Relaxed);
        self.end();
    }

    /// Notes that the device does not have it any more. Any context.
    pub(super) fn end(&self) {
        // RELEASE: Orders what the device has written, and `used`, before the flag: a thread that
        // was woken for another command may see it.
        self.ended.store(true, Release);
        self.done.complete();
    }

    /// Returns whether the device does not have it any more.
    pub(super) fn has_ended(&self) -> bool {
        // ACQUIRE: Pairs with the store in `end`.
        self.ended.load(Acquire)
    }

    /// Copies the data that the target has transferred.
    pub(super) fn copy_data(&self, data: &mut [u8]) {
        self.data.copy_to(0, data);
    }

    /// Returns what to do about it, now that it has ended.
    pub(super) fn next(&self, order: ByteOrder) -> Next {
        if !self.used.load(Relaxed) {
            return Next::Resend;
        }

        let header = self.response.copy(0).unwrap_or(ResponseHeader::PRESET);
        let header = ResponseHeader::decode(order, header);

        match header.response {
            code::OK => self.next_by_status(header),
            code::BAD_TARGET | code::INCORRECT_LUN => Next::Return(ExecuteResult::NotThere),
            code::BUSY => Next::ResendLater,
            code::ABORTED | code::RESET => Next::Resend,
            _ => Next::Return(ExecuteResult::Failed),
        }
    }

    /// As [`Self::next`], by the status byte.
    fn next_by_status(&self, header: ResponseHeader) -> Next {
        match header.status {
            SAM_STAT_GOOD => {
                let residual = usize::try_from(header.residual).unwrap_or(usize::MAX);

                Next::Return(ExecuteResult::Good(self.len.saturating_sub(residual)))
            }
            SAM_STAT_BUSY | SAM_STAT_TASK_SET_FULL => Next::ResendLater,
            SAM_STAT_CHECK_CONDITION => {
                let bytes = self.response.copy(ResponseHeader::SIZE);
                let len = usize::try_from(header.sense_len).unwrap_or(usize::MAX);
                let sense = SenseCode::decode(bytes.unwrap_or([0; SENSE_HEAD]), len);

                match sense {
                    Some(sense) if sense.is_not_there() => Next::Return(ExecuteResult::NoUnit),
                    Some(sense) if sense.key == KEY_UNIT_ATTENTION => Next::Resend,
                    Some(sense) if sense.key == KEY_ILLEGAL_REQUEST => {
                        Next::Return(ExecuteResult::Refused)
                    }
                    Some(sense) if sense.is_no_medium() => Next::Return(ExecuteResult::NoMedium),
                    _ => Next::Return(ExecuteResult::Failed),
                }
            }
            _ => Next::Return(ExecuteResult::Failed),
        }
    }
}
