// SPDX-License-Identifier: GPL-2.0

//! A virtqueue: adding buffers, getting them back, notifying the device.
//!
//! Only a [`VirtqueueGuard`], which holds the lock, gives access to the C virtqueue. It can neither
//! be moved out of the lock nor kept after it.
//!
//! # Misuse that does not compile
//!
//! In `examples/virtio_rng/misuse/`: a virtqueue that is moved out of its lock (E0614) or used
//! after its owner is gone (E0515); a buffer that is no token (E0277), is a token of another type
//! (E0308), or is used after it was added (E0382, E0521); a notification that is sent twice
//! (E0382), or after the RCU critical section in which the virtqueue exists (E0505, E0515).
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use super::{
    bindings,
    chain::{
        Chain,
        Storage, //
    }, //
};
use crate::kernel_glue::{
    IrqSave,
    Locked,
    RcuSection,
    Token, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::{
        lock,
        LockClassKey, //
    },
};

/// The reason why a buffer was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddError {
    /// Too few descriptors are free, until the device uses some buffers.
    Full,
    /// No memory for descriptors, or no mapping for DMA: a bounce buffer or an IOMMU is full for
    /// now, or too small for the buffer.
    NoMemory,
    /// The virtqueue is broken: nothing can be added before a reset.
    Broken,
    /// The virtqueue does not exist or is stopped: the device is being reset, or was for good.
    Gone,
    /// The driver has described memory that the token does not own, or more pieces than a [`Chain`]
    /// has room for.
    Invalid,
}

/// The data that the lock of a virtqueue protects.
///
/// # Invariants
///
/// - `raw`, if not `None`, is a live C virtqueue. Only the slot that has claimed this sets and
///   clears it. `open` is either `raw` or `None`. Before the C virtqueue is deleted, the slot
///   clears `open`, an RCU grace period passes, and the slot clears `raw`.
/// - Every buffer in the C virtqueue is a token of the type of the [`Virtqueue`].
#[derive(Default)]
struct Ring {
    raw: Option<NonNull<bindings::virtqueue>>,
    /// The C virtqueue, unless adding and notifying are off. Used buffers can still be taken then.
    open: Option<NonNull<bindings::virtqueue>>,
    /// Whether a slot has claimed this.
    claimed: bool,
    /// How many buffers were added.
    added: u64,
    /// How many buffers were taken back, used or unused.
    taken: u64,
}

// SAFETY: Any thread can use a C virtqueue, one at a time.
unsafe impl Send for Ring {}

/// A virtqueue whose buffers are tokens of type `T`: `struct virtqueue`, and the lock that
/// serialises its operations.
///
/// It is part of a [`Handler`](super::Handler). [`Virtqueues`](super::Virtqueues) gives it a C
/// virtqueue.
#[pin_data]
pub struct Virtqueue<T: Token> {
    #[pin]
    ring: Locked<Ring>,
    /// It returns tokens through a shared reference.
    _token: PhantomData<fn() -> T>,
}

/// Makes an initialiser for a [`Virtqueue`] whose lock has a name and a class of its own.
macro_rules! new_virtqueue {
    ($name:literal) => {
        $crate::virtio_glue::Virtqueue::new($name, kernel::static_lock_class!())
    };
}
pub(crate) use new_virtqueue;

impl<T: Token> Virtqueue<T> {
    /// Makes an initialiser for a virtqueue without a C virtqueue. See `new_virtqueue!`.
    pub fn new(name: &'static CStr, class: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        // INVARIANT: There is no C virtqueue.
        pin_init!(Self {
            ring <- Locked::new(Ring::default(), name, class),
            _token: PhantomData,
        })
    }

    /// Locks the virtqueue. Any context. The owner of the guard must not sleep.
    #[inline]
    pub fn lock(&self) -> VirtqueueGuard<'_, T> {
        VirtqueueGuard {
            ring: self.ring.lock(),
            _token: PhantomData,
        }
    }

    /// Claims the virtqueue for a slot. Returns false if another slot has claimed it.
    pub(super) fn claim(&self) -> bool {
        !core::mem::replace(&mut self.ring.lock().claimed, true)
    }

    /// Sets the C virtqueue, stopped.
    ///
    /// # Safety
    ///
    /// `raw` must be a live and empty C virtqueue that no other object uses, and which is deleted
    /// only after [`Virtqueue::stop`], an RCU grace period and [`Virtqueue::uninstall`], in this
    /// order. The caller must be the slot that has claimed this.
    pub(super) unsafe fn install(&self, raw: NonNull<bindings::virtqueue>) {
        let mut ring = self.ring.lock();

        // INVARIANT: The caller is the slot that has claimed this. It guarantees that `raw` is live
        // and empty, and the order before its deletion.
        ring.raw = Some(raw);
        ring.open = None;
    }

    /// Starts the virtqueue: from here on buffers can be added.
    pub(super) fn start(&self) {
        let mut ring = self.ring.lock();

        ring.open = ring.raw;
    }

    /// Stops the virtqueue: from here on nothing is added, and after an RCU grace period no
    /// notification is under way.
    pub(super) fn stop(&self) {
        self.ring.lock().open = None;
    }

    /// Clears the C virtqueue and returns it.
    pub(super) fn uninstall(&self) -> Option<NonNull<bindings::virtqueue>> {
        let mut ring = self.ring.lock();

        ring.taken = ring.added;
        ring.open = None;
        ring.raw.take()
    }
}

