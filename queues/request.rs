// SPDX-License-Identifier: GPL-2.0

//! A request queue, and the way of a command to the device. `finish.rs` has the way back.

use super::{
    command_memory::{
        describe,
        protection_of, //
    },
    command_state::{
        Cmnd,
        OwnedCmnd, //
    },
    own_command::OwnCommand,
    shared_state::SharedState,
    traces::facts_of, //
};
use crate::{
    kernel_glue::{
        Either,
        RcuSection, //
    },
    protocol::{
        command::{
            CommandRequest,
            Layout,
            ResponseHeader, //
        },
        limits::Limits,
        sense::SenseCode, //
    },
    scsi_glue::{
        DataDirection,
        HostStatus, //
    },
    trace_glue::{
        self,
        CommandFacts, //
    },
    virtio_glue::{
        new_virtqueue,
        AddError,
        Virtqueue,
        VirtqueueGuard, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
};

/// Counts of commands, of the midlayer and of the driver's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Traffic {
    /// How many the device has.
    pub in_flight: u64,
    /// How many it has ever used. Wraps around.
    pub used: u64,
}

impl Traffic {
    /// Returns the counts of a ring.
    fn of(ring: &VirtqueueGuard<'_, Sent>) -> Self {
        Self {
            in_flight: ring.in_flight(),
            used: ring.taken(),
        }
    }
}

/// What a report tells of a queue.
pub(super) struct QueueReport {
    /// The number of its descriptors.
    pub(super) size: u32,
    pub(super) traffic: Traffic,
    /// The state of its ring.
    pub(super) ring: &'static str,
}

/// A request queue.
#[pin_data]
pub struct RequestQueue {
    shared: Arc<SharedState>,
    polled: bool,
    #[pin]
    ring: Virtqueue<Sent>,
}

/// A buffer of the ring: a command of the midlayer, or one of the driver's own.
pub(super) type Sent = Either<OwnedCmnd, Arc<OwnCommand>>;

impl RequestQueue {
    /// Makes a request queue that has no ring yet.
    pub fn new(shared: Arc<SharedState>, polled: bool) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                shared,
                polled,
                ring <- new_virtqueue!(c"RequestQueue::ring"),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the state of the device.
    #[inline]
    pub(super) fn shared(&self) -> &SharedState {
        &self.shared
    }

    /// Returns whether it is polled, and has no interrupt.
    pub(super) fn is_polled(&self) -> bool {
        self.polled
    }

    /// Returns the virtqueue.
    #[inline]
    pub(super) fn ring(&self) -> &Virtqueue<Sent> {
        &self.ring
    }

    /// Returns the number of descriptors of the ring.
    pub fn size(&self) -> u32 {
        self.ring.lock().vring_size()
    }

    /// Sends a command to the device.
    ///
    /// Any context. A command that cannot be put on the ring is returned.
    #[inline]
    pub(super) fn send(
        &self,
        mut command: OwnedCmnd,
        limits: &Limits,
        rcu: RcuSection<'_>,
    ) -> Result<(), (OwnedCmnd, AddError)> {
        let layout = limits.layout;

        // The midlayer never sends these. Fail the command rather than BUG if it does.
        if command.cdb_len() > layout.cdb_size.into()
            || command.segments() > limits.segments.into()
            || command.direction() == DataDirection::Bidirectional
        {
            self.instead_of_sending(command, |command| {
                Self::complete_with_sense(command, SenseCode::INVALID_COMMAND)
            });
            return Ok(());
        }

        let Some(lun) = command.device().data().lun_field() else {
            self.instead_of_sending(command, |command| {
                let status = if command.device().data().is_condemned() {
                    HostStatus::NoConnect
                } else {
                    HostStatus::BadTarget
                };

                command.complete(status, 0);
            });
            return Ok(());
        };

        let tag = command.private().next_tag(command.unique_tag());

        let protection = layout.protection.then(|| protection_of(&command));

        command.prepare(|room, cdb| {
            CommandRequest::write(room, self.shared.order(), lun, tag, protection, cdb)
        });
        command.response_mut().preset(ResponseHeader::PRESET);
        trace_glue::queue_command(|| self.begin(&command));

        let is_last = command.is_last();
        let mut ring = self.ring.lock();

        command.private().set_on_ring(true);
        match ring.add(Either::First(command), |sent, chain| {
            if let Either::First(command) = sent {
                describe(command, layout, chain);
            }
        }) {
            Ok(()) => {
                if is_last {
                    let notify = ring.kick_prepare(rcu);

                    drop(ring);
                    notify.send();
                }
                Ok(())
            }
            Err((Either::First(command), error)) => {
                command.private().set_on_ring(false);
                Err((command, error))
            }
            // Not reachable: what was to be added is returned.
            Err((Either::Second(_), _)) => Ok(()),
        }
    }

    /// Notes that a command is about to be put on the ring, and returns what a tracepoint tells of
    /// it.
    #[cold]
    #[inline(never)]
    fn begin(&self, command: &Cmnd) -> CommandFacts<'_> {
        self.shared.latencies().begin(command);
        facts_of(&self.shared, command)
    }

    /// Adds one of the driver's own commands to the ring. The device is notified of it by
    /// [`Self::commit`]. Any context.
    pub(super) fn add_own(&self, command: Arc<OwnCommand>, layout: Layout) -> Result<(), AddError> {
        self.ring
            .lock()
            .add(Either::Second(command), |sent, chain| {
                if let Either::Second(command) = sent {
                    command.describe(layout, chain);
                }
            })
            .map_err(|(_, error)| error)
    }

    /// Completes a command without sending it. If it is the last of a batch, this notifies the
    /// device of the commands before it, as the midlayer does not call `commit_rqs` then.
    #[cold]
    pub(super) fn instead_of_sending(&self, command: OwnedCmnd, complete: impl FnOnce(OwnedCmnd)) {
        let is_last = command.is_last();

        complete(command);
        if is_last {
            self.commit();
        }
    }

    /// Notifies the device of the commands that were added to the ring.
    pub(super) fn commit(&self) {
        let rcu = rcu::read_lock();
        let mut ring = self.ring.lock();
        let notify = ring.kick_prepare(&rcu);

        drop(ring);
        notify.send();
    }

    /// Notifies the device even if it has suppressed notifications: it may have missed one.
    pub(super) fn notify_again(&self) {
        let rcu = rcu::read_lock();
        let notify = self.ring.lock().notify_again(&rcu);

        notify.send();
    }

    /// Returns what a report tells of the queue.
    pub(super) fn report(&self) -> QueueReport {
        let ring = self.ring.lock();

        QueueReport {
            size: ring.vring_size(),
            traffic: Traffic::of(&ring),
            ring: match (ring.is_present(), ring.is_open()) {
                (false, _) => "none",
                (true, false) => "stopped",
                (true, true) if ring.is_broken() => "broken",
                (true, true) => "works",
            },
        }
    }

    /// Returns the counts of commands.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic::of(&self.ring.lock())
    }
}
