// SPDX-License-Identifier: GPL-2.0

//! The completion of a command that the device has used.

use super::{
    age::renew,
    command_state::{
        address_of,
        Cmnd,
        CommandPdu,
        OwnedCmnd, //
    },
    request::{
        RequestQueue,
        Sent, //
    },
    traces::facts_of, //
};
use crate::{
    kernel_glue::{
        now_ns,
        Either,
        RcuSection, //
    },
    protocol::{
        claims::Claim,
        command::{
            CommandResponse,
            ResponseHeader, //
        },
        response::Outcome,
        sense::{
            SenseCode,
            KEY_UNIT_ATTENTION,
            SENSE_HEAD, //
        },
        status::{
            SAM_STAT_BUSY,
            SAM_STAT_GOOD,
            SAM_STAT_RESERVATION_CONFLICT,
            SAM_STAT_TASK_SET_FULL, //
        },
    },
    scsi_glue::{
        CmndList,
        HostStatus,
        Sense, //
    },
    trace_glue::{
        self,
        EndFacts, //
    },
    virtio_glue::{
        Handler,
        Rest,
        Virtqueue,
        VirtqueueGuard, //
    },
};
use core::mem::size_of;
use kernel::{
    prelude::*,
    sync::rcu, //
};

/// How many times the interrupt handler empties the ring before it leaves the rest to softirq
/// context.
const ROUNDS: usize = 2;

/// The state of a ring after it was emptied.
struct Emptied {
    /// Whether the interrupt is enabled, and comes for all that the device uses from now on.
    is_settled: bool,
    /// Whether the ring is broken.
    is_broken: bool,
}

/// Returns the header of the response to a command. The device may go on to write it.
#[inline]
fn header_of(command: &OwnedCmnd) -> [u8; ResponseHeader::SIZE] {
    command.response().copy(0).unwrap_or(ResponseHeader::PRESET)
}

impl RequestQueue {
    /// Completes all commands that the device has used, and returns their number, with those of the
    /// driver's own.
    ///
    /// Any context. The interrupt stays enabled or disabled.
    pub(super) fn poll(&self) -> u32 {
        let mut finished = CmndList::default();
        let mut ring = self.ring().lock();
        let count = Self::take_all(&mut ring, &mut finished);

        drop(ring);
        // Most polls find nothing, and need no RCU section.
        if count > 0 {
            self.finish_all(finished, (&rcu::read_lock()).into());
        }
        count
    }

    /// Takes all buffers that the device has used off the ring, and completes the commands in the
    /// order in which the device has used them. The interrupt is disabled meanwhile, and enabled
    /// then if `rearm` is true.
    ///
    /// Each round of the callback calls it, and the compiler would write it out for each.
    #[inline(never)]
    fn empty(&self, rearm: bool, rcu: RcuSection<'_>) -> Emptied {
        let mut finished = CmndList::default();
        let mut ring = self.ring().lock();

        ring.disable_cb();
        Self::take_all(&mut ring, &mut finished);

        let emptied = Emptied {
            is_settled: rearm && ring.enable_cb(),
            is_broken: ring.is_broken(),
        };

        drop(ring);
        self.finish_all(finished, rcu);
        emptied
    }

    /// Takes all buffers that the device has used off the ring, and returns their number.
    #[inline]
    fn take_all(ring: &mut VirtqueueGuard<'_, Sent>, finished: &mut CmndList<CommandPdu>) -> u32 {
        // The used length is not checked: some devices always write 0.
        ring.take_used(|sent| match sent {
            Either::First(command) => {
                command.private().set_on_ring(false);
                finished.push(command);
            }
            Either::Second(command) => command.end_used(),
        })
    }

    /// Completes commands, in the order in which the device has used them.
    #[inline]
    fn finish_all(&self, mut finished: CmndList<CommandPdu>, rcu: RcuSection<'_>) {
        // Asked once for all: within the loop, the branch would cost each command registers.
        if trace_glue::tells_of_completions() {
            return self.finish_all_told(finished, rcu);
        }
        while let Some(command) = finished.pop() {
            self.finish(command, rcu);
        }
    }

