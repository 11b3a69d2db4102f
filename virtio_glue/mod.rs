// SPDX-License-Identifier: GPL-2.0

//! The virtio bus made safe.
//!
//! A driver implements [`Driver`] and registers it by [`kernel::driver::Registration`] of its
//! [`Adapter`]. Its `probe` gets a [`Device`], reads features and configuration space, and creates
//! the virtqueues:
//!
//! - A [`Virtqueue<T>`] is in a lock ([`Locked`](crate::kernel_glue::Locked)), and only its guard
//!   gives access to it. Its buffers are [`Token`](crate::kernel_glue::Token)s: owned objects that
//!   also own the memory which the device reads or writes. The object that was added comes back
//!   with its type.
//! - A [`Handler`] is an object that has a virtqueue, and handles the buffers that the device has
//!   used.
//! - [`Virtqueues`] is the set of all handlers of a device. Only the set creates and deletes the C
//!   virtqueues, for all handlers at once, so no handler can use a virtqueue that is deleted.
//!
//! The notification of the device is a separate step ([`Notify`]), for which the lock can be
//! released.
//!
//! # Examples
//!
//! `examples/virtio_rng/` is a driver for the entropy device, without `unsafe`.
//!
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

mod adapter;
mod bindings;
mod chain;
mod device;
mod driver;
#[cfg(CONFIG_KUNIT = "y")]
mod fake_device;
mod handler;
mod id_table;
mod interrupts;
mod resetter;
mod virtqueue;
mod virtqueues;

pub use self::{
    adapter::{
        Adapter,
        Bound, //
    },
    chain::Chain,
    device::Device,
    driver::{
        Driver,
        ResetBy, //
    },
    handler::{
        Handler,
        Handlers,
        Rest, //
    },
    id_table::{
        DeviceId,
        IdArray,
        IdTable, //
    },
    interrupts::{
        is_lack_of_interrupts,
        Interrupts, //
    },
    resetter::{
        ResetError,
        Resetter, //
    },
    virtqueue::{
        AddError,
        Notify,
        Virtqueue,
        VirtqueueGuard, //
    },
    virtqueues::Virtqueues,
};

#[cfg(CONFIG_KUNIT = "y")]
pub use self::fake_device::{
    FakeDevice,
    Manner, //
};

pub(crate) use self::{
    id_table::virtio_device_table,
    virtqueue::new_virtqueue, //
};
