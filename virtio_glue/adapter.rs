// SPDX-License-Identifier: GPL-2.0

//! Registration of a driver on the virtio bus, and the callbacks of the virtio core.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use super::{
    bindings,
    Device,
    Driver,
    ResetBy,
    Resetter,
    Virtqueues, //
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
    sync::Arc,
    types::Opaque, //
};

/// An adapter for the registration of virtio drivers.
pub struct Adapter<T: Driver>(PhantomData<T>);

/// The private data of a bound device: those of the driver, and two objects of the adapter.
///
/// The driver may keep references to these two for ever. Once the device is unbound, their methods
/// do nothing.
#[pin_data]
pub struct Bound<T: Driver> {
    #[pin]
    data: T::Data,
    virtqueues: Arc<Virtqueues>,
    resetter: Arc<Resetter>,
}

// SAFETY:
// - `bindings::virtio_driver` is a C type declared as `repr(C)`.
// - `Bound<T>` is the type of the driver's device private data.
// - `struct virtio_driver` embeds a `struct device_driver`, at `DEVICE_DRIVER_OFFSET`.
unsafe impl<T: Driver + 'static> driver::DriverLayout for Adapter<T> {
    type DriverType = bindings::virtio_driver;
    type DriverData<'bound> = Bound<T>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::virtio_driver, driver);
}

// SAFETY: `unregister` may be called for an instance that `register` has registered.
unsafe impl<T: Driver + 'static> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        vdrv: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        let features_len = c_uint::try_from(T::FEATURE_TABLE.len())?;

        /// Returns a callback if the driver has it.
        fn optional<F>(has: bool, callback: F) -> Option<F> {
            has.then_some(callback)
        }

        // SAFETY: `vdrv` is valid, and not registered yet, so only this function uses it.
        unsafe {
            let vdrv = vdrv.get();

            (*vdrv).driver.name = name.as_char_ptr();
            (*vdrv).id_table = T::ID_TABLE.as_ptr();
            (*vdrv).feature_table = T::FEATURE_TABLE.as_ptr();
            (*vdrv).feature_table_size = features_len;
            // Not offered.
            (*vdrv).validate = None;
            (*vdrv).probe = Some(Self::probe_callback);
            // The adapter enables the `Resetter` in it.
            (*vdrv).scan = Some(Self::scan_callback);
            (*vdrv).remove = Some(Self::remove_callback);
            (*vdrv).config_changed = optional(T::HAS_CONFIG_CHANGED, Self::config_changed_callback);
            #[cfg(CONFIG_PM_SLEEP)]
            {
                (*vdrv).freeze = optional(T::HAS_FREEZE, Self::freeze_callback);
                (*vdrv).restore = optional(T::HAS_RESTORE, Self::restore_callback);
            }
            (*vdrv).reset_prepare = optional(T::HAS_RESET_PREPARE, Self::reset_prepare_callback);
            (*vdrv).reset_done = optional(T::HAS_RESET_DONE, Self::reset_done_callback);
            // The adapter deletes the virtqueues in it, and does not reset a device that is gone.
            (*vdrv).shutdown = Some(Self::shutdown_callback);
        }

        // SAFETY: `vdrv` is valid, initialised above, and stays in place until `unregister`.
        to_result(unsafe { bindings::__register_virtio_driver(vdrv.get(), module.as_ptr()) })
    }

    unsafe fn unregister(vdrv: &Opaque<Self::DriverType>) {
        // SAFETY: The caller guarantees that `register` has registered `vdrv`.
        unsafe { bindings::unregister_virtio_driver(vdrv.get()) };
    }
}

impl<T: Driver + 'static> Adapter<T> {
    /// # Safety
    ///
    /// Called by the virtio core only, with a device that is being bound, once its features are
    /// negotiated and before `DRIVER_OK`.
    unsafe extern "C" fn probe_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The virtio core calls this with a valid device, which is bound for the duration
        // of the call.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        from_result(|| {
            // SAFETY: The device is being bound, so it has no other set of virtqueues. The set is
            // retired while it is bound: below if the probe fails, or else by `remove_callback`.
            // Only the set uses `priv`, which `Device` does not lend.
            let virtqueues = unsafe { Virtqueues::new((&**dev).into()) };
            let virtqueues = Arc::pin_init(virtqueues, GFP_KERNEL)?;
            let resetter = Arc::pin_init(Resetter::new((&**dev).into()), GFP_KERNEL)?;

            let (queues, reset) = (&virtqueues, &resetter);
            let bound = try_pin_init!(Bound::<T> {
                data <- T::probe(dev, queues, reset),
                virtqueues: queues.clone(),
                resetter: reset.clone(),
            }? Error);

            dev.as_ref()
                .set_drvdata(bound)
                .inspect_err(|_| virtqueues.retire())?;
            Ok(0)
        })
    }
}

impl<T: Driver> Bound<T> {
    /// Returns the driver's data.
    fn data(self: Pin<&Self>) -> Pin<&T::Data> {
        // SAFETY: `data` is structurally pinned.
        unsafe { self.map_unchecked(|bound| &bound.data) }
    }

    /// Allows no more resets by the driver, and deletes the virtqueues for good.
    fn retire(&self) {
        self.resetter.disable();
        self.virtqueues.retire();
    }
}