    /// Does the same, and has a tracepoint tell of each command.
    #[cold]
    #[inline(never)]
    fn finish_all_told(&self, mut finished: CmndList<CommandPdu>, rcu: RcuSection<'_>) {
        let now = now_ns();

        while let Some(command) = finished.pop() {
            let header = ResponseHeader::decode(self.shared().order(), header_of(&command));

            self.shared()
                .latencies()
                .end(&command, command.direction(), now);
            trace_glue::complete_command(|| {
                let end = EndFacts {
                    used: true,
                    response: header.response,
                    status: header.status,
                    residual: header.residual,
                    sense_len: header.sense_len,
                };

                (facts_of(self.shared(), &command), end)
            });
            self.finish(command, rcu);
        }
    }

    /// Returns whether the device has a command of this queue, and may transfer its data.
    ///
    /// If not, another CPU may still be completing it. The glue waits for that before the midlayer
    /// uses the command again.
    pub(super) fn holds(&self, command: &Cmnd) -> bool {
        let _ring = self.ring().lock();

        command.private().is_on_ring()
    }

    /// Completes a command with the result in its response.
    #[inline]
    fn finish(&self, command: OwnedCmnd, rcu: RcuSection<'_>) {
        let header = header_of(&command);

        // Data by which the kernel decides what to read next are those of its own commands.
        if ResponseHeader::is_success(&header) && !command.is_passthrough() {
            command.complete_within(rcu, HostStatus::Ok, SAM_STAT_GOOD);
        } else {
            self.finish_with(command, header);
        }
    }

    /// Completes a command with a result other than full success, or one whose data may claim a
    /// length.
    #[cold]
    fn finish_with(&self, mut command: OwnedCmnd, header: [u8; ResponseHeader::SIZE]) {
        let header = ResponseHeader::decode(self.shared().order(), header);

        if header.residual != 0 {
            command.set_residual(header.residual);
        }
        if header.sense_len != 0 {
            self.take_sense(&mut command, header.sense_len);
        }

        let host = match Outcome::of_command(header.response, command.private().abort_requested()) {
            Outcome::Status if matches!(header.status, SAM_STAT_BUSY | SAM_STAT_TASK_SET_FULL) => {
                return self.busy(command, header.status);
            }
            Outcome::Status => {
                self.bound_claim(&mut command, header.residual);
                HostStatus::Ok
            }
            Outcome::BadTarget => HostStatus::BadTarget,
            Outcome::Abort => HostStatus::Abort,
            Outcome::Reset => {
                // It was waited for beyond its time-out, and a reset of the unit is no failure of
                // the command: its time for retries starts anew.
                if command.private().has_timed_out() {
                    renew(&mut command);
                }
                HostStatus::Reset
            }
            Outcome::Busy => return self.busy(command, SAM_STAT_BUSY),
            Outcome::TransportDisrupted => HostStatus::TransportDisrupted,
            Outcome::Error => HostStatus::Error,
            Outcome::TargetFailure => {
                return Self::complete_with_sense(command, SenseCode::TARGET_FAILURE);
            }
            Outcome::ReservationConflict => {
                return command.complete(HostStatus::Ok, SAM_STAT_RESERVATION_CONFLICT);
            }
            Outcome::Violation => {
                self.complain(&command, header.response);
                HostStatus::Error
            }
        };

        command.complete(host, header.status);
    }

    /// Completes a command for which the target was too busy: the midlayer retries it. While the
    /// device is being unbound, the command fails.
    #[cold]
    fn busy(&self, command: OwnedCmnd, status: u8) {
        if self.shared().life().is_leaving() {
            command.complete(HostStatus::NoConnect, 0);
        } else {
            command.complete(HostStatus::Ok, status);
        }
    }

    /// Completes a command with CHECK CONDITION and sense data of the driver.
    #[cold]
    pub(super) fn complete_with_sense(command: OwnedCmnd, code: SenseCode) {
        command.complete_with_sense(Sense {
            key: code.key,
            asc: code.asc,
            ascq: code.ascq,
        });
    }

