// SPDX-License-Identifier: GPL-2.0

//! Uses of `virtio_glue` that do not type-check. Each error is expected in the line below its code.

use crate::{
    kernel_glue::{
        DeviceBuffer,
        Segments, //
    },
    request_queue::{
        Request,
        RequestQueue, //
    },
    virtio_glue::{
        Chain,
        Device,
        DeviceId,
        Driver,
        Handler,
        IdTable,
        Resetter,
        Virtqueue,
        Virtqueues, //
    },
};
use core::{
    cell::Cell,
    pin::Pin, //
};
use kernel::{
    device::Core,
    ffi::c_uint,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

fn move_out_of_the_lock(queue: &RequestQueue) {
    // Error: E0614
    let _moved = core::mem::take(&mut *queue.virtqueue().lock());
}

fn second_set(dev: &Device) -> Result<Arc<Virtqueues>> {
    // Error: E0624
    Arc::pin_init(Virtqueues::new(dev.into()), GFP_KERNEL)
}

fn other_resetter(dev: &Device) -> Result<Arc<Resetter>> {
    // Error: E0624
    Arc::pin_init(Resetter::new(dev.into()), GFP_KERNEL)
}

fn keep_the_virtqueues(virtqueues: &Virtqueues) {
    // Error: E0624
    virtqueues.retire();
}

// Error: E0308
const TABLE_WITHOUT_END: IdTable = &[DeviceId::any_vendor(4)];

fn status_of_any_device(dev: &ARef<Device>) -> bool {
    // Error: E0599
    dev.is_gone()
}

fn raw_device(dev: &Device) -> bool {
    // Error: E0624
    dev.as_raw().is_null()
}

fn buffer_of_another_queue(queue: &Virtqueue<KBox<Request>>, other: KBox<u32>) {
    // Error: E0308
    let _ = queue.lock().add(other, |_, _| ());
}

fn write_to_the_data_of_a_write<'a>(chain: &mut Chain<'a>, data: Segments<'a>) {
    // Error: E0308
    chain.writable_segments(data);
}

fn read_while_the_device_writes(queue: &Virtqueue<KBox<DeviceBuffer<u64>>>) {
    if let Some((buffer, _)) = queue.lock().get_buf() {
        // Error: E0614
        let _value: u64 = **buffer;
    }
}

/// Memory for a device with padding, which is not initialised, and with an address in it.
struct Buffers {
    // Error: E0277
    padded: DeviceBuffer<(u8, u32)>,
    // Error: E0277
    pointer: DeviceBuffer<&'static u8>,
}

/// What is no object that owns its memory.
struct Borrows {
    // Error: E0277
    queue: Virtqueue<&'static u32>,
}

/// What must stay on its thread.
struct SharedCell {
    // Error: E0277
    queue: Virtqueue<Arc<Cell<u32>>>,
}

/// A driver that forgets the attribute, and so would offer no optional callback.
struct NoVtable;

// Error: E0046
impl Driver for NoVtable {
    // Error: E0277
    type Data = Cell<u32>;

    const ID_TABLE: IdTable = crate::ID_TABLE.table();
    const FEATURE_TABLE: &'static [c_uint] = &[];

    fn probe(
        _dev: &Device<Core<'_>>,
        _virtqueues: &Arc<Virtqueues>,
        _resetter: &Arc<Resetter>,
    ) -> impl PinInit<Cell<u32>, Error> {
        Ok(Cell::new(0))
    }

    fn unbind(_dev: &Device<Core<'_>>, _data: Pin<&Cell<u32>>) {}
}
