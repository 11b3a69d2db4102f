// SPDX-License-Identifier: GPL-2.0

//! The controlq: task management functions and asynchronous notifications.

use super::{
    shared::Shared,
    wire::{
        NotificationRequest,
        NotificationResponse,
        Notifications,
        TaskManagement,
        TaskManagementRequest, //
    },
};
use crate::virtio_glue::{
    new_locked,
    AddError,
    DeviceBuffer,
    Handler,
    Locked,
    TimedCompletion,
    Virtqueue, //
};
use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
    time::Jiffies, //
};

/// How many requests a device can have under way on the controlq.
///
/// The midlayer aborts commands one by one, and resets one logical unit at a time; a few more come
/// from `sg_reset` and from the handling of events.
const SLOTS: usize = 16;

/// What the device writes, with room for the longest: a response to a task management function has
/// only its first byte.
type ResponseBytes = [u8; NotificationResponse::SIZE];

/// What a response is set to before the device gets it: one that does not exist. A device that
/// completes a request without writing a response is not taken to have carried it out.
const PRESET: ResponseBytes = [0xff; NotificationResponse::SIZE];

/// Someone who waits for a response.
#[pin_data]
struct Waiter {
    #[pin]
    done: TimedCompletion,
    /// The response, once there is one.
    #[pin]
    response: Locked<Option<ResponseBytes>>,
}

impl Waiter {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                done <- TimedCompletion::new(),
                response <- new_locked!(None, c"Waiter::response"),
            }),
            GFP_KERNEL,
        )
    }
}

/// What the device reads.
enum Request {
    TaskManagement(TaskManagementRequest),
    Notification(NotificationRequest),
}

impl Request {
    /// Returns the bytes to send.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::TaskManagement(request) => request.bytes(),
            Self::Notification(request) => request.bytes(),
        }
    }

    /// Returns how many bytes the device writes.
    fn response_len(&self) -> usize {
        match self {
            Self::TaskManagement(_) => 1,
            Self::Notification(_) => NotificationResponse::SIZE,
        }
    }
}

/// What a request exchanges with the device.
///
/// It is on the virtqueue from the time it is sent until the device has answered or was reset,
/// whether or not anybody still waits for the answer.
pub struct Slot {
    request: Request,
    response: DeviceBuffer<ResponseBytes>,
    waiter: Arc<Waiter>,
}

/// The controlq.
#[pin_data]
pub struct ControlQueue {
    shared: Arc<Shared>,
    #[pin]
    ring: Locked<Virtqueue<KBox<Slot>>>,
    /// Slots that are not on the virtqueue. There is room for all, so that putting one back never
    /// needs memory.
    #[pin]
    idle: Locked<KVec<KBox<Slot>>>,
}

impl ControlQueue {
    /// Makes a controlq that has no ring yet.
    pub fn new(shared: Arc<Shared>) -> Result<Arc<Self>> {
        let mut idle = KVec::with_capacity(SLOTS, GFP_KERNEL)?;

        for _ in 0..SLOTS {
            let slot = KBox::new(
                Slot {
                    request: Request::TaskManagement(TaskManagementRequest::default()),
                    response: DeviceBuffer::default(),
                    waiter: Waiter::new()?,
                },
                GFP_KERNEL,
            )?;

            idle.push(slot, GFP_KERNEL)?;
        }

        Arc::pin_init(
            pin_init!(Self {
                shared,
                ring <- new_locked!(Virtqueue::default(), c"ControlQueue::ring"),
                idle <- new_locked!(idle, c"ControlQueue::idle"),
            }),
            GFP_KERNEL,
        )
    }

    /// Has the device carry out a task management function, and returns its response code.
    ///
    /// Fails as [`ControlQueue::exchange`] does. The function may still be carried out then.
    pub(super) fn execute(
        &self,
        function: TaskManagement,
        lun: [u8; 8],
        tag: u64,
        timeout: Jiffies,
    ) -> Result<u8> {
        let mut request = TaskManagementRequest::default();

        request.fill(self.shared.order(), function, lun, tag);
        let [code, ..] = self.exchange(Request::TaskManagement(request), timeout)?;

        Ok(code)
    }

