// SPDX-License-Identifier: GPL-2.0

//! The virtqueue: adding buffers, getting them back, notifying the device.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use super::{
    bindings,
    chain::Chain,
    token::Token, //
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
    sync::rcu, //
};

/// Why a buffer could not be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddError {
    /// There are not enough free descriptors. There will be when the device has used some.
    Full,
    /// There is no memory for descriptors, or the buffer could not be mapped for DMA: what maps it
    /// (a bounce buffer, an IOMMU) is full for now, or too small for the buffer.
    NoMemory,
    /// The virtqueue is broken: nothing can be added until the device is reset.
    Broken,
    /// The virtqueue is not there: the device is being reset, or was for good.
    Gone,
}

/// A virtqueue whose buffers are tokens of type `T`: `struct virtqueue`.
///
/// It is only used inside a [`Locked`], which is what serialises its operations.
///
/// # Invariants
///
/// - `raw`, if there, is a live C virtqueue. It is made so by [`Virtqueues`] alone, which takes it
///   away, under the lock, before it deletes the C virtqueue; between the two it waits for an RCU
///   grace period.
/// - Every buffer in the C virtqueue is a token of type `T`.
///
/// [`Locked`]: super::Locked
/// [`Virtqueues`]: super::Virtqueues
pub struct Virtqueue<T: Token> {
    raw: Option<NonNull<bindings::virtqueue>>,
    /// Nothing is added and the device is not notified any more; what it has used can be taken.
    stopped: bool,
    /// How many buffers were added.
    added: u64,
    /// How many buffers were taken back, used or not.
    taken: u64,
    _token: PhantomData<fn() -> T>,
}

// SAFETY: A virtqueue can be used from any thread, one at a time, and its tokens are `Send`.
unsafe impl<T: Token> Send for Virtqueue<T> {}

impl<T: Token> Default for Virtqueue<T> {
    /// Makes a virtqueue that is not there yet: [`Virtqueues`] makes it live.
    ///
    /// [`Virtqueues`]: super::Virtqueues
    fn default() -> Self {
        // INVARIANT: There is no C virtqueue.
        Self {
            raw: None,
            stopped: false,
            added: 0,
            taken: 0,
            _token: PhantomData,
        }
    }
}

impl<T: Token> Virtqueue<T> {
    /// Makes it live, but stopped.
    ///
    /// # Safety
    ///
    /// `raw` must be a live and empty C virtqueue, which is deleted only as the type invariant
    /// says, and which no other object uses.
    pub(super) unsafe fn install(&mut self, raw: NonNull<bindings::virtqueue>) {
        // INVARIANT: By the safety requirements of this function.
        self.raw = Some(raw);
        self.stopped = true;
    }

    /// Starts it: from here on buffers can be added.
    pub(super) fn start(&mut self) {
        self.stopped = false;
    }

    /// Stops it: from here on nothing is added, and after an RCU grace period no notification is
    /// under way.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Takes the C virtqueue away.
    pub(super) fn uninstall(&mut self) -> Option<NonNull<bindings::virtqueue>> {
        self.taken = self.added;
        self.raw.take()
    }

    /// Adds a token's buffer, whose memory `describe` puts in a chain.
    ///
    /// The device sees it after the next notification, or sooner.
    ///
    /// Any context. On error the token is given back.
    #[inline]
    pub fn add(
        &mut self,
        token: T,
        describe: impl for<'a> FnOnce(&'a T, &mut Chain<'a>),
    ) -> Result<(), (T, AddError)> {
        let Some(raw) = self.raw.filter(|_| !self.stopped) else {
            return Err((token, AddError::Gone));
        };

        // From here on it is dropped only if it could not be added.
        let token = ManuallyDrop::new(token);
        let mut chain = Chain::new();
        describe(&token, &mut chain);

        let added = &mut self.added;

        chain.with_scatterlists(|lists, readable, writable| {
            // SAFETY: `token` is not used again after this. The chain still borrows from it, but
            // `Token` promises that the memory stays where it is.
            let data = unsafe { ptr::read(&*token) }.into_raw();

            // SAFETY: By the type invariant `raw` is a live virtqueue, and the lock is held because
            // `self` is borrowed exclusively. `lists` has `readable + writable` terminated
            // scatterlists, of memory that is valid for as long as the token is on the virtqueue.
            let err = unsafe {
                bindings::virtqueue_add_sgs(
                    raw.as_ptr(),
                    lists.as_mut_ptr(),
                    readable as c_uint,
                    writable as c_uint,
                    data.as_ptr(),
                    kernel::bindings::GFP_ATOMIC,
                )
            };

            if err == 0 {
                *added = added.wrapping_add(1);
                return Ok(());
            }

            // SAFETY: The buffer was not added, so `data` comes from `into_raw` just above and from
            // nowhere else.
            let token = unsafe { T::from_raw(data) };

            // SAFETY: By the type invariant `raw` is a live virtqueue.
            let broken = unsafe { bindings::virtqueue_is_broken(raw.as_ptr()) };

            Err((token, Self::add_error(err, broken)))
        })
    }

    /// Tells what `virtqueue_add_sgs()` meant with an error of a virtqueue that is or is not broken.
    ///
    /// A packed ring answers `-EIO` to a mapping that fails as well as when it is broken.
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

