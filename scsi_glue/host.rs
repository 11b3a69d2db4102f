// SPDX-License-Identifier: GPL-2.0

//! The SCSI host.
//!
//! # Misuse that does not compile
//!
//! In `examples/scsi_null/misuse/`: a parent that is not known to be bound (E0308), and an iterator
//! over the devices that outlives the host (E0515). A counted [`Device`] may outlive it: once
//! removed, its methods fail.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    bindings,
    cmnd::{
        any_in_flight,
        Cmnd, //
    },
    device::Device,
    driver::Driver,
    host_data::{
        host_data,
        take_host_data,
        HostData,
        HostShared,
        Units, //
    },
    limits::HostLimits,
    pdu::{
        CommandData,
        DevicePdu, //
    },
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
        aref::ARef,
        Arc,
        Mutex, //
    },
};

/// A registered host: `struct Scsi_Host`.
///
/// This is the registration, so it is not an `ARef`: dropping it removes the host.
///
/// It names the data of its commands and devices, and not its driver, so that a part of a driver
/// can use the host without naming the whole.
///
/// # Invariants
///
/// `shost` is a valid host with a template of a [`Driver`] whose `CommandData` are `D`. Its
/// [`HostData`] are not null, and are for that driver, as is `take_data`; `units` is part of them.
/// This object holds a reference to the host, which is added to the system while `added` is true.
#[pin_data(PinnedDrop)]
pub struct Host<D: CommandData> {
    shost: NonNull<bindings::Scsi_Host>,
    units: Arc<Units>,
    /// [`take_host_data`] for the driver of the host.
    take_data: unsafe fn(NonNull<bindings::Scsi_Host>),
    #[pin]
    added: Mutex<bool>,
    _data: PhantomData<fn() -> D>,
}

// SAFETY: A host can be used from any thread, and every `Driver` is `Send` and `Sync`.
unsafe impl<D: CommandData> Send for Host<D> {}

// SAFETY: As above; the midlayer has its own locks.
unsafe impl<D: CommandData> Sync for Host<D> {}

