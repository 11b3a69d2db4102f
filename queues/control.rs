// SPDX-License-Identifier: GPL-2.0

//! The controlq: task management functions.

use super::{
    shared::Shared,
    wire::{
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
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

/// How many task management functions a host can have under way.
///
/// The midlayer aborts commands one by one, and resets one logical unit at a time; a few more come
/// from `sg_reset`.
const SLOTS: usize = 16;

/// How often the driver says that it still waits, in milliseconds.
const PATIENCE: u32 = 30_000;

/// Someone who waits for a task management function.
#[pin_data]
struct Waiter {
    #[pin]
    done: TimedCompletion,
    /// The response code, once there is one.
    #[pin]
    response: Locked<Option<u8>>,
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

/// What a task management function exchanges with the device.
///
/// It is on the virtqueue from the time it is sent until the device has answered or was reset,
/// whether or not anybody still waits for the answer.
pub struct Slot {
    request: TaskManagementRequest,
    response: DeviceBuffer<[u8; 1]>,
    waiter: Arc<Waiter>,
}

/// A response code that does not exist: a device that completes a function without writing a
/// response is not taken to have carried it out.
const PRESET: [u8; 1] = [0xff];

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
                    request: TaskManagementRequest::default(),
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
    /// Process context. Fails if too many are under way, or if the controlq is broken. It waits for
    /// as long as the device takes: until the device has answered, it may still transfer data of
    /// the commands that the function is about.
    pub(super) fn execute(&self, function: TaskManagement, lun: [u8; 8], tag: u64) -> Result<u8> {
        let mut slot = self.idle.lock().pop().ok_or(EBUSY)?;
        let waiter = slot.waiter.clone();

        slot.request.fill(self.shared.order(), function, lun, tag);
        slot.response.preset(PRESET);
        waiter.done.reset();
        *waiter.response.lock() = None;

        self.send(slot)?;

        let patience: Jiffies = msecs_to_jiffies(PATIENCE);

        while !waiter.done.wait(patience) {
            if self.ring.lock().is_broken() {
                return Err(EIO);
            }
            dev_warn!(
                self.shared.dev(),
                "still waiting for the device to answer {}\n",
                function.name()
            );
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
            chain.writable(&slot.response, 1);
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
                    AddError::Broken => EIO,
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
    fn finish(&self, slot: KBox<Slot>, response: Option<u8>) {
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
            let used = self.ring.lock().take_used();

            match used {
                Some((slot, _len)) => {
                    let response = slot.response.copy::<1>(0).map(|[code]| code);

                    self.finish(slot, response);
                }
                None => break,
            }
        }
    }

    fn unused(&self, slot: Self::Token) {
        self.finish(slot, None);
    }
}
