// SPDX-License-Identifier: GPL-2.0

//! Registration of a driver on the virtio bus.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use super::{
    bindings,
    Device,
    Resetter, //
};
use core::{
    marker::PhantomData,
    mem::offset_of,
    pin::Pin, //
};
use kernel::{
    device,
    driver,
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    types::Opaque, //
};

/// An adapter for the registration of virtio drivers.
pub struct Adapter<T: Driver>(PhantomData<T>);

// SAFETY:
// - `bindings::virtio_driver` is a C type declared as `repr(C)`.
// - `T::Data` is the type of the driver's device private data.
// - `struct virtio_driver` embeds a `struct device_driver`, at `DEVICE_DRIVER_OFFSET`.
unsafe impl<T: Driver> driver::DriverLayout for Adapter<T> {
    type DriverType = bindings::virtio_driver;
    type DriverData<'bound> = T::Data;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::virtio_driver, driver);
}

// SAFETY: A call to `unregister` is valid for an instance that `register` has registered.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        vdrv: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        let features_len = c_uint::try_from(T::FEATURES.len())?;

        // SAFETY: It is safe to set the fields of `struct virtio_driver` on initialisation.
        unsafe {
            let vdrv = vdrv.get();

            (*vdrv).driver.name = name.as_char_ptr();
            (*vdrv).id_table = T::ID_TABLE.as_ptr().cast();
            (*vdrv).feature_table = T::FEATURES.as_ptr();
            (*vdrv).feature_table_size = features_len;
            (*vdrv).probe = Some(Self::probe_callback);
            (*vdrv).scan = Some(Self::scan_callback);
            (*vdrv).remove = Some(Self::remove_callback);
            (*vdrv).config_changed = Some(Self::config_changed_callback);
            #[cfg(CONFIG_PM_SLEEP)]
            {
                (*vdrv).freeze = Some(Self::freeze_callback);
                (*vdrv).restore = Some(Self::resume_callback);
            }
            (*vdrv).reset_prepare = Some(Self::reset_prepare_callback);
            (*vdrv).reset_done = Some(Self::resume_callback);
            (*vdrv).shutdown = Some(Self::shutdown_callback);
        }

        // SAFETY: `vdrv` is a valid `struct virtio_driver` that stays pinned until `unregister`.
        to_result(unsafe { bindings::__register_virtio_driver(vdrv.get(), module.as_ptr()) })
    }

    unsafe fn unregister(vdrv: &Opaque<Self::DriverType>) {
        // SAFETY: By the safety requirements of this function, `vdrv` is registered.
        unsafe { bindings::unregister_virtio_driver(vdrv.get()) };
    }
}

impl<T: Driver> Adapter<T> {
    /// # Safety
    ///
    /// Called by the virtio core only, with a device that is being bound, once its features are
    /// negotiated and before `DRIVER_OK`.
    unsafe extern "C" fn probe_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The virtio core calls this with a valid device, which is bound for the duration
        // of the call.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        from_result(|| {
            let data = T::probe(dev);

            dev.as_ref().set_drvdata(data)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the virtio core only, after a successful probe and `DRIVER_OK`.
    unsafe extern "C" fn scan_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: The virtio core calls this with a valid device, which is bound for the duration
        // of the call.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: The probe was successful, so `set_drvdata` has stored a `T::Data`.
        let data = unsafe { dev.as_ref().drvdata_borrow::<T::Data>() };

        if T::resetter(data).is_for(dev) {
            // SAFETY: The device is bound, and `remove_callback` disables it.
            unsafe { T::resetter(data).enable() };
        }
        T::scan(dev, data);
    }

    /// # Safety
    ///
    /// Called by the virtio core only, once, for a device whose probe was successful.
    unsafe extern "C" fn remove_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: The virtio core calls this with a valid device, which is bound for the duration
        // of the call.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: The probe was successful, so `set_drvdata` has stored a `T::Data`; the driver
        // core takes it away after this callback.
        let data = unsafe { dev.as_ref().drvdata_borrow::<T::Data>() };

        T::unbind(dev, data);
        T::resetter(data).disable();

        // A device that could not be set up again has no virtqueues, and was not reset since.
        if dev.status() != 0 && !dev.is_gone() {
            // SAFETY: The virtio core calls this with a valid device, whose virtqueues the driver
            // has deleted.
            unsafe { bindings::virtio_reset_device(vdev) };
        }
    }
}

/// The callbacks of a device that is bound. Each is only ever called by the virtio core, after a
/// successful probe and before the remove callback.
impl<T: Driver> Adapter<T> {
    /// Calls `f` with a bound device and its data.
    ///
    /// # Safety
    ///
    /// `vdev` must be a device whose probe by this driver was successful, and whose remove callback
    /// is not called during this call.
    unsafe fn with_bound<R>(
        vdev: *mut bindings::virtio_device,
        f: impl FnOnce(&Device<device::Bound>, Pin<&T::Data>) -> R,
    ) -> R {
        // SAFETY: By the safety requirements of this function, the device is valid and bound.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: By the safety requirements of this function, `set_drvdata` has stored a
        // `T::Data`, which is taken away after the remove callback.
        let data = unsafe { dev.as_ref().drvdata_borrow::<T::Data>() };

        f(dev, data)
    }