    /// Returns a token that the device has used, and how many bytes the device says it has
    /// written, which is not to be trusted.
    #[inline]
    pub fn take_used(&mut self) -> Option<(T, u32)> {
        let raw = self.raw?;
        let mut len: c_uint = 0;

        // SAFETY: By the type invariant `raw` is a live virtqueue, and the lock is held because
        // `self` is borrowed exclusively.
        let data = unsafe { bindings::virtqueue_get_buf(raw.as_ptr(), &mut len) };

        let data = NonNull::new(data)?;

        self.taken = self.taken.wrapping_add(1);

        // SAFETY: By the type invariant `data` comes from `T::into_raw`. The virtio core keeps it in
        // memory of the driver, clears it when it hands it out, and checks the identifier by which
        // the device names it.
        Some((unsafe { T::from_raw(data) }, len))
    }

    /// Returns how many buffers were taken back since the virtqueue was first made.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Returns how many buffers are on it.
    pub fn in_flight(&self) -> u64 {
        self.added.wrapping_sub(self.taken)
    }

    /// Asks the device not to interrupt when it uses buffers. It is a hint.
    #[inline]
    pub fn disable_interrupts(&mut self) {
        if let Some(raw) = self.raw {
            // SAFETY: By the type invariant `raw` is a live virtqueue, and the lock is held.
            unsafe { bindings::virtqueue_disable_cb(raw.as_ptr()) };
        }
    }

    /// Asks the device to interrupt again. Returns false if it has used more buffers meanwhile,
    /// for which no interrupt might come.
    #[inline]
    #[must_use]
    pub fn enable_interrupts(&mut self) -> bool {
        self.raw.is_none_or(|raw| {
            // SAFETY: By the type invariant `raw` is a live virtqueue, and the lock is held.
            unsafe { bindings::virtqueue_enable_cb(raw.as_ptr()) }
        })
    }

    /// Finds out whether the device has to be notified of what was added since the last time.
    ///
    /// The notification itself is [`Notify::send`], which does not need the lock, and is better
    /// done without it.
    #[inline]
    pub fn prepare_notify<'rcu>(&mut self, _rcu: &'rcu rcu::Guard) -> Notify<'rcu> {
        let wanted = self.raw.filter(|raw| {
            // SAFETY: By the type invariant `raw` is a live virtqueue, and the lock is held because
            // `self` is borrowed exclusively.
            !self.stopped && unsafe { bindings::virtqueue_kick_prepare(raw.as_ptr()) }
        });

        // INVARIANT: The virtqueue is live now, so it is until an RCU grace period has passed, for
        // which `_rcu` is in the way.
        Notify(wanted, PhantomData)
    }

    /// Makes a notification whether or not the device has asked for one: it may have missed one.
    pub fn notify_again<'rcu>(&mut self, rcu: &'rcu rcu::Guard) -> Notify<'rcu> {
        // Only for what it does besides.
        let _ = self.prepare_notify(rcu);

        // INVARIANT: As in `prepare_notify`.
        Notify(self.raw.filter(|_| !self.stopped), PhantomData)
    }

    /// Returns whether the virtqueue is there: it is not while the device is being reset, and after it
    /// was for good.
    pub fn is_present(&self) -> bool {
        self.raw.is_some()
    }

    /// Returns how many descriptors the ring has; 0 if the virtqueue is gone.
    pub fn size(&self) -> u32 {
        self.raw.map_or(0, |raw| {
            // SAFETY: By the type invariant `raw` is a live virtqueue.
            unsafe { bindings::virtqueue_get_vring_size(raw.as_ptr()) }
        })
    }

    /// Returns whether the virtqueue is broken: the device has violated the protocol, and only a
    /// reset helps.
    pub fn is_broken(&self) -> bool {
        self.raw.filter(|_| !self.stopped).is_some_and(|raw| {
            // SAFETY: By the type invariant `raw` is a live virtqueue.
            unsafe { bindings::virtqueue_is_broken(raw.as_ptr()) }
        })
    }
}

/// Takes a token off a C virtqueue that the device has not used.
///
/// # Safety
///
/// `raw` must be a live virtqueue of tokens of type `T` that nobody else uses, and the device must
/// have been reset, so that it does not touch the memory any more.
pub(super) unsafe fn take_unused<T: Token>(raw: NonNull<bindings::virtqueue>) -> Option<T> {
    // SAFETY: By the safety requirements of this function.
    let data = unsafe { bindings::virtqueue_detach_unused_buf(raw.as_ptr()) };

    // SAFETY: The buffers of the virtqueue come from `T::into_raw`, and the call above has taken
    // this one off.
    NonNull::new(data).map(|data| unsafe { T::from_raw(data) })
}

/// A notification that may have to be sent to the device.
///
/// # Invariants
///
/// The virtqueue, if there, is live for `'rcu`.
#[must_use = "the device does not know of the buffers until it is notified"]
pub struct Notify<'rcu>(
    Option<NonNull<bindings::virtqueue>>,
    PhantomData<&'rcu rcu::Guard>,
);

impl Notify<'_> {
    /// Notifies the device, if it asked for it. Any context.
    #[inline]
    pub fn send(self) {
        if let Some(raw) = self.0 {
            // A failure marks the virtqueue broken, which the next use of it finds.
            //
            // SAFETY: By the type invariant `raw` is a live virtqueue.
            let _ = unsafe { bindings::virtqueue_notify(raw.as_ptr()) };
        }
    }
}
