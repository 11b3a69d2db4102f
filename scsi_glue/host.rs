// SPDX-License-Identifier: GPL-2.0

//! The SCSI host.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    bindings,
    command_ref::{
        any_in_flight,
        CommandRef, //
    },
    driver::Driver,
    host_data::{
        driver_of,
        host_data,
        host_data_of,
        HostData,
        HostShared, //
    },
    logical_unit::LogicalUnit,
    template::Template, //
};
use core::{
    marker::PhantomData,
    mem::size_of,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    device,
    error::to_result,
    ffi::{
        c_int,
        c_short, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        Mutex, //
    },
    types::ForeignOwnable, //
};

/// The limits of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameters {
    /// How many commands a hardware queue can have in flight. At least 1.
    pub commands_per_queue: u32,
    /// How many commands a logical unit can have in flight, at first. At least 1.
    pub commands_per_lun: u16,
    /// How many segments the data of a command can have. At least 1.
    pub segments: u16,
    /// How much data a command can have, in sectors of 512 bytes. At least a page.
    pub sectors: u32,
    /// How long a segment can be, in bytes. At least a page.
    pub segment_len: u32,
    /// The highest target.
    pub last_target: u32,
    /// The highest logical unit, as the midlayer numbers them.
    pub last_lun: u64,
    /// How long a CDB can be, in bytes.
    pub cdb_len: u16,
    /// Whether commands can have protection information, of T10 PI type 1 to 3 with CRC guards.
    /// There can be as many segments of it as of data.
    pub protection: bool,
}

/// All that a host can do with protection information: `SHOST_DIF_*` and `SHOST_DIX_*`.
///
/// Whether a logical unit is protected, and with which type, it says itself.
const PROTECTION: u32 = bindings::scsi_host_prot_capabilities_SHOST_DIF_TYPE1_PROTECTION
    | bindings::scsi_host_prot_capabilities_SHOST_DIF_TYPE2_PROTECTION
    | bindings::scsi_host_prot_capabilities_SHOST_DIF_TYPE3_PROTECTION
    | bindings::scsi_host_prot_capabilities_SHOST_DIX_TYPE1_PROTECTION
    | bindings::scsi_host_prot_capabilities_SHOST_DIX_TYPE2_PROTECTION
    | bindings::scsi_host_prot_capabilities_SHOST_DIX_TYPE3_PROTECTION;

/// Returns how many hardware queues the system can make use of, `most` at most.
pub fn possible_queues(most: u32) -> u32 {
    // SAFETY: This only counts CPUs.
    unsafe { kernel::bindings::blk_mq_num_possible_queues(most.min(kernel::cpu::nr_cpu_ids())) }
}

/// A registered SCSI host: `struct Scsi_Host`.
///
/// # Invariants
///
/// `shost` is a valid host with a template of `T`, whose [`HostData`] is not null, and this object
/// holds a reference to it. It is added to the system while `added` is true.
#[pin_data(PinnedDrop)]
pub struct Host<T: Driver> {
    shost: NonNull<bindings::Scsi_Host>,
    #[pin]
    added: Mutex<bool>,
    _driver: PhantomData<Arc<T>>,
}

// SAFETY: A host can be used from any thread, and the driver is `Send` and `Sync`.
unsafe impl<T: Driver> Send for Host<T> {}

// SAFETY: As above; the midlayer has its own locks.
unsafe impl<T: Driver> Sync for Host<T> {}

