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
    Rest,
    Stamp,
    TimedCompletion,
    Virtqueue, //
};
use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta,
        Jiffies, //
    },
};

/// How often a request that found no memory is sent again, in milliseconds.
const LOOK: i64 = 20;

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

/// How far a request is.
enum Progress {
    /// The device has it, or nobody has sent it yet.
    Open,
    /// The device has answered it with this, or was reset, and whoever waits for it gets the slot.
    Closed(KBox<Slot>, Option<ResponseBytes>),
    /// Nobody waits for it any more.
    Abandoned,
}

/// Where the sender of a request waits for its response.
///
/// A slot goes back to the others only when both have left it, the device and the sender. So an answer that
/// comes late is never taken for that to another request.
#[pin_data]
struct Waiter {
    #[pin]
    done: TimedCompletion,
    #[pin]
    progress: Locked<Progress>,
}

impl Waiter {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                done <- TimedCompletion::new(),
                progress <- new_locked!(Progress::Open, c"Waiter::progress"),
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
    /// jiffies; an answer that comes later is for nobody. Fails with [`EBUSY`] if as many requests
    /// as there can be are under way, with [`ENOMEM`] if there was no memory for it to be sent in that time, and
    /// with [`EIO`] if the controlq is broken or the device is being reset.
    fn exchange(&self, request: Request, timeout: Jiffies) -> Result<ResponseBytes> {
        let mut slot = self.idle.lock().pop().ok_or(EBUSY)?;
        let waiter = slot.waiter.clone();
        let began = Stamp::now();

        slot.request = request;
        slot.response.preset(PRESET);
        waiter.done.reset();
        *waiter.progress.lock() = Progress::Open;

        // Commands that the device has may hold all of a bounce buffer, which says nothing of the device.
        while let Err((returned, error)) = self.send(slot) {
            if error != ENOMEM || began.elapsed() >= timeout {
                self.put_back(returned);
                return Err(error);
            }
            slot = returned;
            fsleep(Delta::from_millis(LOOK));
        }

        if !waiter.done.wait(timeout) {
            // The answer may be there without its interrupt.
            let _ = self.used();
        }

        let mut progress = waiter.progress.lock();
        let ended = core::mem::replace(&mut *progress, Progress::Abandoned);

        drop(progress);
        match ended {
            Progress::Closed(slot, response) => {
                self.put_back(slot);
                response.ok_or(EIO)
            }
            Progress::Open | Progress::Abandoned => Err(ETIMEDOUT),
        }
    }

    /// Sends a slot to the device, or gives it back.
    fn send(&self, slot: KBox<Slot>) -> Result<(), (KBox<Slot>, Error)> {
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
                let error = match error {
                    AddError::Full => EBUSY,
                    AddError::NoMemory => ENOMEM,
                    AddError::Broken => {
                        self.shared.heal();
                        EIO
                    }
                    AddError::Gone => EIO,
                };

                Err((slot, error))
            }
        }
    }

    /// Puts a slot back that is not on the virtqueue.
    fn put_back(&self, slot: KBox<Slot>) {
        // There is room for all slots, so this does not fail.
        let _ = self.idle.lock().push_within_capacity(slot);
    }

    /// Hands a slot that the device has left to whoever waits for it, or puts it back.
    fn finish(&self, slot: KBox<Slot>, response: Option<ResponseBytes>) {
        let waiter = slot.waiter.clone();
        let mut progress = waiter.progress.lock();

        if let Progress::Abandoned = *progress {
            drop(progress);
            self.put_back(slot);
            return;
        }
        *progress = Progress::Closed(slot, response);
        // Under the lock: once it is free, the slot may be the next sender's.
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

    fn used(&self) -> Rest {
        // There are no more slots, so it is others who have let the device use more meanwhile.
        for _ in 0..SLOTS {
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
                    return Rest::None;
                }
            }
        }
        Rest::More
    }

    fn unused(&self, slot: Self::Token) {
        self.finish(slot, None);
    }
}