impl<D: CommandData> Host<D> {
    /// Makes a host below a device, and adds it to the system. From here on the driver's callbacks
    /// are called.
    ///
    /// Process context. Fails with [`EINVAL`] for limits that make no sense.
    pub fn new<'a, T: Driver<CommandData = D>>(
        parent: &'a device::Device<device::Bound>,
        limits: HostLimits,
        driver: Arc<T>,
    ) -> impl PinInit<Self, Error> + use<'a, T, D> {
        pin_init::pin_init_scope(move || {
            let shared = HostShared::new(driver, limits.queues)?;
            let units = shared.units.clone();
            let shost = Self::allocate(&limits, shared)?;

            // INVARIANT: The host has a template and data for `T`, and its reference is ours. It is
            // not added, so dropping this only gives up the reference.
            let host = try_pin_init!(Self {
                shost,
                units,
                take_data: take_host_data::<T>,
                added <- new_mutex!(false),
                _data: PhantomData,
            }? Error);

            Ok(host.pin_chain(move |host| host.as_ref().get_ref().add(parent)))
        })
    }

    /// Allocates the C host and sets its limits and its data.
    fn allocate<T: Driver<CommandData = D>>(
        limits: &HostLimits,
        shared: Arc<HostShared<T>>,
    ) -> Result<NonNull<bindings::Scsi_Host>> {
        let data_len = c_int::try_from(size_of::<HostData>())?;
        let template = Template::<T>::get()?;

        // SAFETY: The template is valid for ever.
        let shost = unsafe { bindings::scsi_host_alloc(template, data_len) };
        let shost = NonNull::new(shost).ok_or(ENOMEM)?;

        // SAFETY: The host is valid, and nobody else uses it yet.
        let c_host = unsafe { &mut *shost.as_ptr() };
        let applied = limits.apply(c_host);

        if let Some(attributes) = T::attributes() {
            // As `shost_groups` of the template, which is a constant and cannot name statics that C
            // writes.
            c_host.shost_dev.groups = attributes.as_raw().cast_mut();
        }

        // The midlayer only reads it.
        c_host.transportt = ptr::from_ref(DevicePdu::<D>::transport()).cast_mut();

        if let Err(error) = applied {
            // SAFETY: The reference is ours, and the host has no data yet.
            unsafe { bindings::scsi_host_put(shost.as_ptr()) };
            return Err(error);
        }

        // SAFETY: The host was allocated with room for this.
        unsafe { host_data(shost).write(HostData::new(shared)) };

        Ok(shost)
    }

    /// Adds the host to the system.
    fn add(&self, parent: &device::Device<device::Bound>) -> Result {
        let mut added = self.added.lock();

        // CAST: `Device` is a transparent wrapper of the C structure.
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

    /// Starts a scan for targets and devices, and may return before it has ended:
    /// `scsi_scan_host()`.
    ///
    /// Process context.
    pub fn scan(&self) {
        // SAFETY: By the type invariant the host is valid.
        unsafe { bindings::scsi_scan_host(self.shost.as_ptr()) };
    }

    /// Scans a target for devices: `scsi_scan_target()`.
    ///
    /// Process context.
    pub fn scan_target(&self, target: u32) {
        // CAST: All bits set means any logical unit.
        self.scan_unit(target, i64::from(bindings::SCAN_WILD_CARD) as u64);
    }

    /// Scans one address for a device, unless the user wants no scans: `scsi_scan_target()`.
    ///
    /// Process context.
    pub fn scan_unit(&self, target: u32, lun: u64) {
        // SAFETY: By the type invariant the host is valid.
        unsafe {
            bindings::scsi_scan_target(
                &raw mut (*self.shost.as_ptr()).shost_gendev,
                0,
                target,
                lun,
                bindings::scsi_scan_mode_SCSI_SCAN_INITIAL,
            );
        }
    }

    /// Looks for one device, and adds it if it is there and new: `scsi_add_device()`.
    ///
    /// Process context. Fails with [`ENODEV`] if it is not there.
    pub fn add_device(&self, target: u32, lun: u64) -> Result {
        // SAFETY: By the type invariant the host is valid.
        to_result(unsafe { bindings::scsi_add_device(self.shost.as_ptr(), 0, target, lun) })
    }

    /// Returns a device of the host, unless it is being removed: `scsi_device_lookup()`.
    ///
    /// Process context.
    pub fn device_lookup(&self, target: u32, lun: u64) -> Option<ARef<Device<D>>> {
        // SAFETY: By the type invariant the host is valid.
        let sdev = unsafe { bindings::scsi_device_lookup(self.shost.as_ptr(), 0, target, lun) };
        let sdev = NonNull::new(sdev)?;

        // SAFETY: The device is one of the host, and `scsi_device_lookup()` has taken a reference.
        let device = unsafe { Device::get(sdev) };

        // SAFETY: The reference is ours.
        unsafe { bindings::scsi_device_put(sdev.as_ptr()) };
        device
    }

    /// Returns all devices of the host, one by one: `__shost_for_each_device()`. Others may come
    /// and go meanwhile.
    ///
    /// Process context.
    pub fn devices(&self) -> Devices<'_, D> {
        // INVARIANT: The host is borrowed, and there is no former device.
        Devices {
            shost: self.shost,
            former: ptr::null_mut(),
            _host: PhantomData,
        }
    }

    /// Returns whether `predicate` is true for any command of the host that the midlayer has
    /// started, and that has not ended yet. Stops at the first: `scsi_host_busy_iter()`.
    ///
    /// Any context that can sleep. Commands come and go meanwhile. `predicate` must not sleep.
    pub fn any_in_flight(&self, predicate: impl FnMut(&Cmnd<D>) -> bool) -> bool {
        self.units
            .with_tags(|| {
                // SAFETY: By the type invariant the host is valid, and its commands hold `D`. Its
                // tags stay.
                unsafe { any_in_flight(self.shost.as_ptr(), predicate) }
            })
            .unwrap_or(false)
    }

    /// Reports to the midlayer that somebody else has reset a target, so that it expects a unit
    /// attention of its devices: `scsi_report_device_reset()`.
    ///
    /// Process context.
    pub fn report_device_reset(&self, target: u32) {
        let Ok(target) = c_int::try_from(target) else {
            return;
        };

        // SAFETY: By the type invariant the host is valid.
        unsafe { bindings::scsi_helper_report_device_reset(self.shost.as_ptr(), target) };
    }

    /// Lowers the number of commands that each device can have in flight to `most`: `cmd_per_lun`,
    /// and the queue depth of the devices that are there.
    ///
    /// Process context.
    pub fn limit_queue_depth(&self, most: u16) {
        let most = c_short::try_from(most).unwrap_or(c_short::MAX);

        // SAFETY: By the type invariant the host is valid. Other threads read the field, and get
        // the former value or the new one.
        unsafe {
            let former = &raw mut (*self.shost.as_ptr()).cmd_per_lun;

            if former.read_volatile() <= most {
                return;
            }
            former.write_volatile(most);
        }

        for device in self.devices() {
            let sdev = device.as_raw();

            // The midlayer raises the depth again while all goes well, up to `max_queue_depth`.
            //
            // SAFETY: `device` is valid. Other threads read the field, and get the former value or
            // the new one.
            unsafe {
                bindings::scsi_change_queue_depth(sdev, most.into());
                (&raw mut (*sdev).max_queue_depth).write_volatile(most.unsigned_abs());
            }
        }
    }

    /// Removes the host and all its devices from the system, after their commands have ended:
    /// `scsi_remove_host()`. Does nothing the second time.
    ///
    /// Process context, outside of the callbacks of [`Driver`]. When it returns, these are not
    /// called any more.
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
impl<D: CommandData> PinnedDrop for Host<D> {
    fn drop(self: Pin<&mut Self>) {
        self.remove();

        // SAFETY: By the type invariant the function is for the driver of the host, which is
        // removed. This is the only call.
        unsafe { (self.take_data)(self.shost) };

        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::scsi_host_put(self.shost.as_ptr()) };
    }
}

/// The devices of a host. See [`Host::devices`].
///
/// # Invariants
///
/// `shost` is a valid host whose commands hold `D`. `former` is null, or a device of it to which
/// this object holds a reference (`scsi_device_get()`).
pub struct Devices<'a, D: CommandData> {
    shost: NonNull<bindings::Scsi_Host>,
    former: *mut bindings::scsi_device,
    _host: PhantomData<&'a D>,
}

impl<D: CommandData> Iterator for Devices<'_, D> {
    type Item = ARef<Device<D>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // SAFETY: By the type invariant the host is valid, and `former` is null or a device of
            // it. The function takes over the reference to it.
            let next =
                unsafe { bindings::__scsi_iterate_devices(self.shost.as_ptr(), self.former) };

            // INVARIANT: The function has taken a reference to the next device.
            self.former = next;

            let sdev = NonNull::new(self.former)?;

            // SAFETY: The device is one of the host, and this object holds a reference.
            if let Some(device) = unsafe { Device::get(sdev) } {
                return Some(device);
            }
        }
    }
}

impl<D: CommandData> Drop for Devices<'_, D> {
    fn drop(&mut self) {
        if !self.former.is_null() {
            // SAFETY: By the type invariant the reference is ours.
            unsafe { bindings::scsi_device_put(self.former) };
        }
    }
}