    /// Asks a logical unit which of some asynchronous notifications it has, or to send them.
    ///
    /// Fails as [`ControlQueue::exchange`] does.
    pub(super) fn notifications(
        &self,
        what: Notifications,
        lun: [u8; 8],
        events: u32,
        timeout: Jiffies,
    ) -> Result<NotificationResponse> {
        let mut request = NotificationRequest::default();

        request.fill(self.shared.order(), what, lun, events);
        let bytes = self.exchange(Request::Notification(request), timeout)?;

        Ok(NotificationResponse::decode(self.shared.order(), bytes))
    }

    /// Sends a request to the device, and waits for its response.
    ///
    /// Process context. Fails with [`ETIMEDOUT`] if the device has not answered after `timeout`
    /// jiffies; an answer that comes later is for nobody. Fails with [`EBUSY`] if too many requests
    /// are under way, and with [`EIO`] if the controlq is broken or the device is being reset.
    fn exchange(&self, request: Request, timeout: Jiffies) -> Result<ResponseBytes> {
        let mut slot = self.idle.lock().pop().ok_or(EBUSY)?;
        let waiter = slot.waiter.clone();

        slot.request = request;
        slot.response.preset(PRESET);
        waiter.done.reset();
        *waiter.response.lock() = None;

        self.send(slot)?;

        if !waiter.done.wait(timeout) {
            // The answer may be there without its interrupt.
            self.used();
            if !waiter.done.wait(1) {
                return Err(ETIMEDOUT);
            }
        }

        let response = *waiter.response.lock();
        response.ok_or(EIO)
    }

    /// Sends a slot to the device.
    fn send(&self, slot: KBox<Slot>) -> Result {
        let rcu = rcu::read_lock();
        let mut ring = self.ring.lock();

        let added = ring.add(slot, |slot, chain| {
            chain.readable(slot.request.bytes());
            chain.writable(&slot.response, slot.request.response_len());
        });

        match added {
            Ok(()) => {
                let notify = ring.prepare_notify(&rcu);

                drop(ring);
                notify.send();
                Ok(())
            }
            Err((slot, error)) => {
                drop(ring);
                self.put_back(slot);
                Err(match error {
                    AddError::Full => EBUSY,
                    AddError::Broken | AddError::Gone => EIO,
                })
            }
        }
    }

    /// Puts a slot back that is not on the virtqueue.
    fn put_back(&self, slot: KBox<Slot>) {
        // There is room for all slots, so this does not fail.
        let _ = self.idle.lock().push_within_capacity(slot);
    }

    /// Tells the waiter of a slot how it ended, and puts the slot back.
    fn finish(&self, slot: KBox<Slot>, response: Option<ResponseBytes>) {
        let waiter = slot.waiter.clone();

        *waiter.response.lock() = response;
        self.put_back(slot);
        waiter.done.complete();
    }
}

impl Handler for ControlQueue {
    type Token = KBox<Slot>;

    fn virtqueue(&self) -> &Locked<Virtqueue<Self::Token>> {
        &self.ring
    }

    fn name(&self) -> &'static CStr {
        c"control"
    }

    fn has_interrupt(&self) -> bool {
        true
    }

    fn used(&self) {
        loop {
            let mut ring = self.ring.lock();
            let used = ring.take_used();
            let broken = ring.is_broken();

            drop(ring);
            match used {
                Some((slot, _len)) => {
                    let response = slot.response.copy(0);

                    self.finish(slot, response);
                }
                None => {
                    if broken {
                        self.shared.heal();
                    }
                    break;
                }
            }
        }
    }

    fn unused(&self, slot: Self::Token) {
        self.finish(slot, None);
    }
}
