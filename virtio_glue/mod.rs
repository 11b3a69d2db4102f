// SPDX-License-Identifier: GPL-2.0

//! The virtio bus made safe.
//!
//! A driver implements [`Driver`] and hands [`Adapter`] to [`kernel::driver::Registration`]. In
//! `probe` it gets a [`Device`], reads what it needs of features and configuration space, and
//! makes its virtqueues:
//!
//! - A [`Virtqueue<T>`] lives inside a lock ([`Locked`]), so it cannot be touched without holding
//!   it. What is added to it is a [`Token`]: an owned object that also owns the memory the device
//!   will read or write. What comes back from it is the same object, with its type.
//! - An object that has a virtqueue and knows what to do when the device has used buffers
//!   implements [`Handler`].
//! - [`Virtqueues`] is the set of all handlers of a device. It alone creates the C virtqueues and
//!   deletes them, for all handlers at once, so a handler can never see a virtqueue that is gone.
//!
//! Notification of the device is a separate step ([`Notify`]) that can be taken after the lock is
//! dropped.
//!
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

mod bindings;
mod buffer;
mod chain;
mod completion;
mod debug_dir;
mod device;
mod driver;
mod flag;
mod interrupts;
mod jiffies;
mod lock;
mod rate_limit;
mod resetter;
mod token;
mod virtqueue;
mod virtqueues;
mod worker;

pub use self::{
    buffer::DeviceBuffer,
    chain::{
        Chain,
        Segments, //
    },
    completion::TimedCompletion,
    debug_dir::DebugDir,
    device::Device,
    driver::{
        Adapter,
        DeviceId,
        Driver,
        Resets, //
    },
    flag::Flag,
    interrupts::{
        is_lack_of_interrupts,
        InterruptLine,
        Interrupts, //
    },
    jiffies::Stamp,
    lock::{
        wait_for_rcu,
        IrqSave,
        Locked, //
    },
    rate_limit::RateLimit,
    resetter::{
        ResetError,
        Resetter, //
    },
    token::{
        Either,
        EvenToken,
        Token, //
    },
    virtqueue::{
        AddError,
        Notify,
        Virtqueue, //
    },
    virtqueues::{
        Handler,
        Handlers,
        Rest,
        Virtqueues, //
    },
    worker::{
        Queue,
        Task,
        Worker,
        Workqueues, //
    },
};

pub(crate) use self::{
    driver::virtio_device_table,
    lock::new_locked, //
};
