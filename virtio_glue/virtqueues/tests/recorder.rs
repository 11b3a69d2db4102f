// SPDX-License-Identifier: GPL-2.0

//! The handler of the tests' virtqueues.

use crate::{
    kernel_glue::{
        new_locked,
        DeviceBuffer,
        Locked, //
        RcuSection,
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
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc, //
    },
};

/// How many buffers a [`Recorder`] can note.
pub(super) const TOKENS: usize = 16;

/// A buffer on a virtqueue: a number, and memory that the device writes.
pub(super) type Buffer = KBox<(u8, DeviceBuffer<[u8; 1]>)>;

/// A handler that notes which buffers came back from its virtqueue.
#[pin_data]
pub(super) struct Recorder {
    #[pin]
    pub(super) ring: Virtqueue<Buffer>,
    /// The number of each buffer that was used, and the byte that the device has written to it.
    #[pin]
    used: Locked<KVec<(u8, u8)>>,
    /// The number of each buffer that came back without being used.
    #[pin]
    unused: Locked<KVec<u8>>,
    /// How many buffers it takes in a call. With [`TOKENS`], it takes all of them together.
    at_once: usize,
    /// How many it was told that it took together.
    pub(super) together: Atomic<u32>,
    /// How often it was called for used buffers.
    pub(super) calls: Atomic<u32>,
}

impl Recorder {
    /// Makes one that takes `at_once` buffers in a call, and then leaves the rest.
    pub(super) fn new(at_once: usize) -> Result<Arc<Self>> {
        let used = KVec::with_capacity(TOKENS, GFP_KERNEL)?;
        let unused = KVec::with_capacity(TOKENS, GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                ring <- new_virtqueue!(c"Recorder::ring"),
                used <- new_locked!(used, c"Recorder::used"),
                unused <- new_locked!(unused, c"Recorder::unused"),
                at_once,
                together: Atomic::new(0),
                calls: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds a buffer and notifies the device. Returns the reason if it could not be added.
    pub(super) fn add(&self, number: u8) -> Result<Option<AddError>> {
        let token = KBox::new((number, DeviceBuffer::default()), GFP_KERNEL)?;
        let rcu = rcu::read_lock();
        let mut ring = self.ring.lock();
        let added = ring.add(token, |token, chain| chain.writable(&token.1, 1));
        let notify = ring.kick_prepare(&rcu);

        drop(ring);
        notify.send();
        Ok(added.err().map(|(_, error)| error))
    }

    /// Returns whether exactly these buffers were used, given by number and written byte.
    pub(super) fn has_used(&self, expected: &[(u8, u8)]) -> bool {
        **self.used.lock() == *expected
    }

    /// Returns whether exactly these buffers came back without being used.
    pub(super) fn has_unused(&self, expected: &[u8]) -> bool {
        **self.unused.lock() == *expected
    }
}

impl Handler for Recorder {
    type Token = Buffer;

    fn virtqueue(&self) -> &Virtqueue<Buffer> {
        &self.ring
    }

    fn name(&self) -> &'static CStr {
        c"recorder"
    }

    fn has_interrupt(&self) -> bool {
        true
    }

    fn callback(&self, _rcu: RcuSection<'_>) -> Rest {
        let note = |token: Buffer| {
            let [byte] = token.1.copy(0).unwrap_or([0xff]);
            let _ = self.used.lock().push_within_capacity((token.0, byte));
        };

        self.calls.fetch_add(1, Relaxed);
        if self.at_once == TOKENS {
            self.together
                .fetch_add(self.ring.lock().take_used(note), Relaxed);
            return Rest::None;
        }
        for _ in 0..self.at_once {
            let Some((token, _)) = self.ring.lock().get_buf() else {
                return Rest::None;
            };
            note(token);
        }
        Rest::More
    }

    fn detach_unused(&self, token: Buffer) {
        let _ = self.unused.lock().push_within_capacity(token.0);
    }
}
