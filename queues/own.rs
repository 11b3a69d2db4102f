// SPDX-License-Identifier: GPL-2.0

//! Commands that the driver sends by itself, to find out which logical units there are.
//!
//! They go to an address, whether or not the midlayer knows a logical unit there, and whatever it thinks of its
//! state: it may be offline, asleep, or not found yet. The midlayer knows nothing of them, and so neither tries
//! them again nor recovers them. One that is not answered stays with the device, and costs nobody else
//! anything: its memory is its own, and it ends when the device answers or is reset.

use super::{
    initiator::Initiator,
    limits::Layout,
    request::RequestQueue,
    response::Response,
    sense::{
        SenseCode,
        KEY_ILLEGAL_REQUEST,
        KEY_UNIT_ATTENTION,
        SENSE_HEAD, //
    },
    wire::{
        Address,
        ByteOrder,
        CommandRequest,
        CommandResponse,
        Protection,
        ResponseHeader, //
    },
};
use crate::virtio_glue::{
    new_locked,
    AddError,
    Chain,
    DeviceBuffer,
    Flag,
    Locked,
    Stamp,
    TimedCompletion, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
};

/// How many bytes a command can transfer from the target.
const OWN_DATA: usize = 256;

/// How many commands that were not answered are left with the device at the most. With more, nothing is sent.
const KEPT: usize = 16;

/// How many are left with the device for one address.
const KEPT_BY_ADDRESS: usize = 2;

/// They take no more than such a part of the ring.
const KEPT_PART: u32 = 4;

/// How many descriptors a command takes: what the device reads, its response and the data.
const DESCRIPTORS: u32 = 3;

/// After how many milliseconds an address is asked again, of which the device has not answered a command.
const ASK_AGAIN: u32 = 30_000;

/// How long the device may take to abort a command that was not answered, in milliseconds.
const ABORT: u32 = 1_000;

/// How long to wait before a command that the target was too busy for is sent again, in milliseconds.
const PAUSE: i64 = 50;

/// How often to look whether the device is being unbound, in milliseconds.
const SLICE: u32 = 100;

/// How many unit attentions, or commands that were ended by somebody else, are put up with. Each is reported once.
const INTERRUPTIONS: usize = 8;

/// The hardware queue and tag in the tag of such a command, which no command of the midlayer has: there are not as
/// many queues.
const UNIQUE_TAG: u64 = u32::MAX as u64;

/// `SAM_STAT_*` of `include/scsi/scsi_proto.h`.
mod status {
    pub(super) const GOOD: u8 = 0x00;
    pub(super) const CHECK_CONDITION: u8 = 0x02;
    pub(super) const BUSY: u8 = 0x08;
    pub(super) const TASK_SET_FULL: u8 = 0x28;
}

/// How a command that the driver has sent by itself has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnAnswer {
    /// The logical unit has carried it out, and has transferred as many bytes.
    Good(usize),
    /// There is no such target or logical unit.
    NotThere,
    /// There is such a logical unit, and it does not do what it was asked for.
    Refused,
    /// There is such a logical unit, and no medium in it.
    NoMedium,
    /// It has failed, or could not be sent: nothing is known.
    Failed,
    /// The device has not answered: nothing is known.
    Silent,
}

/// What is to be done about a command that has ended.
enum Next {
    /// It has ended like this.
    Is(OwnAnswer),
    /// It was ended by something else: it is sent again.
    Interrupted,
    /// The target or the device was too busy for it: it is sent again a little later.
    Busy,
}

/// A command that the driver sends by itself.
#[pin_data]
pub struct OwnCommand {
    /// What the device reads.
    request: CommandRequest,
    /// What the device writes.
    response: DeviceBuffer<CommandResponse>,
    /// What the target transfers.
    data: DeviceBuffer<[u8; OWN_DATA]>,
    /// How many bytes it may transfer.
    len: usize,
    /// Whether the device has answered it. It was reset, if it has not, and the command is done.
    answered: Flag,
    /// Whether the device does not have it any more.
    ended: Flag,
    #[pin]
    done: TimedCompletion,
}

