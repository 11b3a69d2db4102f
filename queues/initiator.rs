// SPDX-License-Identifier: GPL-2.0

//! What the midlayer sees of a device.

use super::{
    control::ControlQueue,
    limits::{
        Layout,
        RingLimits, //
    },
    request::RequestQueue,
    response,
    shared::Shared,
    wire::{
        Address,
        CommandRequest,
        CommandResponse,
        TaskManagement, //
    },
};
use crate::{
    scsi_glue::{
        Busy,
        Command,
        CommandRef,
        Driver,
        QueueCounts,
        RecoveryResult,
        TimeoutAction, //
    },
    virtio_glue::Flag, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// What the driver keeps with a command.
#[derive(Default)]
pub struct Private {
    /// Counts the uses of the command, so that no two have the same tag for a long time.
    generation: u32,
    /// Whether the driver has asked the device to abort it.
    abort_requested: Flag,
}

impl Private {
    /// Returns the tag for the next use of a command.
    ///
    /// It is made of numbers that mean nothing outside of the driver, and an ABORT TASK that comes
    /// late does not hit another use of the same command.
    #[inline]
    pub(super) fn next_tag(&mut self, unique_tag: u32) -> u64 {
        self.generation = self.generation.wrapping_add(1);
        self.abort_requested.clear();
        self.tag(unique_tag)
    }

    /// Returns the tag of the current use of a command.
    fn tag(&self, unique_tag: u32) -> u64 {
        u64::from(self.generation) << 32 | u64::from(unique_tag)
    }
}

impl Command<Initiator> {
    /// Returns whether the driver has asked the device to abort it.
    #[inline]
    pub(super) fn abort_requested(&self) -> bool {
        self.as_ref().private().abort_requested.is_set()
    }
}

/// A SCSI initiator port: the request queues and the controlq of a device.
pub struct Initiator {
    shared: Arc<Shared>,
    /// Those that interrupt come first.
    requests: KVec<Arc<RequestQueue>>,
    control: Arc<ControlQueue>,
    queues: QueueCounts,
    layout: Layout,
    limits: RingLimits,
}

impl Initiator {
    /// Makes one of queues that are live. The request queues that interrupt come first.
    pub fn new(
        shared: Arc<Shared>,
        requests: KVec<Arc<RequestQueue>>,
        control: Arc<ControlQueue>,
        queues: QueueCounts,
        layout: Layout,
        limits: RingLimits,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                shared,
                requests,
                control,
                queues,
                layout,
                limits,
            },
            GFP_KERNEL,
        )?)
    }

    /// Returns the request queue of a hardware queue.
    #[inline]
    fn request_queue(&self, queue: u32) -> Option<&RequestQueue> {
        self.requests.get(queue as usize).map(|queue| &**queue)
    }

    /// Has the device carry out a task management function for a command, and waits for it.
    fn task_management(
        &self,
        function: TaskManagement,
        command: &CommandRef<'_, Self>,
        tag: u64,
    ) -> RecoveryResult {
        let lun = u8::try_from(command.target()).ok().and_then(|target| {
            let lun = command.lun();

            Address { target, lun }.encode()
        });
        let Some(lun) = lun else {
            return RecoveryResult::Failed;
        };

        dev_info!(
            self.shared.dev(),
            "target {} lun {}: {}\n",
            command.target(),
            command.lun(),
            function.name()
        );

        let result = self.control.execute(function, lun, tag);

        // The device has completed the commands that the function is about before the function.
        // But it has done so on other queues, whose interrupts may not have come yet.
        for queue in &self.requests {
            queue.poll();
        }

        match result {
            Ok(code) if response::function_done(code) => RecoveryResult::Success,
            Ok(code) => {
                dev_warn!(
                    self.shared.dev(),
                    "target {} lun {}: {} was refused with response {}\n",
                    command.target(),
                    command.lun(),
                    function.name(),
                    code
                );
                RecoveryResult::Failed
            }
            Err(_) => RecoveryResult::Failed,
        }
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

    fn timed_out(&self, _command: CommandRef<'_, Self>) -> TimeoutAction {
        // The device answers every command in the end. It may take long, as when the machine that
        // it runs on is busy or the guest was stopped, and then it does error handling itself.
        TimeoutAction::ResetTimer
    }

    fn abort(&self, command: CommandRef<'_, Self>) -> RecoveryResult {
        let private = command.private();

        private.abort_requested.set();
        self.task_management(
            TaskManagement::AbortTask,
            &command,
            private.tag(command.unique_tag()),
        )
    }

    fn reset_logical_unit(&self, command: CommandRef<'_, Self>) -> RecoveryResult {
        self.task_management(TaskManagement::LogicalUnitReset, &command, 0)
    }
}
