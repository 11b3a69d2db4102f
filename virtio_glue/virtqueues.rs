// SPDX-License-Identifier: GPL-2.0

//! The set of all virtqueues of a device, which are created and deleted together.
//!
//! A driver cannot make a [`Virtqueues`]. The adapter makes one before the probe, and deletes the
//! virtqueues for good after the device is unbound, or after a failed probe. So a device never has
//! two sets, a driver cannot leave virtqueues behind, and its references to a set that is retired
//! do nothing.
//!
//! # Misuse that does not compile
//!
//! In `examples/virtio_rng/misuse/`: a second set, and a set that is retired by the driver (E0624).
//!
//! C header: [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

use super::{
    bindings,
    handler::{
        AnyHandler,
        Place, //
    },
    interrupts::InterruptLine,
    Device,
    Handlers,
    Rest, //
};
use crate::kernel_glue::{
    wait_for_rcu,
    BusInterrupts, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    error::to_result,
    ffi::c_uint,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        rcu,
        Mutex,
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// The delays before each new attempt to create virtqueues when memory is short, in milliseconds.
const RETRY_DELAYS_MS: [i64; 3] = [50, 500, 2_000];

/// How often a handler is called for what the device had used before it was reset. Each call but
/// the last takes a buffer, and a virtqueue has 32,768 at most (virtio 1.3, section 2.7.2).
const CALLS_MAX: usize = 32_769;

/// The presence of C virtqueues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    /// There are none.
    Absent,
    /// There are some.
    Live,
    /// There are none, and will be none.
    Retired,
}

/// The interrupt line of the device's PCI function.
enum Line {
    /// It is not held.
    Free,
    /// It is held.
    Held(#[expect(dead_code, reason = "it is only dropped")] InterruptLine),
    /// It is not held, and cannot be: the function is being reset, or the device was retired.
    Barred,
}

/// All virtqueues of a device, in the order of their index.
///
/// # Invariants
///
/// - While `presence` is `Live`, the device has C virtqueues, each installed in the handler at the
///   same index, whose callback it has if it interrupts, and `priv` of the device points to the
///   list in `places`. Otherwise it has none, and no callback runs.
/// - The device is bound to its driver until `presence` is `Retired`.
/// - It is pinned: only an initialiser makes one. `places` never changes once it is set.
#[pin_data]
pub struct Virtqueues {
    dev: ARef<Device>,
    places: SetOnce<KVec<Place>>,
    #[pin]
    presence: Mutex<Presence>,
    #[pin]
    line: Mutex<Line>,
}

impl Virtqueues {
    /// Makes an initialiser for the set of virtqueues of a device that has none.
    ///
    /// # Safety
    ///
    /// Until [`Virtqueues::retire`] is called, the device must be bound, must have no other set,
    /// and nothing else may use its `priv`.
    pub(super) unsafe fn new(dev: ARef<Device>) -> impl PinInit<Self> {
        // INVARIANT: The device has no virtqueues, and the caller guarantees that it is bound.
        pin_init!(Self {
            dev,
            places: SetOnce::new(),
            presence <- new_mutex!(Presence::Absent),
            line <- new_mutex!(Line::Free),
        })
    }

    /// Returns the places of the handlers, in the order of their index.
    fn places(&self) -> &[Place] {
        self.places.as_ref().map_or(&[], |places| places)
    }

    /// Returns the handlers, in the order of their index.
    fn handlers(&self) -> impl Iterator<Item = &dyn AnyHandler> {
        self.places().iter().map(|place| &*place.task)
    }

    /// Sets the handlers of the virtqueues, in the order of their index. Fails with [`EBUSY`] the
    /// second time.
    pub fn assign(&self, handlers: Handlers) -> Result {
        self.places.populate(handlers.0).then_some(()).ok_or(EBUSY)
    }