/// The callbacks of a device that is bound.
impl<T: Driver + 'static> Adapter<T> {
    /// Calls `f` with a bound device and its data.
    ///
    /// # Safety
    ///
    /// `vdev` must be a device whose probe by this driver was successful, and whose remove callback
    /// does not return before this call does. `f` may use `device::Core` only in a callback that is
    /// called with the device's lock.
    unsafe fn with_bound<R>(
        vdev: *mut bindings::virtio_device,
        f: impl FnOnce(&Device<device::CoreInternal<'_>>, Pin<&Bound<T>>) -> R,
    ) -> R {
        // SAFETY: The caller guarantees that the device was probed and is not removed, so it is
        // valid and bound.
        let dev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: The caller guarantees that the probe was successful, which has stored a
        // `Bound<T>` by `set_drvdata`. It is dropped after the remove callback.
        let bound = unsafe { dev.as_ref().drvdata_borrow::<Bound<T>>() };

        f(dev, bound)
    }

    /// # Safety
    ///
    /// Called by the virtio core only, after a successful probe and `DRIVER_OK`, with the device's
    /// lock.
    unsafe extern "C" fn scan_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: The device was probed and is not removed yet.
        unsafe {
            Self::with_bound(vdev, |dev, bound| {
                // SAFETY: The device is bound, and `remove_callback` disables the resetter.
                bound.resetter.enable();
                if T::HAS_SCAN {
                    T::scan(dev, bound.data());
                }
            })
        }
    }

    /// # Safety
    ///
    /// Called by the virtio core only, once, for a device whose probe was successful, with the
    /// device's lock.
    unsafe extern "C" fn remove_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: The device was probed, and this is the remove callback.
        unsafe {
            Self::with_bound(vdev, |dev, bound| {
                T::unbind(dev, bound.data());
                bound.retire();

                // After a failed attempt to set it up again, a device has no virtqueues, but a
                // status.
                if dev.status() != 0 && !dev.is_gone() {
                    // SAFETY: The device is valid and bound, and its virtqueues are deleted.
                    bindings::virtio_reset_device(vdev);
                }
            })
        }
    }

    /// # Safety
    ///
    /// Called by the virtio core only, after a successful probe and before the remove callback,
    /// with the device's lock.
    unsafe extern "C" fn shutdown_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: The device was probed and is not removed yet.
        unsafe {
            Self::with_bound(vdev, |dev, bound| {
                if T::HAS_SHUTDOWN {
                    T::shutdown(dev, bound.data());
                }
                bound.retire();

                // This resets the device, and would poll the status of one that is gone for ever.
                if !dev.is_gone() {
                    // SAFETY: The device is valid and bound.
                    bindings::virtio_device_shutdown(vdev);
                }
            })
        }
    }

    /// # Safety
    ///
    /// Called by the virtio core only, after a successful probe and before the remove callback.
    unsafe extern "C" fn config_changed_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: The device was probed and is not removed yet.
        unsafe { Self::with_bound(vdev, |dev, bound| T::config_changed(dev, bound.data())) };
    }

    /// # Safety
    ///
    /// Called by the virtio core only, by the transport's power management, between probe and
    /// remove callback.
    #[cfg(CONFIG_PM_SLEEP)]
    unsafe extern "C" fn freeze_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device was probed and is not removed yet.
        unsafe {
            Self::with_bound(vdev, |dev, bound| {
                from_result(|| {
                    T::freeze(dev, bound.data())?;
                    bound.virtqueues.delete();
                    Ok(0)
                })
            })
        }
    }

    /// # Safety
    ///
    /// Called by the virtio core only, by the transport's power management, between probe and
    /// remove callback.
    #[cfg(CONFIG_PM_SLEEP)]
    unsafe extern "C" fn restore_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device was probed and is not removed yet.
        unsafe {
            Self::with_bound(vdev, |dev, bound| {
                from_result(|| T::restore(dev, bound.data()).map(|()| 0))
            })
        }
    }

    /// # Safety
    ///
    /// Called by the virtio core only, on behalf of the transport or of [`Resetter::reset`],
    /// between probe and remove callback.
    unsafe extern "C" fn reset_prepare_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device was probed and is not removed yet.
        unsafe {
            Self::with_bound(vdev, |dev, bound| {
                let by = if bound.resetter.is_current() {
                    ResetBy::Driver
                } else {
                    ResetBy::Transport
                };

                let result = from_result(|| {
                    T::reset_prepare(dev, bound.data(), by)?;
                    bound.virtqueues.delete();
                    Ok(0)
                });

                // The transport resets the function whatever the callback returns.
                if by == ResetBy::Transport {
                    bound.virtqueues.bar_line();
                }
                result
            })
        }
    }

    /// # Safety
    ///
    /// Called by the virtio core only, on behalf of the transport or of [`Resetter::reset`],
    /// between probe and remove callback.
    unsafe extern "C" fn reset_done_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The device was probed and is not removed yet.
        unsafe {
            Self::with_bound(vdev, |dev, bound| {
                bound.virtqueues.unbar_line();
                from_result(|| T::reset_done(dev, bound.data()).map(|()| 0))
            })
        }
    }
}
