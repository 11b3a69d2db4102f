// SPDX-License-Identifier: GPL-2.0

//! The controlq, which carries task management functions and asynchronous notification requests.

use super::{
    control_request::{
        Body,
        ControlRequest,
        ResponseBytes,
        WaitResult, //
    },
    shared_state::SharedState, //
};
use crate::{
    kernel_glue::{
        new_locked,
        Locked,
        RcuSection,
        Stamp, //
    },
    protocol::control::{
        NotificationRequest,
        NotificationRequestKind,
        NotificationResponse,
        TaskManagement,
        TaskManagementRequest, //
    },
    virtio_glue::{
        new_virtqueue,
        AddError,
        Handler,
        Rest,
        Virtqueue, //
    },
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

/// How long to wait before a request that found no memory is sent again, in milliseconds.
const NO_MEMORY_DELAY_MS: i64 = 20;

/// The most requests that a device can have.
///
/// The midlayer aborts commands one by one, and resets one logical unit at a time. A few more
/// requests come from `sg_reset` and from the handling of events.
const REQUESTS: usize = 16;

/// The controlq.
#[pin_data]
pub struct ControlQueue {
    shared: Arc<SharedState>,
    #[pin]
    ring: Virtqueue<KBox<ControlRequest>>,
    /// The requests that are not on the virtqueue. It has the capacity for all, so that putting one
    /// back needs no memory.
    #[pin]
    idle: Locked<KVec<KBox<ControlRequest>>>,
}

impl ControlQueue {
    /// Makes a controlq without a virtqueue.
    pub fn new(shared: Arc<SharedState>) -> Result<Arc<Self>> {
        let mut idle = KVec::with_capacity(REQUESTS, GFP_KERNEL)?;

        for _ in 0..REQUESTS {
            idle.push(ControlRequest::new()?, GFP_KERNEL)?;
        }

        Arc::pin_init(
            pin_init!(Self {
                shared,
                ring <- new_virtqueue!(c"ControlQueue::ring"),
                idle <- new_locked!(idle, c"ControlQueue::idle"),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the number of descriptors of the ring.
    pub fn size(&self) -> u32 {
        self.ring.lock().vring_size()
    }

    /// Returns the state of the device.
    pub(super) fn shared(&self) -> &SharedState {
        &self.shared
    }

    /// Sends a task management function, and returns its response code.
    ///
    /// Fails as [`ControlQueue::exchange`] does. The device may still carry out the function then.
    pub(crate) fn execute(
        &self,
        function: TaskManagement,
        lun: [u8; 8],
        tag: u64,
        timeout: Jiffies,
    ) -> Result<u8> {
        let mut request = TaskManagementRequest::default();

        request.fill(self.shared.order(), function, lun, tag);
        let [code, ..] = self.exchange(Body::TaskManagement(request), timeout)?;

        Ok(code)
    }

    /// Sends a query or a subscription for the notifications `events`.
    ///
    /// Fails as [`ControlQueue::exchange`] does.
    pub(super) fn request_notifications(
        &self,
        kind: NotificationRequestKind,
        lun: [u8; 8],
        events: u32,
        timeout: Jiffies,
    ) -> Result<NotificationResponse> {
        let mut request = NotificationRequest::default();

        request.fill(self.shared.order(), kind, lun, events);
        let bytes = self.exchange(Body::Notification(request), timeout)?;

        Ok(NotificationResponse::decode(self.shared.order(), bytes))
    }

    /// Sends a request to the device, and waits for its response.
    ///
    /// Process context. Fails with
    ///
    /// - [`ETIMEDOUT`] if the device has not answered after `timeout` jiffies. A later response is
    ///   ignored.
    /// - [`EBUSY`] if the device has as many requests as there are, or its ring is full.
    /// - [`ENOMEM`] if there was no memory to send it within `timeout`.
    /// - [`EIO`] if the controlq is broken or the device is being reset.
    fn exchange(&self, body: Body, timeout: Jiffies) -> Result<ResponseBytes> {
        let mut request = self.idle.lock().pop().ok_or(EBUSY)?;
        let began = Stamp::now();
        let waiter = request.prepare(body);

        // The device's commands can use up a bounce buffer, which is no fault of the device.
        while let Err((returned, error)) = self.send(request) {
            if error != ENOMEM || began.elapsed() >= timeout {
                self.put_back(returned);
                return Err(error);
            }
            request = returned;
            fsleep(Delta::from_millis(NO_MEMORY_DELAY_MS));
        }

        match waiter.wait(timeout, || {
            let _ = self.take_used();
        }) {
            WaitResult::Ended(request, response) => {
                self.put_back(request);
                response.ok_or(EIO)
            }
            WaitResult::TimedOut => Err(ETIMEDOUT),
        }
    }

    /// Sends a request to the device, or returns it.
    fn send(&self, request: KBox<ControlRequest>) -> Result<(), (KBox<ControlRequest>, Error)> {
        let rcu = rcu::read_lock();
        let mut ring = self.ring.lock();

        match ring.add(request, |request, chain| request.describe(chain)) {
            Ok(()) => {
                let notify = ring.kick_prepare(&rcu);

                drop(ring);
                notify.send();
                Ok(())
            }
            Err((request, error)) => {
                drop(ring);
                let error = match error {
                    AddError::Full => EBUSY,
                    AddError::NoMemory => ENOMEM,
                    AddError::Broken => {
                        self.shared.heal();
                        EIO
                    }
                    AddError::Gone => EIO,
                    AddError::Invalid => EINVAL,
                };

                Err((request, error))
            }
        }
    }

    /// Puts back a request that is not on the virtqueue.
    fn put_back(&self, request: KBox<ControlRequest>) {
        // The capacity is enough for all requests, so this does not fail.
        let _ = self.idle.lock().push_within_capacity(request);
    }

    /// Ends a request that the device does not have any more.
    fn end(&self, request: KBox<ControlRequest>, response: Option<ResponseBytes>) {
        if let Some(request) = ControlRequest::end(request, response) {
            self.put_back(request);
        }
    }

    /// Takes the requests that the device has used. Any context.
    fn take_used(&self) -> Rest {
        // More than there are requests means that other CPUs send new ones meanwhile.
        for _ in 0..REQUESTS {
            let mut ring = self.ring.lock();
            let used = ring.get_buf();
            let broken = ring.is_broken();

            drop(ring);
            match used {
                Some((request, _len)) => {
                    let response = request.response();

                    self.end(request, response);
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
}

impl Handler for ControlQueue {
    type Token = KBox<ControlRequest>;

    fn virtqueue(&self) -> &Virtqueue<Self::Token> {
        &self.ring
    }

    fn name(&self) -> &'static CStr {
        c"control"
    }

    fn has_interrupt(&self) -> bool {
        true
    }

    fn callback(&self, _rcu: RcuSection<'_>) -> Rest {
        self.take_used()
    }

    fn detach_unused(&self, request: Self::Token) {
        self.end(request, None);
    }
}

#[cfg(CONFIG_KUNIT = "y")]
mod tests;
