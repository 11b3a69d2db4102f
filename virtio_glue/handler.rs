// SPDX-License-Identifier: GPL-2.0

//! The objects of a driver that have virtqueues.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use super::{
    bindings,
    virtqueue::{
        detach_unused_buf,
        Virtqueue, //
    },
};
use crate::kernel_glue::{
    Continuation,
    Continue,
    RcuSection,
    Token, //
};
use core::{
    pin::Pin,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// An object that has a virtqueue, and handles the buffers that the device has used.
pub trait Handler: Send + Sync {
    /// The type of its buffers.
    type Token: Token;

    /// Returns its virtqueue. Called once, when the handler is pushed to [`Handlers`].
    fn virtqueue(&self) -> &Virtqueue<Self::Token>;

    /// Returns its name, for the log and `/proc/interrupts`.
    fn name(&self) -> &'static CStr;

    /// Returns whether the virtqueue has an interrupt. One without is polled.
    fn has_interrupt(&self) -> bool;

    /// Called when the device reports that it has used buffers: `callback` of
    /// `struct virtqueue_info`. The device can report so at any rate, also when it has used none.
    ///
    /// Returns whether it has left used buffers, for which no interrupt comes. Then it is called
    /// again. While the device uses more, it must return in bounded time nevertheless.
    ///
    /// Hard interrupt context, or softirq context if it is called again. It must not call
    /// [`Virtqueues`](super::Virtqueues), whose lock is held at the last call. `rcu` proves that it
    /// is called in an RCU read-side critical section.
    fn callback(&self, rcu: RcuSection<'_>) -> Rest;

    /// Takes back a buffer that the device had not used when it was reset. The device does not
    /// access its memory any more.
    ///
    /// Process context. It must not call [`Virtqueues`](super::Virtqueues), whose lock is held.
    fn detach_unused(&self, token: Self::Token);
}

/// Whether a [`Handler`] has left used buffers on its virtqueue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Rest {
    /// None. If the device uses more, an interrupt comes.
    None,
    /// There may be some.
    More,
}

/// [`Handler`] without the type of its token.
pub(super) trait AnyHandler: Send + Sync {
    fn name(&self) -> &'static CStr;
    fn has_interrupt(&self) -> bool;
    fn callback(&self, rcu: RcuSection<'_>) -> Rest;

    /// Returns the C callback of its virtqueue, which finds the handler by `priv` of the device,
    /// and calls it directly.
    fn used_callback(&self) -> unsafe extern "C" fn(*mut bindings::virtqueue);

    /// # Safety
    ///
    /// `raw` must be a live and empty C virtqueue that no other object uses, and which is deleted
    /// only after [`AnyHandler::stop`], an RCU grace period and [`AnyHandler::uninstall`], in this
    /// order.
    unsafe fn install(&self, raw: NonNull<bindings::virtqueue>);

    fn start(&self);

    fn stop(&self);

    fn is_broken(&self) -> bool;

    fn is_present(&self) -> bool;

    fn uninstall(&self) -> Option<NonNull<bindings::virtqueue>>;

    /// # Safety
    ///
    /// As for [`detach_unused_buf`]; `raw` must come from `uninstall` of the same object.
    unsafe fn drain(&self, raw: NonNull<bindings::virtqueue>);
}

/// A handler and its virtqueue.
///
/// # Invariants
///
/// `virtqueue` is part of `handler`, so it is valid while this exists. This has claimed it.
struct Slot<H: Handler> {
    handler: Arc<H>,
    virtqueue: NonNull<Virtqueue<H::Token>>,
}

// SAFETY: The handler is `Send` and `Sync`, and the pointer stands for a reference to a
// `Virtqueue`, which is `Sync`.
unsafe impl<H: Handler> Send for Slot<H> {}

// SAFETY: As above.
unsafe impl<H: Handler> Sync for Slot<H> {}

impl<H: Handler> Slot<H> {
    /// Claims the virtqueue of a handler. Fails with [`EBUSY`] if it was claimed before.
    fn new(handler: Arc<H>) -> Result<Self> {
        let virtqueue = handler.virtqueue();

        if !virtqueue.claim() {
            return Err(EBUSY);
        }

        // INVARIANT: The virtqueue is claimed above. It was borrowed from the handler, which is
        // never borrowed exclusively while this has an `Arc` of it.
        Ok(Self {
            virtqueue: NonNull::from(virtqueue),
            handler,
        })
    }

    /// Calls the handler of a virtqueue, and schedules its softirq work if it has left buffers.
    ///
    /// # Safety
    ///
    /// Called by the virtio core only, when the device reports used buffers, with a live virtqueue.
    /// `priv` of the device must point to a list of places, in which that of the virtqueue's index
    /// has a `Slot<H>`, and which does not change. All transports number the virtqueues in the
    /// order in which the driver names them, and `Virtqueues::create` looks whether they did.
    unsafe extern "C" fn used_callback(vq: *mut bindings::virtqueue) {
        // SAFETY: The caller guarantees that `vq` is live, so its device is valid, and that `priv`
        // of the device points to a list of places.
        let (places, index) = unsafe { (&*(*(*vq).vdev).priv_.cast::<KVec<Place>>(), (*vq).index) };

        if let Some(place) = places.get(index as usize) {
            // SAFETY: The caller guarantees that this is the type of the slot. This is
            // interrupt context, or that of softirqs.
            let (slot, rcu) = unsafe {
                (
                    &*ptr::from_ref::<dyn AnyHandler>(&*place.task).cast::<Self>(),
                    RcuSection::assume(),
                )
            };

            if slot.handler.callback(rcu) == Rest::More {
                place.schedule();
            }
        }
    }

    fn virtqueue(&self) -> &Virtqueue<H::Token> {
        // SAFETY: By the type invariant the virtqueue is valid while `self` is.
        unsafe { self.virtqueue.as_ref() }
    }
}

impl<H: Handler> AnyHandler for Slot<H> {
    fn name(&self) -> &'static CStr {
        self.handler.name()
    }

    fn has_interrupt(&self) -> bool {
        self.handler.has_interrupt()
    }

    fn callback(&self, rcu: RcuSection<'_>) -> Rest {
        self.handler.callback(rcu)
    }

    fn used_callback(&self) -> unsafe extern "C" fn(*mut bindings::virtqueue) {
        Self::used_callback
    }

    unsafe fn install(&self, raw: NonNull<bindings::virtqueue>) {
        // SAFETY: The caller guarantees that `raw` is live, empty and used by no other object, and
        // the order before its deletion. By the type invariant this has claimed the virtqueue.
        unsafe { self.virtqueue().install(raw) };
    }

    fn start(&self) {
        self.virtqueue().start();
    }

    fn stop(&self) {
        self.virtqueue().stop();
    }

    fn is_broken(&self) -> bool {
        self.virtqueue().lock().is_broken()
    }

    fn is_present(&self) -> bool {
        self.virtqueue().lock().is_present()
    }

    fn uninstall(&self) -> Option<NonNull<bindings::virtqueue>> {
        self.virtqueue().uninstall()
    }

    unsafe fn drain(&self, raw: NonNull<bindings::virtqueue>) {
        // SAFETY: The caller guarantees that `raw` is live, that its device was reset, and that it
        // comes from this virtqueue, whose buffers have this type.
        while let Some(token) = unsafe { detach_unused_buf::<H::Token>(raw) } {
            self.handler.detach_unused(token);
        }
    }
}

impl Continue for KBox<dyn AnyHandler> {
    fn go_on(&self) -> bool {
        // SAFETY: This is softirq context.
        self.callback(unsafe { RcuSection::assume() }) == Rest::More
    }
}

/// A handler, and the softirq work that handles the buffers which its interrupts have left.
pub(super) type Place = Pin<KBox<Continuation<KBox<dyn AnyHandler>>>>;

/// A list of handlers, for [`Virtqueues::assign`](super::Virtqueues::assign).
#[derive(Default)]
pub struct Handlers(pub(super) KVec<Place>);

impl Handlers {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self(KVec::new())
    }

    /// Adds the handler of the next virtqueue.
    ///
    /// Fails with [`EBUSY`] if its virtqueue is that of another handler: with two C virtqueues it
    /// would lose the buffers of one.
    pub fn push<H: Handler + 'static>(&mut self, handler: Arc<H>) -> Result {
        let slot: KBox<dyn AnyHandler> = KBox::new(Slot::new(handler)?, GFP_KERNEL)?;
        let place = KBox::pin_init(Continuation::new(slot), GFP_KERNEL)?;

        Ok(self.0.push(place, GFP_KERNEL)?)
    }
}
