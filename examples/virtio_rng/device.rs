// SPDX-License-Identifier: GPL-2.0

//! The life of one entropy device.

use crate::{
    request_queue::RequestQueue,
    virtio_glue::{
        Device,
        Driver,
        Handlers,
        IdTable,
        ResetBy,
        Resetter,
        Virtqueues, //
    },
};
use core::pin::Pin;
use kernel::{
    debugfs,
    device,
    device::{
        Bound,
        Core, //
    },
    ffi::c_uint,
    prelude::*,
    sync::Arc, //
};

/// The driver.
pub struct VirtioRng;

/// The driver's data of a device. The fields are dropped from top to bottom.
#[pin_data]
pub struct DeviceData {
    /// Dropping it waits for readers. The adapter deletes the virtqueues before it drops this, so
    /// nobody waits for the device then.
    #[pin]
    _random: debugfs::File<Arc<RequestQueue>>,
    virtqueues: Arc<Virtqueues>,
}

impl DeviceData {
    /// Makes the virtqueue of a device that was reset.
    fn bring_up(&self) -> Result {
        self.virtqueues.create_again(RequestQueue::COUNT, 0)?;
        self.virtqueues.start();
        Ok(())
    }
}

#[vtable]
impl Driver for VirtioRng {
    type Data = DeviceData;

    const ID_TABLE: IdTable = crate::ID_TABLE.table();
    const FEATURE_TABLE: &'static [c_uint] = &[];

    fn probe(
        dev: &Device<Core<'_>>,
        virtqueues: &Arc<Virtqueues>,
        _resetter: &Arc<Resetter>,
    ) -> impl PinInit<DeviceData, Error> {
        pin_init::pin_init_scope(move || {
            let queue = RequestQueue::new()?;
            let mut handlers = Handlers::new();

            handlers.push(queue.clone())?;
            virtqueues.assign(handlers)?;
            virtqueues.create(RequestQueue::COUNT, 0)?;
            // The file can be read as soon as it is there.
            virtqueues.start();

            let parent: &device::Device<_> = dev.as_ref();
            let dir = debugfs::Dir::new(c"virtio_rng").subdir(parent.name());
            let virtqueues = virtqueues.clone();

            Ok(try_pin_init!(DeviceData {
                _random <- dir.read_binary_file(c"random", queue),
                virtqueues,
            }? Error))
        })
    }

    // The adapter deletes the virtqueue after each of the next three.

    fn unbind(_dev: &Device<Core<'_>>, _data: Pin<&DeviceData>) {}

    fn freeze(_dev: &Device<Bound>, _data: Pin<&DeviceData>) -> Result {
        Ok(())
    }

    fn reset_prepare(_dev: &Device<Bound>, _data: Pin<&DeviceData>, _by: ResetBy) -> Result {
        Ok(())
    }

    fn restore(_dev: &Device<Bound>, data: Pin<&DeviceData>) -> Result {
        data.bring_up()
    }

    fn reset_done(_dev: &Device<Bound>, data: Pin<&DeviceData>) -> Result {
        data.bring_up()
    }
}
