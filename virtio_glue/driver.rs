// SPDX-License-Identifier: GPL-2.0

//! The callbacks of a virtio driver.
//!
//! C header: [`include/linux/virtio.h`](srctree/include/linux/virtio.h)

use super::{
    Device,
    IdTable,
    Resetter,
    Virtqueues, //
};
use core::pin::Pin;
use kernel::{
    device,
    ffi::c_uint,
    prelude::*,
    sync::Arc, //
};

/// The cause of a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetBy {
    /// The driver has called [`Resetter::reset`].
    Driver,
    /// The transport resets its function.
    Transport,
}

/// A virtio driver: `struct virtio_driver`.
///
/// The virtqueues of a device belong to its [`Adapter`](super::Adapter), which deletes them if the
/// driver has not: after [`Driver::unbind`], [`Driver::shutdown`] and a failed probe, and after a
/// successful [`Driver::freeze`] or [`Driver::reset_prepare`].
///
/// Callbacks that are called without the device's lock get a [`Device<device::Bound>`].
#[vtable]
pub trait Driver {
    /// The driver's data of a device, which are dropped after [`Driver::unbind`].
    type Data: Send + Sync + 'static;

    /// The devices that the driver serves. `virtio_device_table!` declares the table.
    const ID_TABLE: IdTable;

    /// The device-specific features that the driver supports, of bits 0 to 23 and 50 to 127.
    const FEATURE_TABLE: &'static [c_uint];

    /// Binds a device, whose features are negotiated. `virtqueues` has none yet, and `resetter`
    /// works only once the device is bound.
    ///
    /// Process context. If it fails, the virtio core sets `VIRTIO_CONFIG_S_FAILED`.
    fn probe(
        dev: &Device<device::Core<'_>>,
        virtqueues: &Arc<Virtqueues>,
        resetter: &Arc<Resetter>,
    ) -> impl PinInit<Self::Data, Error>;

    /// Called after a successful probe and `DRIVER_OK`.
    ///
    /// Process context, in the same thread as [`Driver::probe`].
    fn scan(_dev: &Device<device::Core<'_>>, _data: Pin<&Self::Data>) {
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Unbinds a device: `remove`.
    ///
    /// Process context.
    fn unbind(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>);

    /// Called when the device reports a change of its configuration space or its status.
    ///
    /// Any context, most of the time hard interrupt context.
    fn config_changed(_dev: &Device<device::Bound>, _data: Pin<&Self::Data>) {
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Called before a suspend or a hibernation of the system, in which the device loses its state.
    ///
    /// Process context. The virtio core does not always call [`Driver::restore`] after it.
    fn freeze(_dev: &Device<device::Bound>, _data: Pin<&Self::Data>) -> Result {
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Called when the system resumes, after a reset of the device and a new negotiation of its
    /// features. The driver has to create its virtqueues again.
    ///
    /// Process context.
    fn restore(_dev: &Device<device::Bound>, _data: Pin<&Self::Data>) -> Result {
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Called before a reset of the device, by the transport or by [`Resetter::reset`].
    ///
    /// Process context. The virtio core does not always call [`Driver::reset_done`] after it.
    fn reset_prepare(
        _dev: &Device<device::Bound>,
        _data: Pin<&Self::Data>,
        _by: ResetBy,
    ) -> Result {
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Called after a reset of the device and a new negotiation of its features. The driver has to
    /// create its virtqueues again.
    ///
    /// Process context.
    fn reset_done(_dev: &Device<device::Bound>, _data: Pin<&Self::Data>) -> Result {
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Called when the system shuts down, before the last reset of the device. After it, the device
    /// has no virtqueues.
    ///
    /// Process context.
    fn shutdown(_dev: &Device<device::Core<'_>>, _data: Pin<&Self::Data>) {
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}
