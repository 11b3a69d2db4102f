// SPDX-License-Identifier: GPL-2.0

//! All virtqueues of a device, which come and go together.
//!
//! C header: [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

use super::{
    bindings,
    lock::wait_for_rcu,
    virtqueue::take_unused,
    worker::{
        Continuation,
        Continue, //
    },
    Device,
    Locked,
    Token,
    Virtqueue, //
};
use core::{
    pin::Pin,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    device,
    error::to_result,
    ffi::c_uint,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// How long to wait for memory before the virtqueues of a device that is in use are made again, in
/// milliseconds.
const PAUSES: [i64; 3] = [50, 500, 2_000];

/// An object that has a virtqueue and knows what to do when the device has used buffers of it.
pub trait Handler: Send + Sync {
    /// What its buffers are.
    type Token: Token;

    /// Returns its virtqueue. It must be the same each time.
    fn virtqueue(&self) -> &Locked<Virtqueue<Self::Token>>;

    /// Returns its name, for the log and `/proc/interrupts`.
    fn name(&self) -> &'static CStr;

    /// Returns whether it has an interrupt. A virtqueue without one is polled.
    fn has_interrupt(&self) -> bool;

    /// Called when the device says that it has used buffers, in hard interrupt context, and to go on
    /// after that, in softirq context. The device can say so when it has not, and at any rate.
    ///
    /// Others may let the device use more meanwhile, so this must not go on for ever. Returns whether it
    /// has left something, for which no interrupt comes: then it is called again, in softirq context.
    fn used(&self) -> Rest;

    /// Called for each buffer that the device had not used when it was reset for good.
    ///
    /// Process context. The device does not touch the buffer's memory any more.
    fn unused(&self, token: Self::Token);
}

/// Whether a [`Handler`] has left used buffers on its virtqueue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Rest {
    /// It has not. If the device uses more, an interrupt comes.
    None,
    /// It may have.
    More,
}

/// [`Handler`] without the type of its token.
///
/// # Safety
///
/// `take` must give back what was given to `give`.
unsafe trait Slot: Send + Sync {
    fn name(&self) -> &'static CStr;
    fn has_interrupt(&self) -> bool;
    fn used(&self) -> Rest;

    /// # Safety
    ///
    /// As for [`Virtqueue::install`].
    unsafe fn give(&self, raw: NonNull<bindings::virtqueue>);

    fn start(&self);

    fn stop(&self);

    fn is_broken(&self) -> bool;

    fn is_present(&self) -> bool;

    fn take(&self) -> Option<NonNull<bindings::virtqueue>>;

    /// # Safety
    ///
    /// As for [`take_unused`]; `raw` must come from `take` of the same object.
    unsafe fn drain(&self, raw: NonNull<bindings::virtqueue>);
}

// SAFETY: `take` returns what `give` has put under the lock.
unsafe impl<H: Handler> Slot for H {
    fn name(&self) -> &'static CStr {
        Handler::name(self)
    }

    fn has_interrupt(&self) -> bool {
        Handler::has_interrupt(self)
    }

    fn used(&self) -> Rest {
        Handler::used(self)
    }

    unsafe fn give(&self, raw: NonNull<bindings::virtqueue>) {
        // SAFETY: By the safety requirements of this function.
        unsafe { self.virtqueue().lock().install(raw) };
    }

    fn start(&self) {
        self.virtqueue().lock().start();
    }

    fn stop(&self) {
        self.virtqueue().lock().stop();
    }

    fn is_broken(&self) -> bool {
        self.virtqueue().lock().is_broken()
    }

    fn is_present(&self) -> bool {
        self.virtqueue().lock().is_present()
    }

    fn take(&self) -> Option<NonNull<bindings::virtqueue>> {
        self.virtqueue().lock().uninstall()
    }

    unsafe fn drain(&self, raw: NonNull<bindings::virtqueue>) {
        // SAFETY: By the safety requirements of this function.
        while let Some(token) = unsafe { take_unused::<H::Token>(raw) } {
            self.unused(token);
        }
    }
}

impl Continue for Arc<dyn Slot> {
    fn go_on(&self) -> bool {
        self.used() == Rest::More
    }
}

/// A slot, and what goes on in softirq context with what its interrupts have left.
type Place = Pin<KBox<Continuation<Arc<dyn Slot>>>>;

