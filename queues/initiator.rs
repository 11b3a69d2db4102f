// SPDX-License-Identifier: GPL-2.0

//! What the midlayer sees of a device.

use super::{
    limits::{
        Layout,
        RingLimits, //
    },
    own::OwnCommands,
    progress::Progress,
    recovery::Recovery,
    request::RequestQueue,
    shared::Shared,
    wire::{
        CommandRequest,
        CommandResponse, //
    },
};
use crate::{
    scsi_glue::{
        Busy,
        Command,
        CommandRef,
        Driver,
        HostStatus,
        LogicalUnit,
        QueueCounts,
        RecoveryResult,
        TimeoutAction, //
    },
    virtio_glue::AddError,
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

/// How long a command that is the only one of the host may find no memory, in milliseconds. If what it needs is
/// not there by then, it needs more than there is.
const ALONE: u32 = 30_000;

/// How long a command may find no memory while others do, in milliseconds.
const AMONG_OTHERS: u32 = 180_000;

/// A SCSI initiator port: the request queues and the controlq of a device.
#[pin_data]
pub struct Initiator {
    shared: Arc<Shared>,
    /// Those that interrupt come first.
    requests: KVec<Arc<RequestQueue>>,
    /// How many of the request queues are there. A device that was reset may have fewer than at
    /// first; then they also serve the hardware queues of the others.
    present: Atomic<u32>,
    queues: QueueCounts,
    layout: Layout,
    limits: RingLimits,
    recovery: Arc<Recovery>,
    listener: Arc<dyn Listener>,
    /// How often a command could not be put on a ring.
    unsent: Atomic<u64>,
    #[pin]
    own: OwnCommands,
}

/// Someone who wants to know of the logical units that are found.
pub trait Listener: Send + Sync {
    /// Called when a logical unit has been found. Process context; commands that the midlayer sends to the unit
    /// must not be waited for.
    fn found(&self, initiator: &Initiator, unit: &LogicalUnit);
}

impl Initiator {
    /// Makes one of queues that are live. The request queues that interrupt come first.
    pub fn new(
        shared: Arc<Shared>,
        requests: KVec<Arc<RequestQueue>>,
        recovery: Arc<Recovery>,
        queues: QueueCounts,
        layout: Layout,
        limits: RingLimits,
        listener: Arc<dyn Listener>,
    ) -> Result<Arc<Self>> {
        let present = Atomic::new(queues.interrupt + queues.polled);

        Arc::pin_init(
            pin_init!(Self {
                shared,
                requests,
                present,
                queues,
                layout,
                limits,
                recovery,
                listener,
                unsent: Atomic::new(0),
                own <- OwnCommands::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the request queue of a hardware queue.
    #[inline]
    fn request_queue(&self, queue: u32) -> Option<&RequestQueue> {
        let present = self.present.load(Relaxed);
        let index = if queue < present {
            queue
        } else {
            queue.checked_rem(present)?
        };

        self.requests.get(index as usize).map(|queue| &**queue)
    }

    /// Returns the request queue that is there whatever becomes of the others. It interrupts.
    pub(super) fn first_queue(&self) -> Option<&RequestQueue> {
        self.requests.first().map(|queue| &**queue)
    }

    /// Returns the commands that the driver sends by itself.
    pub(super) fn own(&self) -> &OwnCommands {
        &self.own
    }

    /// Returns all request queues.
    pub fn request_queues(&self) -> impl Iterator<Item = &RequestQueue> {
        self.requests.iter().map(|queue| &**queue)
    }

    /// Returns how many request queues there were at first.
    pub fn request_queue_count(&self) -> u32 {
        self.queues.interrupt + self.queues.polled
    }

    /// Notes how many of the request queues are there. At least 1.
    pub fn set_present(&self, count: u32) {
        self.present.store(count.max(1), Relaxed);
    }

    /// Returns what commands and responses look like.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns the limits that the midlayer was told.
    pub fn limits(&self) -> RingLimits {
        self.limits
    }

    /// Returns what recovers commands and the device.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Returns what all queues of the device have in common.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Completes all commands that the device has finished.
    pub(super) fn poll_all(&self) {
        for queue in &self.requests {
            queue.poll();
        }
    }

    /// Returns whether the device has a command, and may transfer its data. See
    /// [`RequestQueue::holds`].
    pub fn holds(&self, command: &CommandRef<'_, Self>) -> bool {
        // Every command is on the virtqueue of its hardware queue, or on the one that serves it.
        command.private().is_on_ring()
            && self
                .request_queue(command.queue())
                .is_some_and(|queue| queue.holds(command))
    }

    /// Has the device look again for commands that it may have missed.
    pub(super) fn notify_again(&self, command: &CommandRef<'_, Self>) {
        if let Some(queue) = self.request_queue(command.queue()) {
            queue.notify_again();
        }
    }

    /// Has the device look again for all commands that it may have missed.
    pub(super) fn notify_all_again(&self) {
        for queue in &self.requests {
            queue.notify_again();
        }
    }

    /// Decides what becomes of a command that could not be put on a ring.
    #[cold]
    fn not_sent(
        &self,
        queue: &RequestQueue,
        command: Command<Self>,
        error: AddError,
    ) -> Result<(), Busy<Self>> {
        let ends = match error {
            AddError::Full => false,
            AddError::NoMemory => self.never_fits(&command),
            // After a shutdown the virtqueue may still be there, but broken for good.
            AddError::Broken | AddError::Gone => self.shared.life().is_gone(),
        };

        if ends {
            queue.instead_of_sending(command, |command| {
                command.complete(HostStatus::NoConnect, 0)
            });
            return Ok(());
        }

        self.unsent.fetch_add(1, Relaxed);
        match error {
            // There will be room when the device has used some. A command that is waited for must not keep all
            // others of the host from it.
            AddError::Full => Err(Busy::Unit(command)),
            AddError::NoMemory => {
                self.shared.counters().no_memory.count();
                Err(Busy::Unit(command))
            }
            AddError::Broken => {
                self.shared.heal();
                Err(Busy::Host(command))
            }
            // Whoever has taken the device down is bound to bring it up, or to give it up.
            AddError::Gone => Err(Busy::Host(command)),
        }
    }

    /// Returns whether a command has found no memory for so long that it never will.
    fn never_fits(&self, command: &Command<Self>) -> bool {
        let about = command.as_ref();
        let (waited, alone) = about.private().refuse(self.is_idle());
        let never = alone >= msecs_to_jiffies(ALONE) || waited >= msecs_to_jiffies(AMONG_OTHERS);

        if never && self.shared.may_complain() {
            let waited = if alone >= msecs_to_jiffies(ALONE) {
                ALONE
            } else {
                AMONG_OTHERS
            };

            dev_err!(
                self.shared.dev(),
                "target {} lun {}: a command of {} bytes could not be mapped for DMA for {} s and is failed\n",
                about.target(),
                about.lun(),
                command.data_len(),
                waited / 1000
            );
        }
        never
    }

    /// Returns whether the device has no commands of the midlayer's. It may have some of the driver's own, which it
    /// has not answered for long.
    fn is_idle(&self) -> bool {
        self.progress().0 <= self.own.count() as u64
    }

    /// Returns how often a command could not be put on a ring.
    pub(super) fn unsent(&self) -> u64 {
        self.unsent.load(Relaxed)
    }

    /// Returns how many commands the device has, and how many it has ever finished.
    pub fn progress(&self) -> (u64, u64) {
        self.requests
            .iter()
            .map(|queue| queue.progress())
            .fold((0, 0), |(a, b), (c, d)| (a + c, b.wrapping_add(d)))
    }
}

impl Driver for Initiator {
    const NAME: &'static CStr = c"Virtio SCSI HBA (Rust)";
    const PROC_NAME: &'static CStr = c"virtio_scsi_rs";

    type Request = CommandRequest;
    type Response = CommandResponse;
    type Private = Progress;

    // Controlq and eventq.
    const OTHER_INTERRUPTS: u32 = 2;

    fn queues(&self) -> QueueCounts {
        self.queues
    }

    fn found(&self, unit: &LogicalUnit) {
        self.recovery.forget(unit.target(), unit.lun());
        self.listener.found(self, unit);
    }

    #[inline]
    fn queue_command(&self, queue: u32, command: Command<Self>) -> Result<(), Busy<Self>> {
        // If there is no such queue, the command is dropped, which ends it with an error.
        let Some(queue) = self.request_queue(queue) else {
            return Ok(());
        };

        queue
            .send(command, self.layout, self.limits.segments)
            .or_else(|(command, error)| self.not_sent(queue, command, error))
    }

    fn commit(&self, queue: u32) {
        if let Some(queue) = self.request_queue(queue) {
            queue.commit();
        }
    }

    fn poll(&self, queue: u32) -> u32 {
        self.request_queue(queue).map_or(0, RequestQueue::poll)
    }

    fn timed_out(&self, command: CommandRef<'_, Self>) -> TimeoutAction {
        self.recovery.timed_out(self, command)
    }

    fn should_retry(&self, command: CommandRef<'_, Self>) -> bool {
        // Whoever has set a time has it end, and whoever has another way takes that.
        !command.private().is_given_up() && !command.is_failfast()
    }

    fn abort(&self, command: CommandRef<'_, Self>) -> RecoveryResult {
        self.recovery.abort(self, command)
    }

    fn reset_logical_unit(&self, command: CommandRef<'_, Self>) -> RecoveryResult {
        self.recovery.reset_logical_unit(self, &command)
    }

    fn reset_target(&self, command: CommandRef<'_, Self>) -> RecoveryResult {
        self.recovery.reset_target(self, &command)
    }

    fn reset_host(&self, command: CommandRef<'_, Self>) -> RecoveryResult {
        self.recovery.reset_host(self, &command)
    }
}
