// SPDX-License-Identifier: GPL-2.0

//! Being in an RCU read-side critical section, of whichever kind.
//!
//! [`kernel::sync::rcu::Guard`] is one that the driver has entered by itself. Many callbacks are
//! called within one: entering another for each command would cost four calls.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use core::marker::PhantomData;
use kernel::sync::rcu;

/// Proof that the code runs in an RCU read-side critical section, which lasts for `'rcu`.
///
/// The section may be one of `rcu_read_lock()`, or hard or soft interrupt context, for which a
/// grace period waits as well.
#[derive(Clone, Copy)]
pub struct RcuSection<'rcu>(PhantomData<&'rcu rcu::Guard>);

impl<'rcu> From<&'rcu rcu::Guard> for RcuSection<'rcu> {
    #[inline]
    fn from(_: &'rcu rcu::Guard) -> Self {
        Self(PhantomData)
    }
}

impl RcuSection<'_> {
    /// Makes a proof without entering a section.
    ///
    /// # Safety
    ///
    /// The caller must be in a read-side critical section, or in hard or soft interrupt context,
    /// for as long as the proof exists.
    #[inline]
    pub(crate) unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}