    /// # Safety
    ///
    /// See the `impl`.
    unsafe extern "C" fn config_changed_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: By the safety requirements of this function.
        unsafe { Self::with_bound(vdev, T::config_changed) };
    }

    /// # Safety
    ///
    /// See the `impl`.
    #[cfg(CONFIG_PM_SLEEP)]
    unsafe extern "C" fn freeze_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: By the safety requirements of this function.
        unsafe {
            Self::with_bound(vdev, |dev, data| {
                from_result(|| T::quiesce(dev, data, Resets::System).map(|()| 0))
            })
        }
    }

    /// # Safety
    ///
    /// See the `impl`.
    unsafe extern "C" fn reset_prepare_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: By the safety requirements of this function.
        unsafe {
            Self::with_bound(vdev, |dev, data| {
                let by = if T::resetter(data).is_current() {
                    Resets::Driver
                } else {
                    Resets::Transport
                };

                from_result(|| T::quiesce(dev, data, by).map(|()| 0))
            })
        }
    }

    /// # Safety
    ///
    /// See the `impl`.
    unsafe extern "C" fn resume_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: By the safety requirements of this function.
        unsafe {
            Self::with_bound(vdev, |dev, data| {
                from_result(|| T::resume(dev, data).map(|()| 0))
            })
        }
    }

    /// # Safety
    ///
    /// See the `impl`.
    unsafe extern "C" fn shutdown_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: By the safety requirements of this function.
        let gone = unsafe {
            Self::with_bound(vdev, |dev, data| {
                T::shutdown(dev, data);
                dev.is_gone()
            })
        };

        // A reset waits for the device, which a device that is gone never answers.
        if !gone {
            // SAFETY: The virtio core calls this with a valid device.
            unsafe { bindings::virtio_device_shutdown(vdev) };
        }
    }
}

/// An entry of the table of devices that a driver serves: `struct virtio_device_id`.
#[repr(transparent)]
pub struct DeviceId(bindings::virtio_device_id);

// SAFETY: A `DeviceId` is plain numbers that never change.
unsafe impl Sync for DeviceId {}

impl DeviceId {
    /// A device of type `device` (`VIRTIO_ID_*`) of any vendor.
    pub const fn any_vendor(device: u32) -> Self {
        Self(bindings::virtio_device_id {
            device,
            vendor: bindings::VIRTIO_DEV_ANY_ID,
        })
    }

    /// The entry that ends a table.
    pub const fn end() -> Self {
        Self(bindings::virtio_device_id {
            device: 0,
            vendor: 0,
        })
    }
}

/// Declares the table of devices a driver serves, with its aliases for module loading.
///
/// modpost finds the table by the name of its symbol. Use it at the root of the crate.
macro_rules! virtio_device_table {
    ($name:ident, [$($id:expr),* $(,)?]) => {
        #[export_name = concat!("__mod_device_table__kmod_", module_path!(), "__virtio__", stringify!($name))]
        static $name: [$crate::virtio_glue::DeviceId; [$($id),*].len() + 1] =
            [$($id,)* $crate::virtio_glue::DeviceId::end()];
    };
}
pub(crate) use virtio_device_table;

/// Who resets a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resets {
    /// The driver, by its [`Resetter`].
    Driver,
    /// The system, which is suspended or hibernated.
    System,
    /// The transport.
    Transport,
}

/// A virtio driver: `struct virtio_driver`.
pub trait Driver {
    /// What the driver keeps for each device. It is dropped after [`Driver::unbind`].
    type Data: Send + Sync + 'static;

    /// The devices it serves, made by `virtio_device_table!`, with the entry that ends it.
    const ID_TABLE: &'static [DeviceId];

    /// The device-specific features (bits 0 to 23 and 50 to 127) that it can make use of.
    const FEATURES: &'static [c_uint];

    /// Returns what resets the device. It must be the same each time.
    fn resetter(data: Pin<&Self::Data>) -> &Resetter;

    /// Called when a device is found, after its features were negotiated.
    ///
    /// Process context. On error the virtio core marks the device failed.
    fn probe(dev: &Device<device::Core<'_>>) -> impl PinInit<Self::Data, Error>;

    /// Called after a successful probe, when the device is live (`DRIVER_OK`).
    ///
    /// Process context, in the same thread as [`Driver::probe`].
    fn scan(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>);

    /// Called when the device is unbound from the driver. The device has to be reset and its
    /// virtqueues deleted when this returns.
    ///
    /// Process context.
    fn unbind(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>);

    /// Called when the device says that its configuration space or its status has changed.
    ///
    /// Hard interrupt context, most of the time.
    fn config_changed(dev: &Device<device::Bound>, data: Pin<&Self::Data>);

    /// Called before the device is reset by somebody else, or loses its state: before the system is
    /// suspended, and before a transport is reset. The driver has to reset the device and delete its
    /// virtqueues. `by` is who does that. The virtio core does not always call [`Driver::resume`] after it.
    ///
    /// Process context.
    fn quiesce(dev: &Device<device::Bound>, data: Pin<&Self::Data>, by: Resets) -> Result;

    /// Called after the device was reset, when its features are negotiated again. The driver has to
    /// create its virtqueues again.
    ///
    /// Process context.
    fn resume(dev: &Device<device::Bound>, data: Pin<&Self::Data>) -> Result;

    /// Called when the system shuts down, before the device is reset for good. The driver has to see to it
    /// that nobody sets the device up again.
    ///
    /// Process context.
    fn shutdown(dev: &Device<device::Bound>, data: Pin<&Self::Data>);
}
