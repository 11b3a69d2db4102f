// SPDX-License-Identifier: GPL-2.0

//! A request of the controlq: its memory, and how its sender waits for the response.

use crate::{
    kernel_glue::{
        new_locked,
        DeviceBuffer,
        Locked,
        TimedCompletion, //
    },
    protocol::control::{
        NotificationRequest,
        NotificationResponse,
        TaskManagementRequest, //
    },
    virtio_glue::Chain, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::Jiffies, //
};

/// The response, with room for the longest: that to a task management function has only the first
/// byte.
pub(super) type ResponseBytes = [u8; NotificationResponse::SIZE];

/// The response before the request is sent. Its response code does not exist, so that a device that
/// writes no response has not carried out the request.
const PRESET: ResponseBytes = [0xff; NotificationResponse::SIZE];

/// The part that the device reads.
pub(super) enum Body {
    /// A task management function.
    TaskManagement(TaskManagementRequest),
    /// A query or subscription.
    Notification(NotificationRequest),
}

impl Body {
    /// Returns the bytes to send.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::TaskManagement(request) => request.bytes(),
            Self::Notification(request) => request.bytes(),
        }
    }

    /// Returns the length of the response, in bytes.
    fn response_len(&self) -> usize {
        match self {
            Self::TaskManagement(_) => 1,
            Self::Notification(_) => NotificationResponse::SIZE,
        }
    }
}

/// The state of a request for its sender.
enum Progress {
    /// It was not sent yet, or the device has it.
    Open,
    /// The device has used it and written this response, or was reset. The sender takes the request
    /// from here.
    Closed(KBox<ControlRequest>, Option<ResponseBytes>),
    /// The sender does not wait any more.
    Abandoned,
}

/// The place where a sender waits for its response.
///
/// A request can be used again only when both the device and the sender have left it. So a late
/// response is never taken for that to another request.
#[pin_data]
pub(super) struct Waiter {
    #[pin]
    done: TimedCompletion,
    #[pin]
    progress: Locked<Progress>,
}

/// How a wait for a response ended.
pub(super) enum WaitResult {
    /// The device has used the request and written a response, or was reset. The request can be
    /// used again.
    Ended(KBox<ControlRequest>, Option<ResponseBytes>),
    /// The device still has the request.
    TimedOut,
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

    /// Waits up to `timeout` jiffies until the device does not have the request any more. If that
    /// takes longer, calls `poll` once, for a lost interrupt.
    ///
    /// Process context.
    pub(super) fn wait(&self, timeout: Jiffies, poll: impl FnOnce()) -> WaitResult {
        if !self.done.wait(timeout) {
            poll();
        }

        let mut progress = self.progress.lock();
        let ended = core::mem::replace(&mut *progress, Progress::Abandoned);

        drop(progress);
        match ended {
            Progress::Closed(request, response) => WaitResult::Ended(request, response),
            Progress::Open | Progress::Abandoned => WaitResult::TimedOut,
        }
    }
}

/// A request, which is on the virtqueue from the time it is sent until the device has used it or
/// was reset, whether or not its sender still waits.
pub struct ControlRequest {
    body: Body,
    response: DeviceBuffer<ResponseBytes>,
    waiter: Arc<Waiter>,
}

impl ControlRequest {
    /// Makes a request that is not used yet.
    pub(super) fn new() -> Result<KBox<Self>> {
        let request = Self {
            body: Body::TaskManagement(TaskManagementRequest::default()),
            response: DeviceBuffer::default(),
            waiter: Waiter::new()?,
        };

        Ok(KBox::new(request, GFP_KERNEL)?)
    }

    /// Prepares it to be sent, and returns the place to wait for its response.
    pub(super) fn prepare(&mut self, body: Body) -> Arc<Waiter> {
        self.body = body;
        self.response.preset(PRESET);
        self.waiter.done.reset();
        *self.waiter.progress.lock() = Progress::Open;
        self.waiter.clone()
    }

    /// Describes its memory.
    pub(super) fn describe<'a>(&'a self, chain: &mut Chain<'a>) {
        chain.readable(self.body.bytes());
        chain.writable(&self.response, self.body.response_len());
    }

    /// Returns the response that the device has written.
    pub(super) fn response(&self) -> Option<ResponseBytes> {
        self.response.copy(0)
    }

    /// Hands a request that the device does not have any more to its sender, or returns it if the
    /// sender does not wait. `response` is [`None`] if the device was reset. Any context.
    pub(super) fn end(this: KBox<Self>, response: Option<ResponseBytes>) -> Option<KBox<Self>> {
        let waiter = this.waiter.clone();
        let mut progress = waiter.progress.lock();

        if let Progress::Abandoned = *progress {
            return Some(this);
        }
        *progress = Progress::Closed(this, response);
        // Under the lock: afterwards the request may belong to its next sender.
        waiter.done.complete();
        None
    }
}