    /// Copies the sense data to the midlayer and clears the buffer, so that a shorter sense of the
    /// next command does not show stale bytes.
    ///
    /// A device can claim a greater length than it may write. The rest is zeroes.
    #[cold]
    fn take_sense(&self, command: &mut OwnedCmnd, len: u32) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        // The device may go on to write it: what the midlayer gets is what counts.
        let sense = command.copy_sense(ResponseHeader::SIZE, len);
        let mut head = [0; SENSE_HEAD];

        for (to, from) in head.iter_mut().zip(sense) {
            *to = *from;
        }
        if let Some(code) = SenseCode::decode(head, len) {
            if let (KEY_UNIT_ATTENTION, Some(address)) = (code.key, address_of(command.device())) {
                self.shared().attentions().note(address, code);
            }
        }
        command
            .response_mut()
            .preset([0; size_of::<CommandResponse>()]);
    }

    /// Brings a length down that the data claim, if it makes no sense: see [`Claim`].
    /// `residual` is how many bytes the device has not transferred.
    ///
    /// A device that can still write the data, as it can without a bounce buffer, can claim it
    /// again.
    fn bound_claim(&self, command: &mut OwnedCmnd, residual: u32) {
        let mut head = [0; 4];
        let Some(claim) = Claim::of(command.cdb()) else {
            return;
        };

        if command.copy_to_buffer(&mut head) < head.len() {
            return;
        }

        let transferred = command.data_len().saturating_sub(residual);
        let Some((claimed, bound)) = claim.excessive(head, transferred) else {
            return;
        };

        command.copy_from_buffer(&claim.replaced(head, bound));
        if self.shared().may_complain() {
            dev_warn!(
                self.shared().dev(),
                "target {} lun {}: a list of {} bytes, taken for one of {}\n",
                command.target(),
                command.lun(),
                claimed,
                bound
            );
        }
    }

    /// Counts and logs a response code that does not exist.
    #[cold]
    fn complain(&self, command: &OwnedCmnd, response: u8) {
        self.shared().counters().bad_responses.count();
        trace_glue::violate(|| (self.shared().dev().name(), "response"));
        if self.shared().may_complain() {
            dev_warn!(
                self.shared().dev(),
                "target {} lun {}: invalid response {} to a command\n",
                command.target(),
                command.lun(),
                response
            );
        }
    }
}

impl Handler for RequestQueue {
    type Token = Sent;

    fn virtqueue(&self) -> &Virtqueue<Self::Token> {
        self.ring()
    }

    fn name(&self) -> &'static CStr {
        if self.is_polled() {
            c"request_poll"
        } else {
            c"request"
        }
    }

    fn has_interrupt(&self) -> bool {
        !self.is_polled()
    }

    #[inline]
    fn callback(&self, rcu: RcuSection<'_>) -> Rest {
        for round in 1..=ROUNDS {
            // Other CPUs send more as soon as the lock is free, and the device may be as fast. So
            // the interrupt stays disabled after the last round, until softirq context has been
            // here.
            let emptied = self.empty(round < ROUNDS, rcu);

            if emptied.is_broken {
                self.shared().heal();
                return Rest::None;
            }
            if emptied.is_settled {
                return Rest::None;
            }
        }
        self.shared().counters().continued.count();
        Rest::More
    }

    fn detach_unused(&self, sent: Self::Token) {
        let mut command = match sent {
            Either::First(command) => command,
            Either::Second(command) => return command.end(),
        };
        let status = if self.shared().life().is_gone() {
            HostStatus::NoConnect
        } else {
            // The reset is no failure of the command: its time for retries starts anew.
            renew(&mut command);
            HostStatus::Reset
        };

        command.private().set_on_ring(false);
        trace_glue::complete_command(|| (facts_of(self.shared(), &command), EndFacts::default()));
        command.complete(status, 0);
    }
}
