// SPDX-License-Identifier: GPL-2.0

//! The data that a C host keeps for its driver, and their lifetime.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    bindings,
    queue_map::QueueCounts, //
};
use crate::kernel_glue::wait_for_rcu;
use core::ptr::{
    self,
    NonNull, //
};
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

/// The private area of a C host, `shost_priv()`.
///
/// # Invariants
///
/// `shared` is null, or comes from `Arc::<HostShared<T>>::into_foreign`; `units` likewise from
/// `Arc::<Units>::into_foreign`. After they were set to null, an RCU grace period passes before
/// their former values are given up.
pub(super) struct HostData {
    shared: *mut c_void,
    units: *mut c_void,
}

impl HostData {
    /// Makes the data of a new host.
    pub(super) fn new<T: Send + Sync + 'static>(shared: Arc<HostShared<T>>) -> Self {
        let units = shared.units.clone();

        // INVARIANT: Both come from `into_foreign`.
        Self {
            shared: shared.into_foreign().cast(),
            units: units.into_foreign().cast(),
        }
    }
}

/// The driver object of a host, and what the glue keeps beside it.
///
/// `T` is a [`Driver`](super::Driver). This file does not import the trait, because the trait names
/// the types of commands, which import this file.
pub(super) struct HostShared<T> {
    pub(super) driver: Arc<T>,
    pub(super) units: Arc<Units>,
    /// The hardware queues of the host. They do not change.
    pub(super) queues: QueueCounts,
}

impl<T: Send + Sync + 'static> HostShared<T> {
    /// Makes the data of a host without devices.
    pub(super) fn new(driver: Arc<T>, queues: QueueCounts) -> Result<Arc<Self>> {
        let units = Arc::pin_init(Units::new(), GFP_KERNEL)?;

        Ok(Arc::new(
            Self {
                driver,
                units,
                queues,
            },
            GFP_KERNEL,
        )?)
    }
}

/// The number of devices of a host.
#[pin_data]
pub(super) struct Units {
    /// Those between `sdev_init` and `sdev_destroy`.
    ///
    /// When a host is removed, the midlayer frees its tags after it has destroyed the last device.
    /// So as long as the lock is held and the number is not 0, the tags stay.
    #[pin]
    count: Mutex<u32>,
}

impl Units {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            count <- new_mutex!(0),
        })
    }

    /// Counts one more, and returns how many there are.
    pub(super) fn add(&self) -> u32 {
        let mut count = self.count.lock();

        *count = count.saturating_add(1);
        *count
    }

    /// Counts one less.
    pub(super) fn remove(&self) {
        let mut count = self.count.lock();

        *count = count.saturating_sub(1);
    }

    /// Calls `f`, during which the tags of the host stay, or returns `None` if the host has no
    /// devices.
    pub(super) fn with_tags<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let count = self.count.lock();

        (*count > 0).then(f)
    }
}

/// Returns the address of the [`HostData`] of a C host.
///
/// # Safety
///
/// `shost` must be a valid host that [`Host`] has made.
///
/// [`Host`]: super::Host
pub(super) unsafe fn host_data(shost: NonNull<bindings::Scsi_Host>) -> *mut HostData {
    // SAFETY: The host is valid, and was allocated with room for a `HostData`.
    unsafe { (*shost.as_ptr()).hostdata.as_mut_ptr().cast() }
}