impl OwnCommand {
    /// Makes one that reads `len` bytes at the most.
    fn new(request: CommandRequest, len: usize) -> Result<Arc<Self>> {
        let mut response = DeviceBuffer::default();

        response.preset(ResponseHeader::PRESET);
        Arc::pin_init(
            pin_init!(Self {
                request,
                response,
                data: DeviceBuffer::default(),
                len: len.min(OWN_DATA),
                answered: Flag::default(),
                ended: Flag::default(),
                done <- TimedCompletion::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Puts its memory in a chain.
    pub(super) fn describe<'a>(&'a self, layout: Layout, chain: &mut Chain<'a>) {
        chain.readable(
            self.request
                .bytes(layout.protection, layout.cdb_size.into()),
        );
        chain.writable(
            &self.response,
            ResponseHeader::SIZE + usize::from(layout.sense_size),
        );
        if self.len > 0 {
            chain.writable(&self.data, self.len);
        }
    }

    /// Notes that the device does not have it any more. `answered` is whether it has answered; else it was reset.
    /// Any context.
    pub(super) fn end(&self, answered: bool) {
        if answered {
            self.answered.set();
        }
        self.ended.set();
        // Orders the two before what is done after a wait.
        self.done.complete();
    }

    /// Says what is to be done about it, now that it has ended.
    fn next(&self, order: ByteOrder) -> Next {
        if !self.answered.is_set() {
            return Next::Interrupted;
        }

        let header = self.response.copy(0).unwrap_or(ResponseHeader::PRESET);
        let header = ResponseHeader::decode(order, header);

        match Response::from_code(header.response) {
            Some(Response::Ok) => self.next_by_status(header),
            Some(Response::BadTarget | Response::IncorrectLun) => Next::Is(OwnAnswer::NotThere),
            Some(Response::Busy) => Next::Busy,
            Some(Response::Aborted | Response::Reset) => Next::Interrupted,
            _ => Next::Is(OwnAnswer::Failed),
        }
    }

    /// As [`Self::next`], by the status of the target.
    fn next_by_status(&self, header: ResponseHeader) -> Next {
        match header.status {
            status::GOOD => {
                let residual = usize::try_from(header.residual).unwrap_or(usize::MAX);

                Next::Is(OwnAnswer::Good(self.len.saturating_sub(residual)))
            }
            status::BUSY | status::TASK_SET_FULL => Next::Busy,
            status::CHECK_CONDITION => {
                let bytes = self.response.copy(ResponseHeader::SIZE);
                let len = usize::try_from(header.sense_len).unwrap_or(usize::MAX);
                let sense = SenseCode::decode(bytes.unwrap_or([0; SENSE_HEAD]), len);

                match sense {
                    Some(sense) if sense.is_not_there() => Next::Is(OwnAnswer::NotThere),
                    Some(sense) if sense.key == KEY_UNIT_ATTENTION => Next::Interrupted,
                    Some(sense) if sense.key == KEY_ILLEGAL_REQUEST => Next::Is(OwnAnswer::Refused),
                    Some(sense) if sense.is_no_medium() => Next::Is(OwnAnswer::NoMedium),
                    _ => Next::Is(OwnAnswer::Failed),
                }
            }
            _ => Next::Is(OwnAnswer::Failed),
        }
    }
}

/// A command that was not answered, where it was sent, and when that was noted.
struct Kept {
    address: Address,
    command: Arc<OwnCommand>,
    since: Stamp,
}

/// The commands that the driver has sent by itself and that the device has not answered.
#[pin_data]
pub(super) struct OwnCommands {
    #[pin]
    kept: Locked<[Option<Kept>; KEPT]>,
    /// Counts them, for their tags.
    sent: Atomic<u32>,
}

impl OwnCommands {
    /// Makes an empty list.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            kept <- new_locked!([const { None }; KEPT], c"OwnCommands::kept"),
            sent: Atomic::new(0),
        })
    }

    /// Returns how many commands are left with the device.
    pub(super) fn count(&self) -> usize {
        let mut kept = self.kept.lock();

        for place in kept.iter_mut() {
            place.take_if(|kept| kept.command.ended.is_set());
        }
        kept.iter().flatten().count()
    }

    /// Returns whether nothing is sent to an address: the device has not answered what was sent there not long ago, or
    /// has not answered as much as is left with it for one address.
    fn is_silent(&self, address: Address) -> bool {
        let kept = self.kept.lock();
        let mut count = 0;

        for kept in kept.iter().flatten() {
            if kept.address != address || kept.command.ended.is_set() {
                continue;
            }
            if kept.since.elapsed() < msecs_to_jiffies(ASK_AGAIN) {
                return true;
            }
            count += 1;
        }
        count >= KEPT_BY_ADDRESS
    }