impl<T: Driver> Host<T> {
    /// Makes a host below a device, and adds it to the system. From here on the driver's methods
    /// are called.
    ///
    /// Process context.
    pub fn new<'a>(
        parent: &'a device::Device<device::Bound>,
        parameters: Parameters,
        driver: Arc<T>,
    ) -> impl PinInit<Self, Error> + use<'a, T> {
        pin_init::pin_init_scope(move || {
            let shost = Self::allocate(&parameters, driver)?;

            // INVARIANT: The host has its data, and its reference is ours. It is not added, so
            // that dropping this only gives it up.
            let host = try_pin_init!(Self {
                shost,
                added <- new_mutex!(false),
                _driver: PhantomData,
            }? Error);

            Ok(host.pin_chain(move |host| host.as_ref().get_ref().add(parent)))
        })
    }

    /// Allocates the C host and sets its limits and its data.
    fn allocate(parameters: &Parameters, driver: Arc<T>) -> Result<NonNull<bindings::Scsi_Host>> {
        let counts = driver.queues();
        let can_queue = c_int::try_from(parameters.commands_per_queue)?;
        let data_len = c_int::try_from(size_of::<HostData>())?;

        let shared = HostShared::new(driver)?;

        // SAFETY: The template is valid for ever.
        let shost = unsafe { bindings::scsi_host_alloc(Template::<T>::get(), data_len) };
        let shost = NonNull::new(shost).ok_or(ENOMEM)?;

        // SAFETY: The host is valid, and nobody else uses it yet.
        let c_host = unsafe { &mut *shost.as_ptr() };

        c_host.can_queue = can_queue;
        c_host.cmd_per_lun = c_short::try_from(parameters.commands_per_lun).unwrap_or(c_short::MAX);
        c_host.sg_tablesize = parameters.segments;
        c_host.max_sectors = parameters.sectors;
        c_host.max_segment_size = c_host.max_segment_size.min(parameters.segment_len);
        c_host.max_channel = 0;
        c_host.max_id = parameters.last_target.saturating_add(1);
        c_host.max_lun = parameters.last_lun.saturating_add(1);
        c_host.max_cmd_len = parameters.cdb_len;
        c_host.nr_hw_queues = counts.interrupt.saturating_add(counts.polled);
        c_host.nr_maps = if counts.polled == 0 {
            1
        } else {
            kernel::bindings::hctx_type_HCTX_TYPE_POLL + 1
        };

        // The transport carries the LUN, so it is not put in the CDB of a unit that claims SCSI-2.
        c_host.set_no_scsi2_lun_in_cdb(1);

        if parameters.protection {
            c_host.sg_prot_tablesize = parameters.segments;
            c_host.prot_capabilities = PROTECTION;
            // CAST: It is 1.
            c_host.prot_guard_type =
                bindings::scsi_host_guard_type_SHOST_DIX_GUARD_CRC as kernel::ffi::c_uchar;
        }

        // SAFETY: The host was allocated with room for this.
        unsafe { host_data(shost).write(HostData(shared.into_foreign().cast())) };

        Ok(shost)
    }

    /// Adds the host to the system.
    fn add(&self, parent: &device::Device<device::Bound>) -> Result {
        let mut added = self.added.lock();

        // `Device` is a transparent wrapper of the C structure.
        let parent = ptr::from_ref(parent)
            .cast_mut()
            .cast::<kernel::bindings::device>();

        // SAFETY: By the type invariant the host is valid, and it is not added. The parent is valid
        // and bound.
        to_result(unsafe {
            bindings::scsi_add_host_with_dma(self.shost.as_ptr(), parent, ptr::null_mut())
        })?;

        *added = true;
        Ok(())
    }

    /// Returns what the C host shares with the driver.
    fn shared(&self) -> Option<ArcBorrow<'_, HostShared<T>>> {
        // SAFETY: By the type invariant the host is one of `T`, and this is not dropped.
        unsafe { host_data_of::<T>(self.shost.as_ptr()) }
    }

    /// Looks for targets and logical units. What is found is there a little later.
    ///
    /// Process context.
    pub fn scan(&self) {
        // SAFETY: By the type invariant the host is valid.
        unsafe { bindings::scsi_scan_host(self.shost.as_ptr()) };
    }

    /// Looks for logical units of a target.
    ///
    /// Process context.
    pub fn scan_target(&self, target: u32) {
        // SAFETY: By the type invariant the host is valid.
        unsafe {
            bindings::scsi_scan_target(
                &raw mut (*self.shost.as_ptr()).shost_gendev,
                0,
                target,
                // CAST: All bits set means any logical unit.
                i64::from(bindings::SCAN_WILD_CARD) as u64,
                bindings::scsi_scan_mode_SCSI_SCAN_INITIAL,
            );
        }
    }

    /// Looks for one logical unit, and adds it if it is there and new.
    ///
    /// Process context. Fails with [`ENODEV`] if it is not there.
    pub fn add_logical_unit(&self, target: u32, lun: u64) -> Result {
        // SAFETY: By the type invariant the host is valid.
        to_result(unsafe { bindings::scsi_add_device(self.shost.as_ptr(), 0, target, lun) })
    }

    /// Returns a logical unit of the host, if there is such a one.
    pub fn logical_unit(&self, target: u32, lun: u64) -> Option<LogicalUnit> {
        // SAFETY: By the type invariant the host is valid.
        let sdev = unsafe { bindings::scsi_device_lookup(self.shost.as_ptr(), 0, target, lun) };

        // SAFETY: `scsi_device_lookup()` has taken a reference, which is ours.
        NonNull::new(sdev).map(|sdev| unsafe { LogicalUnit::from_ptr(sdev) })
    }

    /// Returns all logical units of the host, one by one. Others may come and go meanwhile.
    pub fn logical_units(&self) -> LogicalUnits<'_> {
        LogicalUnits {
            shost: self.shost,
            former: None,
            _host: PhantomData,
        }
    }

    /// Returns whether any command of the host that the midlayer has handed to the driver and not
    /// got back yet is as `predicate` says. Each is looked at until one is.
    ///
    /// Any context that can sleep. Commands come and go meanwhile. `predicate` must not sleep.
    pub fn any_in_flight(&self, predicate: impl FnMut(CommandRef<'_, T>) -> bool) -> bool {
        let Some(shared) = self.shared() else {
            return false;
        };

        shared
            .with_tags(|| {
                // SAFETY: By the type invariant the host is valid, and one of `T`, and its tags stay.
                unsafe { any_in_flight(self.shost.as_ptr(), predicate) }
            })
            .unwrap_or(false)
    }

    /// Tells the midlayer that a target was reset by somebody else, so that it expects its logical
    /// units to say so.
    ///
    /// Process context.
    pub fn report_reset(&self, target: u32) {
        let Ok(target) = c_int::try_from(target) else {
            return;
        };

        // SAFETY: By the type invariant the host is valid.
        unsafe { bindings::scsi_helper_report_reset(self.shost.as_ptr(), target) };
    }

    /// Brings the number of commands that each logical unit can have in flight down to `most`.
    ///
    /// Process context.
    pub fn limit_queue_depth(&self, most: u16) {
        let most = c_short::try_from(most).unwrap_or(c_short::MAX);

        // SAFETY: By the type invariant the host is valid. Others read the field, and get the old
        // value or the new one.
        unsafe {
            let former = &raw mut (*self.shost.as_ptr()).cmd_per_lun;

            if former.read_volatile() <= most {
                return;
            }
            former.write_volatile(most);
        }

        for unit in self.logical_units() {
            let sdev = unit.as_ptr().as_ptr();

            // The midlayer raises the depth again while all goes well, up to the second one.
            //
            // SAFETY: The device is valid, because `unit` holds a reference. Others read the
            // field, and get the old value or the new one.
            unsafe {
                bindings::scsi_change_queue_depth(sdev, most.into());
                (&raw mut (*sdev).max_queue_depth).write_volatile(most.unsigned_abs());
            }
        }
    }

    /// Returns the driver of the host.
    pub fn driver(&self) -> Option<&T> {
        // SAFETY: By the type invariant the host is one of `T`, and this is not dropped.
        unsafe { driver_of(self.shost.as_ptr()) }
    }

    /// Returns the number of the host in the system.
    pub fn number(&self) -> u32 {
        // SAFETY: By the type invariant the host is valid, and its number does not change.
        unsafe { (*self.shost.as_ptr()).host_no }
    }

    /// Removes the host and all its logical units from the system, once their commands have
    /// ended. Does nothing if that was done before.
    ///
    /// Process context. When it returns, the driver's methods are not called any more.
    pub fn remove(&self) {
        let mut added = self.added.lock();

        if *added {
            // SAFETY: By the type invariant the host is valid and was added.
            unsafe { bindings::scsi_remove_host(self.shost.as_ptr()) };
            *added = false;
        }
    }
}