/// A virtqueue, and its lock, which is held.
pub struct VirtqueueGuard<'a, T: Token> {
    ring: lock::Guard<'a, Ring, IrqSave>,
    _token: PhantomData<fn() -> T>,
}

impl<T: Token> VirtqueueGuard<'_, T> {
    /// Adds a token, whose memory `describe` adds to a chain: `virtqueue_add_sgs()`.
    ///
    /// The device sees the buffer after the next notification, or sooner. On error the token comes
    /// back.
    #[inline]
    pub fn add(
        &mut self,
        token: T,
        describe: impl for<'a> FnOnce(&'a T, &mut Chain<'a>),
    ) -> Result<(), (T, AddError)> {
        let Some(raw) = self.ring.open else {
            return Err((token, AddError::Gone));
        };

        // The virtqueue owns the token from here on, unless adding fails.
        let token = ManuallyDrop::new(token);
        let mut storage = Storage::new();
        let mut chain = Chain::new::<T>(&token, &mut storage);
        describe(&token, &mut chain);

        if !chain.is_valid() {
            return Err((ManuallyDrop::into_inner(token), AddError::Invalid));
        }

        let (lists, readable, writable) = chain.as_raw();

        // SAFETY: `token` is not used after this. The chain still borrows its memory, which `Token`
        // promises to leave in place.
        let data = unsafe { ptr::read(&*token) }.into_raw();

        // SAFETY: By the type invariant `raw` is a live virtqueue, and its lock is held. `lists`
        // has `readable + writable` terminated scatterlists, whose memory is valid while the token
        // is on the virtqueue.
        let err = unsafe {
            bindings::virtqueue_add_sgs(
                raw.as_ptr(),
                lists,
                readable,
                writable,
                data.as_ptr(),
                kernel::bindings::GFP_ATOMIC,
            )
        };

        if err == 0 {
            self.ring.added = self.ring.added.wrapping_add(1);
            return Ok(());
        }

        // SAFETY: `data` comes from `into_raw` above, and was not added, so it is converted back
        // once.
        let token = unsafe { T::from_raw(data) };

        // SAFETY: By the type invariant `raw` is a live virtqueue.
        let broken = unsafe { bindings::virtqueue_is_broken(raw.as_ptr()) };

        Err((token, Self::add_error(err, broken)))
    }

    /// Returns the reason for an error of `virtqueue_add_sgs()`. `broken` is the state of the
    /// virtqueue: a packed ring returns `-EIO` both if it is broken and if the mapping fails.
    #[cold]
    fn add_error(err: c_int, broken: bool) -> AddError {
        if broken {
            AddError::Broken
        } else if err == ENOSPC.to_errno() {
            AddError::Full
        } else {
            AddError::NoMemory
        }
    }

    /// Returns a token that the device has used, and the number of bytes that the device claims to
    /// have written, which must not be trusted: `virtqueue_get_buf()`.
    #[inline]
    pub fn get_buf(&mut self) -> Option<(T, u32)> {
        let raw = self.ring.raw?;
        let mut len: c_uint = 0;

        // SAFETY: By the type invariant `raw` is a live virtqueue, and its lock is held.
        let data = unsafe { bindings::virtqueue_get_buf(raw.as_ptr(), &mut len) };

        let data = NonNull::new(data)?;

        self.ring.taken = self.ring.taken.wrapping_add(1);

        // SAFETY: By the type invariant `data` comes from `T::into_raw`. It is converted back once:
        // the virtio core keeps it where the device cannot write, checks the identifier that the
        // device has written, and clears the entry when it returns it.
        Some((unsafe { T::from_raw(data) }, len))
    }

    /// Hands all tokens that the device has used to `take`, as [`Self::get_buf`] returns them, but
    /// without the number of bytes that the device claims to have written. Returns how many.
    #[inline]
    pub fn take_used(&mut self, mut take: impl FnMut(T)) -> u32 {
        let mut count: u32 = 0;

        if let Some(raw) = self.ring.raw {
            let mut len: c_uint = 0;
            // SAFETY: By the type invariant `raw` is a live virtqueue, and its lock is held.
            let mut next = || unsafe { bindings::virtqueue_get_buf(raw.as_ptr(), &mut len) };

            while let Some(data) = NonNull::new(next()) {
                count = count.wrapping_add(1);
                // SAFETY: As in `get_buf`.
                take(unsafe { T::from_raw(data) });
            }
        }
        self.ring.taken = self.ring.taken.wrapping_add(count.into());
        count
    }

    /// Returns how many buffers were taken back since [`Virtqueue::new`].
    pub fn taken(&self) -> u64 {
        self.ring.taken
    }

    /// Returns how many buffers are on the virtqueue.
    pub fn in_flight(&self) -> u64 {
        self.ring.added.wrapping_sub(self.ring.taken)
    }

    /// Asks the device not to interrupt when it uses buffers, as a hint: `virtqueue_disable_cb()`.
    #[inline]
    pub fn disable_cb(&mut self) {
        if let Some(raw) = self.ring.raw {
            // SAFETY: By the type invariant `raw` is a live virtqueue, and its lock is held.
            unsafe { bindings::virtqueue_disable_cb(raw.as_ptr()) };
        }
    }

    /// Asks the device to interrupt again: `virtqueue_enable_cb()`. Returns false if it has used
    /// buffers since, for which no interrupt might come.
    #[inline]
    #[must_use]
    pub fn enable_cb(&mut self) -> bool {
        self.ring.raw.is_none_or(|raw| {
            // SAFETY: By the type invariant `raw` is a live virtqueue, and its lock is held.
            unsafe { bindings::virtqueue_enable_cb(raw.as_ptr()) }
        })
    }

    /// Prepares the notification of the device about what was added since the last one, if it wants
    /// one: `virtqueue_kick_prepare()`.
    ///
    /// [`Notify::send`] sends it, which does not need the lock, and should be called without it: it
    /// may exit to the hypervisor.
    #[inline]
    pub fn kick_prepare<'rcu>(&mut self, _rcu: impl Into<RcuSection<'rcu>>) -> Notify<'rcu> {
        let wanted = self.ring.open.filter(|raw| {
            // SAFETY: By the type invariant `raw` is a live virtqueue, and its lock is held.
            unsafe { bindings::virtqueue_kick_prepare(raw.as_ptr()) }
        });

        // INVARIANT: The virtqueue is live and not stopped. It stays live for `'rcu`: between its
        // stop and its deletion an RCU grace period passes, which `_rcu` holds off.
        Notify(wanted, PhantomData)
    }

    /// Prepares a notification whether or not the device wants one, as it may have missed one.
    pub fn notify_again<'rcu>(&mut self, rcu: impl Into<RcuSection<'rcu>>) -> Notify<'rcu> {
        // For its side effects: the memory barrier before a notification, and the count of what was
        // added since the last one.
        let _ = self.kick_prepare(rcu);

        // INVARIANT: As in `kick_prepare`.
        Notify(self.ring.open, PhantomData)
    }

    /// Returns whether there is a C virtqueue: not while the device is being reset, and not after
    /// it was reset for good.
    pub fn is_present(&self) -> bool {
        self.ring.raw.is_some()
    }

    /// Returns whether buffers can be added, unless the virtqueue is broken: not while the device
    /// is being reset.
    pub fn is_open(&self) -> bool {
        self.ring.open.is_some()
    }

    /// Returns how many descriptors the ring has, or 0 without a C virtqueue:
    /// `virtqueue_get_vring_size()`.
    pub fn vring_size(&self) -> u32 {
        self.ring.raw.map_or(0, |raw| {
            // SAFETY: By the type invariant `raw` is a live virtqueue.
            unsafe { bindings::virtqueue_get_vring_size(raw.as_ptr()) }
        })
    }

    /// Returns whether the virtqueue is broken: the device has violated the protocol, or is gone,
    /// and nothing can be added before a reset. False for a virtqueue that is stopped.
    pub fn is_broken(&self) -> bool {
        self.ring.open.is_some_and(|raw| {
            // SAFETY: By the type invariant `raw` is a live virtqueue.
            unsafe { bindings::virtqueue_is_broken(raw.as_ptr()) }
        })
    }
}

