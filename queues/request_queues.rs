// SPDX-License-Identifier: GPL-2.0

//! The request queues of a device as a set: by hardware queue, and all together.

use super::{
    command_state::{
        Cmnd,
        CommandPdu,
        OwnedCmnd, //
    },
    request::{
        RequestQueue,
        Traffic, //
    },
    shared_state::SharedState,
    traces::facts_of,
    unanswered::UnansweredCommands, //
};
use crate::{
    kernel_glue::{
        RcuSection,
        Unordered, //
    },
    protocol::limits::Limits,
    scsi_glue::{
        Busy,
        HostStatus, //
    },
    trace_glue,
    virtio_glue::AddError, //
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
    time::msecs_to_jiffies, //
};

/// How long a command may find no memory while the host has nothing else in flight, in
/// milliseconds. After that time it needs more memory than there is.
const STARVED_ALONE_MS: u32 = 30_000;

/// How long a command may find no memory while others do, in milliseconds.
const STARVED_MS: u32 = 180_000;

/// The request queues of a device.
#[pin_data]
pub struct RequestQueues {
    shared: Arc<SharedState>,
    /// Queues that interrupt come first.
    queues: KVec<Arc<RequestQueue>>,
    /// How many of the queues have a virtqueue. A device can have fewer after a reset; the rest
    /// then serve the hardware queues of the missing ones.
    present: Atomic<u32>,
    limits: Limits,
    /// How many times a command could not be put on a ring.
    unsent: Atomic<u64>,
    /// How many commands of its own the driver has sent.
    own_sent: Atomic<u32>,
    /// Those of them that the device has not answered.
    #[pin]
    unanswered: UnansweredCommands,
}