    /// Leaves a command with the device.
    fn keep(&self, address: Address, command: Arc<OwnCommand>) {
        let mut kept = self.kept.lock();

        // If there is no room, somebody else was quicker, and one more is left with the device all the same.
        if let Some(place) = kept.iter_mut().find(|place| place.is_none()) {
            *place = Some(Kept {
                address,
                command,
                since: Stamp::now(),
            });
        }
    }
}

impl Initiator {
    /// Sends a command to an address, and waits for it, `patience` jiffies at the most. It may read up to
    /// [`OWN_DATA`] bytes to `data`.
    ///
    /// Process context. The address need not be one of a logical unit that the midlayer knows.
    pub fn execute(
        &self,
        address: Address,
        cdb: &[u8],
        data: &mut [u8],
        patience: Jiffies,
    ) -> OwnAnswer {
        let began = Stamp::now();
        let mut interruptions = 0;

        if self.own().is_silent(address) {
            return OwnAnswer::Silent;
        }
        if self.own().count() >= self.room_for_own() {
            return OwnAnswer::Failed;
        }
        loop {
            let rest = patience.saturating_sub(began.elapsed());
            let next = match self.try_once(address, cdb, data, rest) {
                Ok(next) => next,
                Err(_) => return OwnAnswer::Failed,
            };

            match next {
                Next::Is(answer) => return answer,
                Next::Interrupted if interruptions < INTERRUPTIONS => interruptions += 1,
                Next::Interrupted => return OwnAnswer::Failed,
                Next::Busy => fsleep(Delta::from_millis(PAUSE)),
            }
            if began.elapsed() >= patience || self.shared().life().is_leaving() {
                return OwnAnswer::Failed;
            }
        }
    }

    /// Returns how many commands that are not answered can be left with the device.
    fn room_for_own(&self) -> usize {
        let size = self.first_queue().map_or(0, RequestQueue::size);

        // CAST: It is a small number.
        ((size / (KEPT_PART * DESCRIPTORS)) as usize).clamp(1, KEPT)
    }

    /// Sends it once.
    fn try_once(
        &self,
        address: Address,
        cdb: &[u8],
        data: &mut [u8],
        patience: Jiffies,
    ) -> Result<Next> {
        let order = self.shared().order();
        let lun = address.encode().ok_or(EINVAL)?;
        let tag = u64::from(self.own().sent.fetch_add(1, Relaxed)) << 32 | UNIQUE_TAG;
        let layout = self.layout();
        let mut request = CommandRequest::default();

        request.fill(
            order,
            lun,
            tag,
            layout.protection.then(Protection::default),
            cdb,
        );

        let command = OwnCommand::new(request, data.len())?;
        let queue = self.first_queue().ok_or(ENODEV)?;

        match queue.send_own(command.clone(), layout) {
            Ok(()) => {}
            Err(AddError::Full | AddError::NoMemory | AddError::Gone) => return Ok(Next::Busy),
            Err(AddError::Broken) => {
                self.shared().heal();
                return Ok(Next::Busy);
            }
        }
        self.shared().counters().own_commands.count();
        if !self.wait_for(queue, &command, patience) {
            self.shared().counters().own_commands_unanswered.count();
            // Nothing is done about a unit whose commands are waited for.
            if !self.recovery().is_in_trouble(address) {
                self.recovery().abort_own(lun, tag, msecs_to_jiffies(ABORT));
            }
            queue.poll();
            if !command.ended.is_set() {
                self.own().keep(address, command);
            }
            return Ok(Next::Is(OwnAnswer::Silent));
        }

        let next = command.next(order);

        if let Next::Is(OwnAnswer::Good(_)) = next {
            command.data.copy_to(0, data);
        }
        Ok(next)
    }

    /// Waits for a command, and returns whether the device has ended it. Half-way the queue is polled and the device
    /// notified again: its interrupt may have been lost, or the notification.
    fn wait_for(&self, queue: &RequestQueue, command: &OwnCommand, patience: Jiffies) -> bool {
        let half = (patience / 2).max(msecs_to_jiffies(1));
        let wait = || {
            let began = Stamp::now();

            // Whoever unbinds the device does not wait for answers.
            while began.elapsed() < half && !self.shared().life().is_leaving() {
                if command.done.wait(msecs_to_jiffies(SLICE)) {
                    return true;
                }
            }
            false
        };

        if wait() {
            return true;
        }
        queue.poll();
        queue.notify_again();
        if wait() {
            return true;
        }
        queue.poll();
        command.done.wait(0)
    }
}