/// Returns a token that the device has not used, and detaches it from a C virtqueue:
/// `virtqueue_detach_unused_buf()`.
///
/// # Safety
///
/// `raw` must be a live virtqueue of tokens of type `T` that no other thread uses, and the device
/// must have been reset, so that it does not access the memory any more.
pub(super) unsafe fn detach_unused_buf<T: Token>(raw: NonNull<bindings::virtqueue>) -> Option<T> {
    // SAFETY: The caller guarantees that `raw` is live, and that no other thread uses it.
    let data = unsafe { bindings::virtqueue_detach_unused_buf(raw.as_ptr()) };

    // SAFETY: The caller guarantees that the buffers come from `T::into_raw`. The call above has
    // detached this one, so it is converted back once.
    NonNull::new(data).map(|data| unsafe { T::from_raw(data) })
}

/// A notification that may have to be sent to the device.
///
/// # Invariants
///
/// The virtqueue, if not `None`, is live for `'rcu`.
#[must_use = "the device does not know of the buffers until it is notified"]
pub struct Notify<'rcu>(
    Option<NonNull<bindings::virtqueue>>,
    PhantomData<RcuSection<'rcu>>,
);

impl Notify<'_> {
    /// Sends the notification, if there is one: `virtqueue_notify()`. Any context.
    #[inline]
    pub fn send(self) {
        if let Some(raw) = self.0 {
            // If it fails, the virtqueue is broken, which its next use reports.
            //
            // SAFETY: By the type invariant `raw` is a live virtqueue.
            let _ = unsafe { bindings::virtqueue_notify(raw.as_ptr()) };
        }
    }
}