impl RequestQueues {
    /// Makes the set. Queues that interrupt must come first. `limits` are those of the host.
    pub fn new(
        shared: Arc<SharedState>,
        queues: KVec<Arc<RequestQueue>>,
        limits: Limits,
    ) -> Result<Arc<Self>> {
        let present = Atomic::new(limits.request_queues());

        Arc::pin_init(
            pin_init!(Self {
                shared,
                queues,
                present,
                limits,
                unsent: Atomic::new(0),
                own_sent: Atomic::new(0),
                unanswered <- UnansweredCommands::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the state of the device.
    pub fn shared(&self) -> &Arc<SharedState> {
        &self.shared
    }

    /// Returns the limits of the host.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the queues. Those that interrupt come first.
    pub(super) fn queues(&self) -> &[Arc<RequestQueue>] {
        &self.queues
    }

    /// Returns the driver's own commands that the device has not answered.
    pub(super) fn unanswered(&self) -> &UnansweredCommands {
        &self.unanswered
    }

    /// Returns a number for the tag of the driver's next own command.
    pub(super) fn next_own_number(&self) -> u64 {
        self.own_sent.fetch_add(1, Relaxed).into()
    }

    /// Returns the request queue that serves a hardware queue.
    #[inline]
    fn serving(&self, hardware_queue: u32) -> Option<&RequestQueue> {
        let present = self.present.load_once();
        let index = if hardware_queue < present {
            hardware_queue
        } else {
            hardware_queue.checked_rem(present)?
        };

        self.queues.get(index as usize).map(|queue| &**queue)
    }

    /// Returns the first queue. It interrupts, and has a virtqueue whenever any queue has.
    pub(super) fn first(&self) -> Option<&RequestQueue> {
        self.queues.first().map(|queue| &**queue)
    }

    /// Returns the number of descriptors of the smallest of the first `count` queues.
    pub fn smallest_ring(&self, count: u32) -> u32 {
        self.queues
            .iter()
            .take(count as usize)
            .map(|queue| queue.size())
            .min()
            .unwrap_or(0)
    }

    /// Sets how many queues have a virtqueue. At least 1.
    pub fn set_present(&self, count: u32) {
        self.present.store(count.max(1), Relaxed);
    }

    /// Sends a command of the midlayer, or returns it. Any context.
    ///
    /// A command whose hardware queue does not exist is dropped, which completes it with an error.
    #[inline]
    pub(crate) fn send(
        &self,
        hardware_queue: u32,
        command: OwnedCmnd,
        rcu: RcuSection<'_>,
    ) -> Result<(), Busy<CommandPdu>> {
        let Some(queue) = self.serving(hardware_queue) else {
            return Ok(());
        };

        queue
            .send(command, &self.limits, rcu)
            .or_else(|(command, error)| self.not_sent(queue, command, error))
    }

    /// Notifies the device of the commands that were sent from a hardware queue. Any context.
    pub fn commit(&self, hardware_queue: u32) {
        if let Some(queue) = self.serving(hardware_queue) {
            queue.commit();
        }
    }

    /// Completes the commands of a hardware queue that the device has used, and returns their
    /// number. Any context.
    pub fn poll(&self, hardware_queue: u32) -> u32 {
        self.serving(hardware_queue).map_or(0, RequestQueue::poll)
    }

    /// Completes those that the device has used of the first queue, which has the driver's own
    /// commands, too. Any context.
    pub(super) fn poll_first(&self) {
        if let Some(queue) = self.first() {
            queue.poll();
        }
    }

    /// Completes all commands that the device has used. Any context.
    pub(crate) fn poll_all(&self) {
        for queue in &self.queues {
            queue.poll();
        }
    }

    /// Returns whether the device has a command, and may transfer its data. See
    /// [`RequestQueue::holds`].
    pub(crate) fn holds(&self, command: &Cmnd) -> bool {
        // A command is on the ring of the queue that serves its hardware queue.
        command.private().is_on_ring()
            && self
                .serving(command.queue())
                .is_some_and(|queue| queue.holds(command))
    }

    /// Notifies the device again of the queue of a command.
    pub(crate) fn notify_again(&self, command: &Cmnd) {
        if let Some(queue) = self.serving(command.queue()) {
            queue.notify_again();
        }
    }

    /// Notifies the device again of all queues.
    pub(crate) fn notify_all_again(&self) {
        for queue in &self.queues {
            queue.notify_again();
        }
    }

    /// Returns how many times a command could not be put on a ring.
    pub(crate) fn unsent(&self) -> u64 {
        self.unsent.load(Relaxed)
    }

    /// Returns the counts of commands.
    pub(crate) fn traffic(&self) -> Traffic {
        self.queues
            .iter()
            .map(|queue| queue.traffic())
            .fold(Traffic::default(), |sum, one| Traffic {
                in_flight: sum.in_flight + one.in_flight,
                used: sum.used.wrapping_add(one.used),
            })
    }

    /// Completes or requeues a command that could not be put on a ring.
    #[cold]
    fn not_sent(
        &self,
        queue: &RequestQueue,
        command: OwnedCmnd,
        error: AddError,
    ) -> Result<(), Busy<CommandPdu>> {
        let is_gone = || self.shared.life().is_gone();
        let busy: fn(OwnedCmnd) -> Busy<CommandPdu> = match error {
            // The device will free descriptors. A full ring must not block the other units of the
            // host.
            AddError::Full => Busy::Device,
            AddError::NoMemory if !self.never_fits(&command) => {
                self.shared.counters().no_memory.count();
                Busy::Device
            }
            AddError::Broken if !is_gone() => {
                self.shared.heal();
                Busy::Host
            }
            // The device was taken down, and will be brought up or given up within a bounded time.
            AddError::Gone if !is_gone() => Busy::Host,
            // No later try would succeed either. After a shutdown a virtqueue may still exist and
            // be broken for good.
            AddError::NoMemory | AddError::Broken | AddError::Gone | AddError::Invalid => {
                queue.instead_of_sending(command, |command| {
                    command.complete(HostStatus::NoConnect, 0)
                });
                return Ok(());
            }
        };

        trace_glue::requeue_command(|| facts_of(&self.shared, &command));
        self.unsent.fetch_add(1, Relaxed);
        Err(busy(command))
    }

    /// Returns whether a command has found no memory for so long that it never will.
    fn never_fits(&self, command: &OwnedCmnd) -> bool {
        let starvation = command.private().starve(self.is_idle());
        let waited = if starvation.alone >= msecs_to_jiffies(STARVED_ALONE_MS) {
            STARVED_ALONE_MS
        } else if starvation.total >= msecs_to_jiffies(STARVED_MS) {
            STARVED_MS
        } else {
            return false;
        };

        if self.shared.may_complain() {
            dev_err!(
                self.shared.dev(),
                "target {} lun {}: a command of {} bytes could not be mapped for DMA for {} s and is failed\n",
                command.target(),
                command.lun(),
                command.data_len(),
                waited / 1000
            );
        }
        true
    }

    /// Returns whether the device has no command of the midlayer. It may have some of the driver's
    /// own that it has not answered for long.
    fn is_idle(&self) -> bool {
        self.traffic().in_flight <= self.unanswered.count() as u64
    }
}
