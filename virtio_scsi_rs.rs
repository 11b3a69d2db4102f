// SPDX-License-Identifier: GPL-2.0

//! A guest driver for the virtio SCSI host device.
//!
//! This is the front door: what the module is called and can be told, which devices and features it
//! serves, and the life of one device in the order in which it happens. What a command or an event
//! means is in [`queues`] and [`events`]; what needs `unsafe` is in [`virtio_glue`] and
//! [`scsi_glue`].
//!
//! Specification: virtio 1.3, section 5.6.
//! C version of this driver: [`drivers/scsi/virtio_scsi.c`](srctree/drivers/scsi/virtio_scsi.c)

use core::{
    borrow::Borrow,
    pin::Pin, //
};
use kernel::{
    device::{
        Bound,
        Core, //
    },
    driver,
    ffi::c_uint,
    prelude::*, //
};

use crate::{
    device::{
        DeviceData,
        VIRTIO_SCSI_F_CHANGE,
        VIRTIO_SCSI_F_HOTPLUG, //
    },
    kernel_glue::writable_parameter,
    queues::{
        config,
        limits::Settings,
        recovery::{
            Policy,
            Times, //
        },
    },
    virtio_glue::{
        Adapter,
        DebugDir,
        Device,
        DeviceId,
        Resets,
        Resetter,
        Workqueues, //
    },
};

#[deny(unsafe_code)]
pub mod device;
#[deny(unsafe_code)]
pub mod events;
pub mod kernel_glue;
#[deny(unsafe_code)]
pub mod queues;
pub mod scsi_glue;
pub mod virtio_glue;

module! {
    type: Module,
    name: "virtio_scsi_rs",
    authors: ["virtio_scsi_rs developers"],
    description: "Virtio SCSI HBA driver in Rust",
    license: "GPL",
    params: {
        poll_queues: u32 {
            default: 0,
            description: "Number of request queues to poll, of each device; at least one is left to interrupt (default: 0)",
        },
        request_queues: u32 {
            default: 0,
            description: "Most request queues to use, of each device, polled ones included (default: 0, one for each CPU)",
        },
        queue_depth: u32 {
            default: 0,
            description: "Most commands in flight to a logical unit, up to 32767 (default: 0, what the device says)",
        },
        recovery_wait: u32 {
            default: 0,
            description: "0: recover commands that take too long (default); 1: wait for them for ever, as the C driver does",
        },
        recovery_step: u32 {
            default: 10,
            description: "How long a device may take to answer a step of recovery, in seconds, 1 to 3600 (default: 10)",
        },
    },
}

writable_parameter! {
    static RECOVERY_PATIENCE, "recovery_patience": 0,
    "How long to wait for a command that the device has, from when it was sent, in seconds (default: 0, for ever)"
}

writable_parameter! {
    static RECOVERY_FAILFAST, "recovery_failfast": 0,
    "The same for commands marked fail-fast, as those of multipath (default: 0, as for all commands)"
}

writable_parameter! {
    static RECOVERY_REFUSED, "recovery_refused": 120,
    "The same if the device refuses to say whether it has the command (default: 120; 0: for ever)"
}

/// `VIRTIO_ID_SCSI` of `include/uapi/linux/virtio_ids.h`.
const VIRTIO_ID_SCSI: u32 = 8;

virtio_glue::virtio_device_table!(ID_TABLE, [DeviceId::any_vendor(VIRTIO_ID_SCSI)]);

/// The module: a driver on the virtio bus.
#[pin_data]
struct Module {
    #[pin]
    _driver: driver::Registration<Adapter<VirtioScsi>>,
    _debug_dir: DebugDir,
    _workqueues: Workqueues,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let registration = settings().mistake().map_or(Ok(()), |mistake| {
            pr_err!("{mistake}\n");
            Err(EINVAL)
        });

        try_pin_init!(Self {
            _: { registration? },
            _workqueues: Workqueues::new(c"virtio_scsi_rs")?,
            _debug_dir: DebugDir::new(c"virtio_scsi_rs")?,
            _driver <- driver::Registration::new(c"virtio_scsi_rs", module),
        })
    }
}

/// Returns what the user has set. A version of the kernel gives the values, another borrows them.
fn settings() -> Settings {
    Settings {
        poll_queues: *Borrow::<u32>::borrow(&module_parameters::poll_queues.value()),
        request_queues: *Borrow::<u32>::borrow(&module_parameters::request_queues.value()),
        queue_depth: *Borrow::<u32>::borrow(&module_parameters::queue_depth.value()),
        recovery_wait: *Borrow::<u32>::borrow(&module_parameters::recovery_wait.value()),
        recovery_step: *Borrow::<u32>::borrow(&module_parameters::recovery_step.value()),
    }
}

/// Returns what the user has set of recovery, some of which can change at any time.
fn policy() -> Policy {
    Policy::new(
        &settings(),
        Times {
            patience: &RECOVERY_PATIENCE,
            failfast: &RECOVERY_FAILFAST,
            refused: &RECOVERY_REFUSED,
        },
    )
}

/// The driver.
struct VirtioScsi;

impl virtio_glue::Driver for VirtioScsi {
    type Data = DeviceData;

    const ID_TABLE: &'static [DeviceId] = &ID_TABLE;
    const FEATURES: &'static [c_uint] = &[
        VIRTIO_SCSI_F_HOTPLUG,
        VIRTIO_SCSI_F_CHANGE,
        #[cfg(CONFIG_BLK_DEV_INTEGRITY)]
        config::VIRTIO_SCSI_F_T10_PI,
    ];

    fn resetter(data: Pin<&DeviceData>) -> &Resetter {
        data.get_ref().resetter()
    }

    fn probe(dev: &Device<Core<'_>>) -> impl PinInit<DeviceData, Error> {
        pin_init::pin_init_scope(move || device::probe(dev, settings(), policy()))
    }

    fn scan(_dev: &Device<Core<'_>>, data: Pin<&DeviceData>) {
        device::scan(data.get_ref());
    }

    fn config_changed(_dev: &Device<Bound>, data: Pin<&DeviceData>) {
        // It may want to be reset, which is looked at where one can sleep. What has changed of the limits counts
        // when the device is reset the next time.
        data.shared().heal();
    }

    fn quiesce(dev: &Device<Bound>, data: Pin<&DeviceData>, by: Resets) -> Result {
        device::quiesce(dev, data.get_ref(), by)
    }

    fn resume(dev: &Device<Bound>, data: Pin<&DeviceData>) -> Result {
        device::resume(dev, data.get_ref())
    }

    fn shutdown(_dev: &Device<Bound>, data: Pin<&DeviceData>) {
        device::shutdown(data.get_ref());
    }

    fn unbind(dev: &Device<Core<'_>>, data: Pin<&DeviceData>) {
        device::unbind(dev, data);
    }
}
