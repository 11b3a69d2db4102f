// SPDX-License-Identifier: GPL-2.0

//! What a C host keeps for its driver.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    bindings,
    driver::Driver, //
};
use core::ptr::NonNull;
use kernel::{
    ffi::c_void,
    new_mutex,
    prelude::*,
    sync::{
        rcu,
        Arc,
        ArcBorrow,
        Mutex, //
    },
    types::ForeignOwnable, //
};

/// What the C host keeps for the driver.
///
/// # Invariants
///
/// It is null, or comes from `Arc::<HostShared<T>>::into_foreign`. After it was set to null, what it was is
/// only given up when an RCU grace period has passed.
#[repr(transparent)]
pub(super) struct HostData(pub(super) *mut c_void);

/// The driver object of a host, and how many logical units the host has.
#[pin_data]
pub(super) struct HostShared<T: Driver> {
    pub(super) driver: Arc<T>,
    /// How many logical units there are, from `sdev_init` to `sdev_destroy`.
    ///
    /// The midlayer frees the tags of a host that is removed after it has destroyed the last unit. So while
    /// this is held and is not 0, the tags stay.
    #[pin]
    units: Mutex<u32>,
}

impl<T: Driver> HostShared<T> {
    /// Makes what is shared with a driver by a host that has no logical units.
    pub(super) fn new(driver: Arc<T>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                driver,
                units <- new_mutex!(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Notes that there is one more logical unit.
    pub(super) fn unit_comes(&self) {
        let mut units = self.units.lock();

        *units = units.saturating_add(1);
    }

    /// Notes that there is one logical unit less.
    pub(super) fn unit_goes(&self) {
        let mut units = self.units.lock();

        *units = units.saturating_sub(1);
    }

    /// Calls `f` if the host has logical units, and keeps its tags meanwhile.
    pub(super) fn with_tags<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let units = self.units.lock();

        (*units > 0).then(f)
    }
}

/// Returns where a C host keeps its [`HostData`].
///
/// # Safety
///
/// `shost` must be a host that [`Host`] has made.
pub(super) unsafe fn host_data(shost: NonNull<bindings::Scsi_Host>) -> *mut HostData {
    // SAFETY: By the safety requirements of this function the host is valid, and was allocated with
    // room for a `HostData`.
    unsafe { (*shost.as_ptr()).hostdata.as_mut_ptr().cast() }
}

/// Returns what a C host shares with its driver.
///
/// # Safety
///
/// `shost` must be a host that [`Host`] has made for `T`, and for `'a` its `Host` must not be dropped, or
/// the caller must be in an RCU read-side critical section.
#[inline]
pub(super) unsafe fn host_data_of<'a, T: Driver>(
    shost: *mut bindings::Scsi_Host,
) -> Option<ArcBorrow<'a, HostShared<T>>> {
    // SAFETY: By the safety requirements of this function. It may be set to null at the same time.
    let data = unsafe { (&raw const (*host_data(NonNull::new(shost)?)).0).read_volatile() };

    // SAFETY: By the invariant of `HostData`, `data` comes from `into_foreign`. It is taken back
    // only when the `Host` is dropped, and freed only after an RCU grace period.
    (!data.is_null()).then(|| unsafe { Arc::<HostShared<T>>::borrow(data) })
}

/// Returns the driver of a C host.
///
/// # Safety
///
/// `shost` must be a host that [`Host`] has made for `T`, and its `Host` must not be dropped during
/// `'a`.
#[inline]
pub(super) unsafe fn driver_of<'a, T: Driver>(shost: *mut bindings::Scsi_Host) -> Option<&'a T> {
    // SAFETY: By the safety requirements of this function.
    let shared = unsafe { host_data_of::<T>(shost) }?;
    let driver: *const T = &*shared.driver;

    // SAFETY: The driver lives for as long as what is shared, which is not dropped during `'a`.
    Some(unsafe { &*driver })
}

/// Returns what a C host shares with its driver, and keeps it.
///
/// # Safety
///
/// `shost` must be a valid host that [`Host`] has made for `T`. It may be removed at any time.
pub(super) unsafe fn hold_shared_of<T: Driver>(
    shost: *mut bindings::Scsi_Host,
) -> Option<Arc<HostShared<T>>> {
    let _rcu = rcu::read_lock();

    // SAFETY: By the safety requirements of this function, and this is a read-side critical section.
    unsafe { host_data_of::<T>(shost) }.map(Into::into)
}