/// All virtqueues of a device, in the order of their index.
///
/// # Invariants
///
/// - While `live` is true, the device has C virtqueues, each given to the slot at the same index, and
///   the device's `priv` points to this object. Otherwise it has none, and no callback comes.
/// - It is pinned: it can only be made in place. `slots` never changes.
#[pin_data(PinnedDrop)]
pub struct Virtqueues {
    dev: ARef<Device>,
    slots: KVec<Place>,
    #[pin]
    live: Mutex<bool>,
}

// SAFETY: The slots are `Send` and `Sync`, and the rest is protected by `live`.
unsafe impl Send for Virtqueues {}

// SAFETY: As above.
unsafe impl Sync for Virtqueues {}

/// A list of handlers, for [`Virtqueues::new`].
#[derive(Default)]
pub struct Handlers(KVec<Place>);

impl Handlers {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self(KVec::new())
    }

    /// Adds the handler of the next virtqueue.
    pub fn push<H: Handler + 'static>(&mut self, handler: Arc<H>) -> Result {
        let slot: Arc<dyn Slot> = handler;
        let place = KBox::pin_init(Continuation::new(slot), GFP_KERNEL)?;

        Ok(self.0.push(place, GFP_KERNEL)?)
    }
}

impl Virtqueues {
    /// Returns the slots, in the order of their index.
    fn slots(&self) -> impl Iterator<Item = &Arc<dyn Slot>> {
        self.slots.iter().map(|place| &place.task)
    }

    /// Makes the set of a device's virtqueues, none of which is live.
    pub fn new(dev: ARef<Device>, handlers: Handlers) -> impl PinInit<Self> {
        // INVARIANT: There are no virtqueues.
        pin_init!(Self {
            dev,
            slots: handlers.0,
            live <- new_mutex!(false),
        })
    }

    /// Creates the first `count` virtqueues, or all if there are fewer. Nothing can be added to them
    /// until they are started. `pre_vectors` is how many at the start have interrupts that are not
    /// to be spread over the CPUs.
    ///
    /// Process context.
    pub fn create(&self, dev: &Device<device::Bound>, count: usize, pre_vectors: u32) -> Result {
        let mut live = self.live.lock();

        if *live || !ptr::eq(dev.as_raw(), self.dev.as_raw()) {
            return Err(EINVAL);
        }

        let count = self.slots.len().min(count);
        let mut raw: KVec<*mut bindings::virtqueue> =
            KVec::from_elem(ptr::null_mut(), count, GFP_KERNEL)?;
        let mut infos: KVec<bindings::virtqueue_info> = KVec::with_capacity(count, GFP_KERNEL)?;

        for slot in self.slots().take(count) {
            infos.push(
                bindings::virtqueue_info {
                    name: slot.name().as_char_ptr(),
                    callback: if slot.has_interrupt() {
                        Some(Self::used_callback)
                    } else {
                        None
                    },
                    ctx: false,
                },
                GFP_KERNEL,
            )?;
        }

        let mut affinity = kernel::bindings::irq_affinity {
            pre_vectors,
            ..pin_init::zeroed()
        };

        // A callback may come as soon as the virtqueues exist, and finds the slots by this.
        //
        // SAFETY: The device is valid, bound to this driver, and `priv` is the driver's to use.
        unsafe { (*dev.as_raw()).priv_ = ptr::from_ref(self).cast_mut().cast() };

        // SAFETY: The device is valid, and `raw` and `infos` have `count` entries each.
        let result = to_result(unsafe {
            bindings::virtio_helper_find_vqs(
                dev.as_raw(),
                c_uint::try_from(count)?,
                raw.as_mut_ptr(),
                infos.as_mut_ptr(),
                &mut affinity,
            )
        });

        // INVARIANT: On success each slot gets its own virtqueue, and `live` becomes true. Else
        // `virtio_find_vqs()` has deleted what it had made.
        if result.is_ok() {
            *live = true;
            for (slot, raw) in self.slots().zip(&raw) {
                if let Some(raw) = NonNull::new(*raw) {
                    // SAFETY: `raw` was created just now, and is only given to this slot. It is
                    // deleted by `delete`, which takes it away first.
                    unsafe { slot.give(raw) };
                }
            }
        }

        result
    }

