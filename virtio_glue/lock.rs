// SPDX-License-Identifier: GPL-2.0

//! A spinlock that disables interrupts of the CPU and restores them as they were.
//!
//! Virtqueue callbacks run in hard interrupt context, and the same queue is used from process and
//! softirq context, so a plain [`kernel::sync::SpinLock`] would deadlock.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use super::bindings;
use kernel::{
    ffi::c_ulong,
    sync::lock, //
};

/// Data that is only reachable under an interrupt-disabling spinlock.
pub type Locked<T> = lock::Lock<T, IrqSave>;

/// The lock backend behind [`Locked`]: `spin_lock_irqsave()` and `spin_unlock_irqrestore()`.
///
/// Locking and unlocking may be done in any context. Nothing may sleep while a guard lives.
pub struct IrqSave;

// SAFETY: The kernel's `spinlock_t` gives mutual exclusion between `lock` and `unlock`, and
// `relock` is the default implementation, which calls `lock`.
unsafe impl lock::Backend for IrqSave {
    type State = kernel::bindings::spinlock_t;
    /// The interrupt flags to restore.
    type GuardState = c_ulong;

    #[inline]
    unsafe fn init(
        ptr: *mut Self::State,
        name: *const kernel::ffi::c_char,
        key: *mut kernel::bindings::lock_class_key,
    ) {
        // SAFETY: By the safety requirements of this function, `ptr` is valid for writes, and
        // `name` and `key` are valid for reads indefinitely.
        unsafe { kernel::bindings::__spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: By the safety requirements of this function, `ptr` has been initialised.
        unsafe { bindings::virtio_helper_spin_lock_irqsave(ptr) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut flags = 0;

        // SAFETY: By the safety requirements of this function, `ptr` has been initialised; `flags`
        // is a local variable, valid for writes.
        unsafe { bindings::virtio_helper_spin_trylock_irqsave(ptr, &mut flags) }.then_some(flags)
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, guard_state: &Self::GuardState) {
        // SAFETY: By the safety requirements of this function, the caller owns the lock, and
        // `guard_state` is what `lock` returned when it was taken.
        unsafe { bindings::virtio_helper_spin_unlock_irqrestore(ptr, *guard_state) }
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: By the safety requirements of this function, `ptr` has been initialised.
        unsafe { kernel::bindings::spin_assert_is_held(ptr) }
    }
}

/// Makes an initialiser for a [`Locked`] value with a lock class of its own.
macro_rules! new_locked {
    ($inner:expr, $name:literal) => {
        $crate::virtio_glue::Locked::new($inner, $name, kernel::static_lock_class!())
    };
}
pub(crate) use new_locked;

/// Waits for an RCU grace period: until everybody who is in an RCU read-side critical section, or
/// has interrupts disabled, has left it.
///
/// Process context, outside of any such section.
pub fn wait_for_rcu() {
    // SAFETY: This can be called from process context at any time; to do so in a read-side critical
    // section is a deadlock, not a violation of memory safety.
    unsafe { kernel::bindings::synchronize_rcu() };
}
