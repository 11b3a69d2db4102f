// SPDX-License-Identifier: GPL-2.0

//! The eventq itself.

use super::{
    inbox::Inbox,
    wire::{
        EventBytes,
        Report,
        PRESET, //
    },
    worker::Handling, //
};
use crate::{
    queues::{
        limits::EVENT_SIZE_MAX,
        Initiator,
        Shared, //
    },
    scsi_glue::Host,
    virtio_glue::{
        new_locked,
        DeviceBuffer,
        Handler,
        Locked,
        Virtqueue,
        Worker, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
};

/// How many buffers the device gets.
///
/// A buffer is back with the device as soon as its interrupt was handled, so these only have to
/// last for as long as that takes. The first draft of the specification suggests 10 to 15.
const BUFFERS: usize = 16;

/// A buffer for an event.
pub struct Buffer(DeviceBuffer<[u8; EVENT_SIZE_MAX as usize]>);

/// The eventq.
#[pin_data]
pub struct EventQueue {
    shared: Arc<Shared>,
    /// How many bytes of an event the device may write.
    event_size: u32,
    #[pin]
    ring: Locked<Virtqueue<KBox<Buffer>>>,
    inbox: Arc<Inbox>,
    /// Handles events while the host is there.
    #[pin]
    worker: Locked<Option<Arc<Worker<Handling>>>>,
}

impl EventQueue {
    /// Makes an eventq that has no ring yet, for events of up to `event_size` bytes.
    pub fn new(shared: Arc<Shared>, event_size: u32) -> Result<Arc<Self>> {
        let inbox = Inbox::new()?;

        Arc::pin_init(
            pin_init!(Self {
                shared,
                event_size,
                ring <- new_locked!(Virtqueue::default(), c"EventQueue::ring"),
                inbox,
                worker <- new_locked!(None, c"EventQueue::worker"),
            }),
            GFP_KERNEL,
        )
    }

    /// Starts to handle events for a host: gives the device buffers for them.
    ///
    /// Process context.
    pub fn start(&self, host: Arc<Host<Initiator>>) -> Result {
        let worker = Arc::pin_init(
            Worker::new(Handling::new(self.shared.clone(), self.inbox.clone(), host)),
            GFP_KERNEL,
        )?;

        *self.worker.lock() = Some(worker);

        for _ in 0..BUFFERS {
            let buffer = KBox::new(Buffer(DeviceBuffer::default()), GFP_KERNEL)?;

            // A small ring does not take all of them.
            if !self.post(buffer) {
                break;
            }
        }
        self.notify();
        Ok(())
    }

    /// Stops to handle events. When it returns, none is being handled, and none will be.
    ///
    /// Process context.
    pub fn stop(&self) {
        let worker = self.worker.lock().take();

        if let Some(worker) = worker {
            worker.cancel();
        }
    }

    /// Gives the device a buffer. Returns whether there was room for it.
    fn post(&self, mut buffer: KBox<Buffer>) -> bool {
        buffer.0.preset(PRESET);

        self.ring
            .lock()
            .add(buffer, |buffer, chain| {
                chain.writable(&buffer.0, self.event_size as usize)
            })
            .is_ok()
    }

    /// Notifies the device of the buffers that it was given.
    fn notify(&self) {
        let rcu = rcu::read_lock();
        let notify = self.ring.lock().prepare_notify(&rcu);

        notify.send();
    }
}

impl Handler for EventQueue {
    type Token = KBox<Buffer>;

    fn virtqueue(&self) -> &Locked<Virtqueue<Self::Token>> {
        &self.ring
    }

    fn name(&self) -> &'static CStr {
        c"event"
    }

    fn has_interrupt(&self) -> bool {
        true
    }

    fn used(&self) {
        let mut any = false;

        // The device can fill buffers as fast as it gets them. After one round it has to interrupt
        // again, so that the CPU gets to do other things.
        for _ in 0..BUFFERS {
            let used = self.ring.lock().take_used();
            let Some((buffer, _len)) = used else {
                break;
            };

            // Nothing that the device does to the buffer after this makes a difference.
            let bytes: EventBytes = buffer.0.copy(0).unwrap_or(PRESET);

            self.post(buffer);
            self.inbox.add(Report::decode(self.shared.order(), bytes));
            any = true;
        }

        if any {
            self.notify();
            if let Some(worker) = &*self.worker.lock() {
                worker.schedule();
            }
        }
    }

    fn unused(&self, _buffer: Self::Token) {}
}