    /// Creates the virtqueues of the first `count` handlers, or of all if there are fewer:
    /// `virtio_find_vqs()`. Nothing can be added to them before [`Virtqueues::start`]. The
    /// interrupts of the first `pre_vectors` are not spread over the CPUs.
    ///
    /// Process context. Fails with [`EBUSY`] if there are virtqueues, and with [`ENODEV`] after the
    /// device was unbound.
    pub fn create(&self, count: usize, pre_vectors: u32) -> Result {
        let mut presence = self.presence.lock();

        match *presence {
            Presence::Absent => {}
            Presence::Live => return Err(EBUSY),
            Presence::Retired => return Err(ENODEV),
        }

        let places = self.places.as_ref().ok_or(EINVAL)?;
        let count = places.len().min(count);
        let mut raw: KVec<*mut bindings::virtqueue> =
            KVec::from_elem(ptr::null_mut(), count, GFP_KERNEL)?;
        let mut infos: KVec<bindings::virtqueue_info> = KVec::with_capacity(count, GFP_KERNEL)?;

        for handler in self.handlers().take(count) {
            infos.push(
                bindings::virtqueue_info {
                    name: handler.name().as_char_ptr(),
                    callback: handler.has_interrupt().then(|| handler.used_callback()),
                    ctx: false,
                },
                GFP_KERNEL,
            )?;
        }

        let mut affinity = kernel::bindings::irq_affinity {
            pre_vectors,
            ..pin_init::zeroed()
        };
        let nvqs = c_uint::try_from(count)?;

        // Before the virtqueues exist, whose callbacks find the handlers by it.
        //
        // SAFETY: By the type invariant the device is bound, and by the requirements of `new` only
        // this uses its `priv`.
        unsafe { (*self.dev.as_raw()).priv_ = ptr::from_ref(places).cast_mut().cast() };

        // SAFETY: By the type invariant the device is bound. It has no virtqueues. `raw` and
        // `infos` have `nvqs` entries each.
        let result = to_result(unsafe {
            bindings::virtio_helper_find_vqs(
                self.dev.as_raw(),
                nvqs,
                raw.as_mut_ptr(),
                infos.as_mut_ptr(),
                &mut affinity,
            )
        });

        // The callback of a virtqueue finds its handler by the index, which the transports count
        // as the entries are.
        let is_other = |(position, raw): (usize, &*mut bindings::virtqueue)| {
            // SAFETY: On success each entry is a live virtqueue, or null.
            unsafe { raw.as_ref() }.is_some_and(|raw| raw.index as usize != position)
        };

        if result.is_ok() && raw.iter().enumerate().any(is_other) {
            // SAFETY: The device is bound, and nothing uses its virtqueues yet.
            unsafe { self.del_vqs() };
            return Err(EINVAL);
        }

        // INVARIANT: On success each handler gets the virtqueue of its index, and `presence`
        // becomes `Live`. Otherwise `virtio_find_vqs()` has deleted what it had created.
        if result.is_ok() {
            *presence = Presence::Live;
            for (handler, raw) in self.handlers().zip(&raw) {
                if let Some(raw) = NonNull::new(*raw) {
                    // SAFETY: `raw` is new, so it is live and empty, and only this handler gets it.
                    // Only `delete_under` deletes it, after the stop, a grace period, and
                    // `uninstall`.
                    unsafe { handler.install(raw) };
                }
            }
        }

        result
    }

    /// Like [`Virtqueues::create`], but retries on [`ENOMEM`], after [`RETRY_DELAYS_MS`]: a failure
    /// after a reset may lose the root disk.
    ///
    /// Process context.
    pub fn create_again(&self, count: usize, pre_vectors: u32) -> Result {
        for delay in RETRY_DELAYS_MS {
            match self.create(count, pre_vectors) {
                Err(error) if error == ENOMEM => fsleep(Delta::from_millis(delay)),
                result => return result,
            }
        }
        self.create(count, pre_vectors)
    }