/// Takes the data of a C host away, and gives them up once nobody uses them.
///
/// Process context.
///
/// # Safety
///
/// `shost` must be a host that [`Host`] has made for `T`, and that is removed. Must be called once.
///
/// [`Host`]: super::Host
pub(super) unsafe fn take_host_data<T: Send + Sync + 'static>(shost: NonNull<bindings::Scsi_Host>) {
    // SAFETY: The caller guarantees that `Host` has made the host.
    let data = unsafe { host_data(shost) };

    // SAFETY: The data are there. A reset by ioctl may read them at the same time: it gets the
    // former value or null.
    let (shared, units) = unsafe {
        let shared = &raw mut (*data).shared;
        let units = &raw mut (*data).units;
        let former = (shared.read(), units.read());

        shared.write_volatile(ptr::null_mut());
        units.write_volatile(ptr::null_mut());
        former
    };

    // After this, whoever has read the former values has taken references of his own.
    wait_for_rcu();

    // SAFETY: By the type invariant they come from `into_foreign`. The host is removed, and an RCU
    // grace period has passed, so nobody borrows them.
    unsafe {
        drop(Arc::<HostShared<T>>::from_foreign(shared));
        drop(Arc::<Units>::from_foreign(units));
    }
}

/// Borrows the data of a C host.
///
/// # Safety
///
/// `shost` must be a host that [`Host`] has made for `T`, and for `'a` its `Host` must not be
/// dropped, or the caller must be in an RCU read-side critical section.
///
/// [`Host`]: super::Host
#[inline]
pub(super) unsafe fn host_data_of<'a, T: Send + Sync + 'static>(
    shost: *mut bindings::Scsi_Host,
) -> Option<ArcBorrow<'a, HostShared<T>>> {
    // SAFETY: The caller guarantees that `Host` has made the host, so it is not null. The field may
    // be set to null at the same time.
    let data = unsafe {
        let data = host_data(NonNull::new_unchecked(shost));

        (&raw const (*data).shared).read_volatile()
    };

    // SAFETY: By the invariant of `HostData`, `data` comes from `into_foreign`. It is given up only
    // when the `Host` is dropped, after an RCU grace period.
    (!data.is_null()).then(|| unsafe { Arc::<HostShared<T>>::borrow(data) })
}

/// Borrows the driver of a C host.
///
/// # Safety
///
/// `shost` must be a host that [`Host`] has made for `T`, and its `Host` must not be dropped during
/// `'a`.
///
/// [`Host`]: super::Host
#[inline]
pub(super) unsafe fn driver_of<'a, T: Send + Sync + 'static>(
    shost: *mut bindings::Scsi_Host,
) -> Option<&'a T> {
    // SAFETY: The caller guarantees that the `Host` is there for `'a`.
    let shared = unsafe { host_data_of::<T>(shost) }?;
    let driver: *const T = &*shared.driver;

    // SAFETY: The driver lives as long as the data, which are not given up during `'a`.
    Some(unsafe { &*driver })
}

/// Takes a reference to the data of a C host.
///
/// # Safety
///
/// `shost` must be a valid host that [`Host`] has made for `T`. It may be removed at any time.
///
/// [`Host`]: super::Host
pub(super) unsafe fn hold_shared_of<T: Send + Sync + 'static>(
    shost: *mut bindings::Scsi_Host,
) -> Option<Arc<HostShared<T>>> {
    let _rcu = rcu::read_lock();

    // SAFETY: The host is one of `T`, and this is a read-side critical section.
    unsafe { host_data_of::<T>(shost) }.map(Into::into)
}

/// Takes a reference to the device count of a C host.
///
/// # Safety
///
/// `shost` must be a valid host that [`Host`] has made. It may be removed at any time.
///
/// [`Host`]: super::Host
pub(super) unsafe fn hold_units_of(shost: *mut bindings::Scsi_Host) -> Option<Arc<Units>> {
    let _rcu = rcu::read_lock();

    // SAFETY: As in `host_data_of`.
    let units = unsafe {
        let data = host_data(NonNull::new_unchecked(shost));

        (&raw const (*data).units).read_volatile()
    };

    // SAFETY: By the invariant of `HostData`, `units` comes from `into_foreign`, and is given up
    // only after an RCU grace period, which this read-side critical section holds off.
    (!units.is_null()).then(|| unsafe { Arc::<Units>::borrow(units) }.into())
}