    /// Does what `create` does for a device that was reset and is needed: if memory is short, tries
    /// again a few times, after [`PAUSES`].
    ///
    /// Process context.
    pub fn create_again(
        &self,
        dev: &Device<device::Bound>,
        count: usize,
        pre_vectors: u32,
    ) -> Result {
        for pause in PAUSES {
            match self.create(dev, count, pre_vectors) {
                Err(error) if error == ENOMEM => fsleep(Delta::from_millis(pause)),
                result => return result,
            }
        }
        self.create(dev, count, pre_vectors)
    }

    /// Sets `DRIVER_OK`, and allows to add to the virtqueues.
    ///
    /// A device must not be notified before `DRIVER_OK`, so nobody gets to do it.
    ///
    /// Process context.
    pub fn start(&self, dev: &Device<device::Bound>) {
        dev.ready();
        for slot in self.slots() {
            slot.start();
        }
    }

    /// Returns whether the device was taken away without notice, or somebody has said so: what the
    /// transport finds missing, it marks as broken with all its virtqueues.
    ///
    /// Process context.
    pub fn are_lost(&self) -> bool {
        let live = self.live.lock();

        // A device that came back from a reset with fewer queues has slots without a virtqueue.
        let mut present = self.slots().filter(|slot| slot.is_present()).peekable();

        *live
            && (self.dev.is_gone()
                || present.peek().is_some() && present.all(|slot| slot.is_broken()))
    }

    /// Returns whether any virtqueue is broken: the device has violated its protocol, and only a reset
    /// helps.
    ///
    /// Process context.
    pub fn is_any_broken(&self) -> bool {
        self.slots().any(|slot| slot.is_broken())
    }

    /// Resets the device, unless it is gone, hands what it had not used to [`Handler::unused`], and
    /// deletes the virtqueues. Does nothing if there are none.
    ///
    /// Process context. When it returns no callback runs and none will.
    pub fn delete(&self) {
        let mut live = self.live.lock();

        if !*live {
            return;
        }

        // A device may get stuck when it is notified after it was reset: see to it that nobody
        // does, and wait for those who still hold a `Notify`.
        for slot in self.slots() {
            slot.stop();
        }
        wait_for_rcu();

        // After this the device does not touch memory any more, and no callback runs.
        if self.dev.is_gone() {
            // SAFETY: The device is valid, and it is still bound to this driver, because its
            // virtqueues exist.
            unsafe {
                bindings::virtio_break_device(self.dev.as_raw());
                bindings::virtio_helper_synchronize_cbs(self.dev.as_raw());
            }
        } else {
            // SAFETY: As above.
            unsafe { bindings::virtio_reset_device(self.dev.as_raw()) };
        }

        for place in &self.slots {
            let slot = &place.task;

            place.cancel();
            // What it has used up to the reset counts as used.
            while slot.used() == Rest::More {}

            if let Some(raw) = slot.take() {
                // SAFETY: `raw` was taken from the slot under its lock, so nobody else uses it, and
                // the device was reset.
                unsafe { slot.drain(raw) };
            }
        }

        // SAFETY: The device is valid, every transport has `del_vqs`, and no slot has a virtqueue.
        unsafe {
            if let Some(del_vqs) = (*(*self.dev.as_raw()).config).del_vqs {
                del_vqs(self.dev.as_raw());
            }
            (*self.dev.as_raw()).priv_ = ptr::null_mut();
        }

        // INVARIANT: The virtqueues are gone, and so are their callbacks.
        *live = false;
    }

    /// Called when a virtqueue has used buffers, or when the device says so.
    ///
    /// # Safety
    ///
    /// Called by the virtio core only, with a live virtqueue that `create` made.
    unsafe extern "C" fn used_callback(vq: *mut bindings::virtqueue) {
        // SAFETY: By the safety requirements of this function `vq` is live, so its device is valid,
        // and by the type invariant its `priv` points to the `Virtqueues` that made it.
        let this = unsafe { &*(*(*vq).vdev).priv_.cast::<Self>() };

        // SAFETY: `vq` is live.
        let index = unsafe { (*vq).index };

        if let Some(place) = this.slots.get(index as usize) {
            if place.task.used() == Rest::More {
                place.schedule();
            }
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Virtqueues {
    fn drop(self: Pin<&mut Self>) {
        // A probe that fails after the virtqueues were created gets here with them live.
        self.delete();
    }
}
