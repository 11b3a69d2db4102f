// SPDX-License-Identifier: GPL-2.0

//! A spinlock that disables interrupts of the CPU and restores them as they were, and a wait for an
//! RCU grace period.
//!
//! The kernel crate of 7.2 has neither a spinlock for data that interrupt handlers use, as the
//! callback of a virtqueue does, nor the wait. That of 7.3 has `SpinLockIrq` and
//! `synchronize_rcu()`, so this file goes when 7.2 is dropped.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use super::bindings;
use kernel::{
    ffi::c_ulong,
    sync::lock, //
};

/// Data that is only reachable under a spinlock that disables interrupts.
pub type Locked<T> = lock::Lock<T, IrqSave>;

/// The lock backend behind [`Locked`]: `spin_lock_irqsave()` and `spin_unlock_irqrestore()`.
///
/// Any context. The owner of a guard must not sleep.
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
        // SAFETY: The caller guarantees that `ptr` is valid for writes, and that `name` and `key`
        // are valid for reads for ever.
        unsafe { kernel::bindings::__spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The caller guarantees that `init` has initialised the lock.
        unsafe { bindings::kernel_helper_spin_lock_irqsave(ptr) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut flags = 0;

        // SAFETY: The caller guarantees that `init` has initialised the lock. `flags` is a variable
        // of this function.
        unsafe { bindings::kernel_helper_spin_trylock_irqsave(ptr, &mut flags) }.then_some(flags)
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, guard_state: &Self::GuardState) {
        // SAFETY: The caller owns the lock, and guarantees that `guard_state` is what `lock` or
        // `try_lock` has returned for it.
        unsafe { bindings::kernel_helper_spin_unlock_irqrestore(ptr, *guard_state) }
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // Without lockdep it does nothing, but is a call.
        if cfg!(CONFIG_LOCKDEP) {
            // SAFETY: The caller guarantees that `init` has initialised the lock.
            unsafe { kernel::bindings::spin_assert_is_held(ptr) }
        }
    }
}

/// Makes an initialiser for a [`Locked`] value with a lock class of its own.
macro_rules! new_locked {
    ($inner:expr, $name:literal) => {
        $crate::kernel_glue::Locked::new($inner, $name, kernel::static_lock_class!())
    };
}
pub(crate) use new_locked;

/// Waits for an RCU grace period: until all threads that are in an RCU read-side critical section,
/// or have interrupts disabled, have left it.
///
/// Process context, outside of any such section.
#[inline]
pub fn wait_for_rcu() {
    // SAFETY: The function has no requirements for memory safety. A call in a read-side critical
    // section is a deadlock.
    unsafe { kernel::bindings::synchronize_rcu() };
}
