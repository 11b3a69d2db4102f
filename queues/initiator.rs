// SPDX-License-Identifier: GPL-2.0

//! What the midlayer sees of a device.

use super::{
    control::ControlQueue,
    limits::{
        Layout,
        RingLimits, //
    },
    recovery::{
        Policy,
        Recovery, //
    },
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
        LogicalUnit,
        QueueCounts,
        RecoveryResult,
        TimeoutAction, //
    },
    virtio_glue::{
        Flag,
        Resetter, //
    },
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
};

/// What the driver keeps with a command.
pub struct Private {
    /// Counts the uses of the command, so that no two have the same tag for a long time.
    generation: Atomic<u32>,
    /// Whether the driver has asked the device to abort it.
    abort_requested: Flag,
    /// Whether it is on a virtqueue. Changes under the lock of the virtqueue.
    on_ring: Flag,
}

impl Default for Private {
    fn default() -> Self {
        Self {
            generation: Atomic::new(0),
            abort_requested: Flag::default(),
            on_ring: Flag::default(),
        }
    }
}

impl Private {
    /// Returns the tag for the next use of a command.
    ///
    /// It is made of numbers that mean nothing outside of the driver, and an ABORT TASK that comes
    /// late does not hit another use of the same command.
    #[inline]
    pub(super) fn next_tag(&self, unique_tag: u32) -> u64 {
        // Only the owner of the command changes it.
        self.generation
            .store(self.generation.load(Relaxed).wrapping_add(1), Relaxed);
        self.abort_requested.clear();
        self.tag(unique_tag)
    }

    /// Returns the tag of the current use of a command.
    pub(super) fn tag(&self, unique_tag: u32) -> u64 {
        u64::from(self.generation.load(Relaxed)) << 32 | u64::from(unique_tag)
    }

    /// Notes that the device is asked to abort the command.
    pub(super) fn request_abort(&self) {
        self.abort_requested.set();
    }

    /// Returns whether the device was asked to abort the command.
    #[inline]
    pub(super) fn abort_requested(&self) -> bool {
        self.abort_requested.is_set()
    }

    /// Notes whether the command is on a virtqueue, whose lock has to be held.
    #[inline]
    pub(super) fn set_on_ring(&self, on_ring: bool) {
        if on_ring {
            self.on_ring.set();
        } else {
            self.on_ring.clear();
        }
    }

    /// Returns whether the command is on a virtqueue.
    pub(super) fn is_on_ring(&self) -> bool {
        self.on_ring.is_set()
    }
}

/// A SCSI initiator port: the request queues and the controlq of a device.
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
    recovery: Recovery,
    listener: Arc<dyn Listener>,
}

/// Someone who wants to know of the logical units that are found.
pub trait Listener: Send + Sync {
    /// Called when a logical unit has been found. Process context; commands to the unit must not be
    /// waited for.
    fn found(&self, unit: &LogicalUnit);
}

impl Initiator {
    /// Makes one of queues that are live. The request queues that interrupt come first.
    pub fn new(
        shared: Arc<Shared>,
        requests: KVec<Arc<RequestQueue>>,
        control: Arc<ControlQueue>,
        resetter: Arc<Resetter>,
        queues: QueueCounts,
        (layout, limits, policy): (Layout, RingLimits, Policy),
        listener: Arc<dyn Listener>,
    ) -> Result<Arc<Self>> {
        let present = Atomic::new(queues.interrupt + queues.polled);
        let recovery = Recovery::new(shared.clone(), control, resetter, policy);

        Ok(Arc::new(
            Self {
                shared,
                requests,
                present,
                queues,
                layout,
                limits,
                recovery,
                listener,
            },
            GFP_KERNEL,
        )?)
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
    type Private = Private;

    // Controlq and eventq.
    const OTHER_INTERRUPTS: u32 = 2;

    fn queues(&self) -> QueueCounts {
        self.queues
    }

    fn found(&self, unit: &LogicalUnit) {
        self.listener.found(unit);
    }

    #[inline]
    fn queue_command(&self, queue: u32, command: Command<Self>) -> Result<(), Busy<Self>> {
        match self.request_queue(queue) {
            Some(queue) => queue.send(command, self.layout, self.limits.segments),
            // There is no such queue: the command is dropped, which ends it with an error.
            None => Ok(()),
        }
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

    fn abort(&self, command: CommandRef<'_, Self>) -> RecoveryResult {
        self.recovery.abort(self, command)
    }

    fn reset_logical_unit(&self, command: CommandRef<'_, Self>) -> RecoveryResult {
        self.recovery.reset_logical_unit(self, &command)
    }

    fn reset_target(&self, command: CommandRef<'_, Self>) -> RecoveryResult {
        self.recovery.reset_target(self, &command)
    }

    fn reset_host(&self) -> RecoveryResult {
        self.recovery.reset_host()
    }
}