    /// Calls `f` with the interrupts of the virtqueues, which stay meanwhile. Their numbers are the
    /// indices of the virtqueues.
    ///
    /// Process context. `f` must not create or delete virtqueues.
    pub fn with_interrupts<R>(&self, f: impl FnOnce(&BusInterrupts<'_>) -> R) -> R {
        let _presence = self.presence.lock();
        let count = self
            .handlers()
            .take_while(|handler| handler.is_present())
            .count();

        // SAFETY: Each of these handlers has a virtqueue, by the type invariant, and the index of
        // each is a number that the transport takes. Under the lock none is deleted.
        let interrupts = unsafe {
            BusInterrupts::new(
                ptr::from_ref(&(*self.dev.as_raw()).dev),
                count.try_into().unwrap_or(u32::MAX),
            )
        };

        f(&interrupts)
    }

    /// Sets `DRIVER_OK`, and starts the virtqueues. Does nothing if there are none.
    ///
    /// The device must not be notified before `DRIVER_OK`, so nothing can be added before this.
    ///
    /// Process context.
    pub fn start(&self) {
        let presence = self.presence.lock();

        if *presence == Presence::Live {
            // SAFETY: By the type invariant the device is bound.
            unsafe { self.dev.ready_raw() };
            for handler in self.handlers() {
                handler.start();
            }
        }
    }

    /// Returns whether the device was unplugged without notice: its status shows it, or the
    /// transport has noticed it and marked all virtqueues broken.
    ///
    /// Process context.
    pub fn are_lost(&self) -> bool {
        let presence = self.presence.lock();

        // After a reset to fewer queues, some handlers have no virtqueue.
        let mut present = self
            .handlers()
            .filter(|handler| handler.is_present())
            .peekable();

        // SAFETY: By the type invariant the device is bound.
        let is_gone = || unsafe { self.dev.is_gone_raw() };

        *presence == Presence::Live
            && (is_gone() || present.peek().is_some() && present.all(|handler| handler.is_broken()))
    }

    /// Returns whether any virtqueue is broken: the device has violated its protocol, and nothing
    /// can be added before a reset.
    ///
    /// Process context.
    pub fn is_any_broken(&self) -> bool {
        self.handlers().any(|handler| handler.is_broken())
    }

    /// Returns whether the device has asked for a reset (`DEVICE_NEEDS_RESET`). False without
    /// virtqueues, and for a device that is gone.
    ///
    /// Process context.
    pub fn needs_reset(&self) -> bool {
        let presence = self.presence.lock();

        // SAFETY: By the type invariant the device is bound.
        *presence == Presence::Live && unsafe { self.dev.needs_reset_raw() }
    }

    /// Allocates the interrupt line of the device's PCI function, if it can, and keeps it, so that
    /// the virtqueues can use it when no vectors are free. `name` is for `/proc/interrupts`.
    ///
    /// Process context.
    pub fn hold_line(&self, name: &'static CStr) {
        let presence = self.presence.lock();
        let mut line = self.line.lock();

        if let (Presence::Absent | Presence::Live, Line::Free) = (&*presence, &*line) {
            // SAFETY: By the type invariant the device is bound. `retire` drops the line before it
            // is unbound, and `bar_line` before the transport resets the function.
            if let Ok(held) = unsafe { InterruptLine::hold(&self.dev, name) } {
                *line = Line::Held(held);
            }
        }
    }

    /// Frees the interrupt line, and lets nobody have it until [`Self::unbar_line`]: the PCI core
    /// may free the interrupt when the transport resets the function.
    ///
    /// Process context.
    pub(super) fn bar_line(&self) {
        *self.line.lock() = Line::Barred;
    }

    /// Lets the driver have the interrupt line again.
    ///
    /// Process context.
    pub(super) fn unbar_line(&self) {
        let mut line = self.line.lock();

        if let Line::Barred = *line {
            *line = Line::Free;
        }
    }

    /// Resets the device, unless it is gone, hands the buffers that it had not used to
    /// [`Handler::detach_unused`](super::Handler::detach_unused), and deletes the virtqueues. Does
    /// nothing if there are none.
    ///
    /// Process context. When this returns, no callback runs, and none will before
    /// [`Virtqueues::create`].
    pub fn delete(&self) {
        self.delete_under(&mut self.presence.lock());
    }

    /// Deletes the virtqueues for good. From here on this does not use the device.
    ///
    /// Process context.
    pub(super) fn retire(&self) {
        let mut presence = self.presence.lock();

        self.delete_under(&mut presence);
        *presence = Presence::Retired;
        self.bar_line();
    }

    /// Deletes the C virtqueues: `del_vqs` of `struct virtio_config_ops`.
    ///
    /// # Safety
    ///
    /// The device must be bound, and nothing may use its virtqueues any more.
    unsafe fn del_vqs(&self) {
        let dev = self.dev.as_raw();

        // SAFETY: The caller guarantees both. No callback runs after this that would use `priv`.
        unsafe {
            if let Some(del_vqs) = (*(*dev).config).del_vqs {
                del_vqs(dev);
            }
            (*dev).priv_ = ptr::null_mut();
        }
    }

    /// Does the work of [`Virtqueues::delete`], with the lock of `presence` held.
    fn delete_under(&self, presence: &mut Presence) {
        if *presence != Presence::Live {
            return;
        }

        // Some devices hang if they are notified after a reset. So no new notification is prepared,
        // and those that are (`Notify`) are waited for.
        for handler in self.handlers() {
            handler.stop();
        }
        wait_for_rcu();

        // After this the device does not access memory any more, and no callback runs.
        //
        // SAFETY: By the type invariant the device is bound.
        unsafe {
            if self.dev.is_gone_raw() {
                bindings::virtio_break_device(self.dev.as_raw());
                bindings::virtio_helper_synchronize_cbs(self.dev.as_raw());
            } else {
                bindings::virtio_reset_device(self.dev.as_raw());
            }
        }

        for place in self.places() {
            let handler = &place.task;

            place.cancel();
            // The buffers that the device has used before the reset are handled as used. A device
            // that goes on writing to the ring could make up more of them without end.
            for _ in 0..CALLS_MAX {
                if handler.callback((&rcu::read_lock()).into()) == Rest::None {
                    break;
                }
            }

            if let Some(raw) = handler.uninstall() {
                // SAFETY: `raw` comes from `uninstall`, so no other thread uses it, and the device
                // was reset.
                unsafe { handler.drain(raw) };
            }
        }

        // SAFETY: By the type invariant the device is bound, and no handler uses a virtqueue any
        // more.
        unsafe { self.del_vqs() };

        // INVARIANT: The device has no virtqueues, and no callback runs.
        *presence = Presence::Absent;
    }
}

#[cfg(CONFIG_KUNIT = "y")]
mod tests;