#[pinned_drop]
impl<T: Driver> PinnedDrop for Host<T> {
    fn drop(self: Pin<&mut Self>) {
        self.remove();

        // SAFETY: The host was made by `allocate`.
        let data = unsafe { &raw mut (*host_data(self.shost)).0 };

        // SAFETY: As above. A reset that the user has asked for may read it at the same time, and gets the
        // one or the other.
        let former = unsafe {
            let former = data.read();

            data.write_volatile(ptr::null_mut());
            former
        };

        // Whoever has read it before holds the driver by the end of this.
        //
        // SAFETY: This is process context, outside of any read-side critical section.
        unsafe { kernel::bindings::synchronize_rcu() };

        // SAFETY: By the type invariant the data comes from `into_foreign`. The host is removed, and an RCU
        // grace period has passed, so nobody borrows it any more.
        drop(unsafe { Arc::<HostShared<T>>::from_foreign(former.cast()) });

        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::scsi_host_put(self.shost.as_ptr()) };
    }
}

/// The logical units of a host. See [`Host::logical_units`].
pub struct LogicalUnits<'a> {
    shost: NonNull<bindings::Scsi_Host>,
    /// A second reference to the one that was returned last, to find the next by.
    former: Option<LogicalUnit>,
    _host: PhantomData<&'a ()>,
}

impl Iterator for LogicalUnits<'_> {
    type Item = LogicalUnit;

    fn next(&mut self) -> Option<LogicalUnit> {
        let former = self
            .former
            .take()
            .map_or(ptr::null_mut(), |unit| unit.into_ptr().as_ptr());

        // SAFETY: The host is valid, because it is borrowed. The function takes over our reference
        // to `former`, which is null or a device of the host.
        let unit = unsafe { bindings::__scsi_iterate_devices(self.shost.as_ptr(), former) };

        // SAFETY: The function has taken a reference, which is ours.
        let unit = unsafe { LogicalUnit::from_ptr(NonNull::new(unit)?) };

        // SAFETY: The device is valid.
        if unsafe { bindings::scsi_device_get(unit.as_ptr().as_ptr()) } == 0 {
            // SAFETY: The call above has taken a second reference.
            self.former = Some(unsafe { LogicalUnit::from_ptr(unit.as_ptr()) });
        }
        Some(unit)
    }
}
