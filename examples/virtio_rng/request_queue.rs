// SPDX-License-Identifier: GPL-2.0

//! The virtqueue of an entropy device: each buffer on it belongs to a reader, who waits for it.

use crate::{
    kernel_glue::{
        new_locked,
        DeviceBuffer,
        Locked,
        RcuSection,
        TimedCompletion, //
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
    debugfs::BinaryWriter,
    fs::file,
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
    time::msecs_to_jiffies,
    uaccess::UserSliceWriter, //
};

/// How many bytes are requested at a time, at most.
const SIZE: usize = 64;

/// How long a reader waits for the device, in milliseconds.
const PATIENCE_MS: u32 = 5_000;

/// How many buffers an interrupt takes off the virtqueue.
const AT_ONCE: usize = 16;

/// Random bytes, and how many there are.
type Bytes = ([u8; SIZE], usize);

/// The place where a reader waits.
#[pin_data]
struct Waiter {
    #[pin]
    ended: TimedCompletion,
    /// What the device has written. If there is nothing at the end, the device was reset.
    #[pin]
    bytes: Locked<Option<Bytes>>,
}

impl Waiter {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                ended <- TimedCompletion::new(),
                bytes <- new_locked!(None, c"Waiter::bytes"),
            }),
            GFP_KERNEL,
        )
    }
}

/// A buffer on the virtqueue. It owns its memory, so it stays if its reader waits no longer.
pub struct Request {
    bytes: DeviceBuffer<[u8; SIZE]>,
    waiter: Arc<Waiter>,
}

impl Request {
    /// Lets the reader go on. Any context.
    fn end(&self, bytes: Option<Bytes>) {
        *self.waiter.bytes.lock() = bytes;
        self.waiter.ended.complete();
    }
}

/// The virtqueue.
#[pin_data]
pub struct RequestQueue {
    #[pin]
    ring: Virtqueue<KBox<Request>>,
}

impl RequestQueue {
    /// How many virtqueues a device has.
    pub const COUNT: usize = 1;

    /// Makes one that does not exist on the C side yet.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                ring <- new_virtqueue!(c"RequestQueue::ring"),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds a request, and notifies the device.
    fn send(&self, request: KBox<Request>) -> Result {
        let rcu = rcu::read_lock();
        let mut ring = self.ring.lock();
        let added = ring.add(request, |request, chain| {
            chain.writable(&request.bytes, SIZE);
        });
        let notify = ring.kick_prepare(&rcu);

        drop(ring);
        notify.send();
        added.map_err(|(_request, error)| match error {
            AddError::Full | AddError::NoMemory => EAGAIN,
            AddError::Gone => ENODEV,
            AddError::Broken | AddError::Invalid => EIO,
        })
    }

    /// Requests random bytes from the device.
    ///
    /// Process context. Fails with [`EAGAIN`] if too many wait, with [`ETIMEDOUT`] if the device
    /// does not answer, with [`ENODEV`] if it is being reset or is unbound, and with [`EIO`] if it
    /// has violated the protocol.
    fn read(&self) -> Result<Bytes> {
        let waiter = Waiter::new()?;
        let request = Request {
            bytes: DeviceBuffer::default(),
            waiter: waiter.clone(),
        };

        self.send(KBox::new(request, GFP_KERNEL)?)?;
        if !waiter.ended.wait(msecs_to_jiffies(PATIENCE_MS)) {
            return Err(ETIMEDOUT);
        }

        let bytes = waiter.bytes.lock().take();

        match bytes {
            None => Err(ENODEV),
            // It has to place one byte or more into the buffer (virtio 1.3, section 5.4.6.1).
            Some((_, 0)) => Err(EIO),
            Some(bytes) => Ok(bytes),
        }
    }
}

impl Handler for RequestQueue {
    type Token = KBox<Request>;

    fn virtqueue(&self) -> &Virtqueue<Self::Token> {
        &self.ring
    }

    fn name(&self) -> &'static CStr {
        c"request"
    }

    fn has_interrupt(&self) -> bool {
        true
    }

    fn callback(&self, _rcu: RcuSection<'_>) -> Rest {
        for _ in 0..AT_ONCE {
            let Some((request, len)) = self.ring.lock().get_buf() else {
                return Rest::None;
            };
            // Of a length that is too large, as of one that the device has not written, the bytes
            // are the zeroes that the buffer was made of.
            let bytes = request
                .bytes
                .copy(0)
                .map(|bytes| (bytes, SIZE.min(len as usize)));

            request.end(bytes);
        }
        Rest::More
    }

    fn detach_unused(&self, request: Self::Token) {
        request.end(None);
    }
}

/// Each read of the file gets bytes that nobody has got before.
impl BinaryWriter for RequestQueue {
    fn write_to_slice(
        &self,
        writer: &mut UserSliceWriter,
        _offset: &mut file::Offset,
    ) -> Result<usize> {
        let (bytes, len) = self.read()?;
        let len = len.min(writer.len());

        writer.write_slice(bytes.get(..len).unwrap_or_default())?;
        Ok(len)
    }
}
