// SPDX-License-Identifier: GPL-2.0

//! A guest driver for the virtio SCSI host device.
//!
//! This is the front door: the name and the parameters of the module, its devices and features, and
//! one line for each callback of the virtio core, in the order in which they are called. The life
//! of a device is in [`device`], commands are in [`queues`], events in [`events`], and all that
//! needs `unsafe` is in [`virtio_glue`], [`scsi_glue`], [`trace_glue`] and [`kernel_glue`].
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
    prelude::*,
    sync::Arc, //
};

use crate::{
    device::DeviceData,
    kernel_glue::{
        is_crash_kernel,
        module_version,
        writable_parameter,
        ModuleParts, //
    },
    protocol::{
        features,
        settings::Settings,
        states::Cause, //
    },
    recovery::{
        Defaults,
        Policy,
        Setting, //
    },
    virtio_glue::{
        Adapter,
        Device,
        DeviceId,
        IdTable,
        ResetBy,
        Resetter,
        Virtqueues, //
    },
};

#[deny(unsafe_code)]
pub mod device;
#[deny(unsafe_code)]
pub mod events;
#[deny(unsafe_code)]
pub mod initiator;
pub mod kernel_glue;
#[deny(unsafe_code)]
pub mod protocol;
#[deny(unsafe_code)]
pub mod queues;
#[deny(unsafe_code)]
pub mod recovery;
pub mod scsi_glue;
pub mod trace_glue;
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
        max_units: u32 {
            default: 16384,
            description: "Most logical units of each device (default: 16384; 0, no limit)",
        },
    },
}

module_version!("0.1.0");

/// The most seconds that a parameter can be: what `msecs_to_jiffies()` takes for a number.
const SECONDS_MAX: u32 = i32::MAX as u32 / 1000;

writable_parameter! {
    static RECOVERY_WAIT, "recovery_wait": 0 in 0..=1,
    "0: recover commands that take too long (default: 0); 1: wait for them for ever, as the C driver does"
}

writable_parameter! {
    static RECOVERY_STEP, "recovery_step": 10 in 1..=3600,
    "How long a device may take to answer a step of recovery, in seconds, 1 to 3600 (default: 10)"
}

writable_parameter! {
    static RECOVERY_PATIENCE, "recovery_patience": 0 in 0..=SECONDS_MAX,
    "How long to wait for a command that the device has, from when it was sent, in seconds (default: 0, for ever)"
}

writable_parameter! {
    static RECOVERY_FAILFAST, "recovery_failfast": 0 in 0..=SECONDS_MAX,
    "The same for commands marked fail-fast, as those of multipath (default: 0, as for all commands)"
}

writable_parameter! {
    static RECOVERY_REFUSED, "recovery_refused": 120 in 0..=SECONDS_MAX,
    "The same if the device refuses to say whether it has the command (default: 120; 0: for ever)"
}

writable_parameter! {
    static RECOVERY_REPORT, "recovery_report": 0 in 0..=SECONDS_MAX,
    "Log a command that has timed out and is that many seconds old (default: 0, never)"
}

writable_parameter! {
    static RECOVERY_PANIC, "recovery_panic": 0 in 0..=SECONDS_MAX,
    "Panic, for a dump, if a command has timed out and is that many seconds old (default: 0, never)"
}

/// `VIRTIO_ID_SCSI` of `include/uapi/linux/virtio_ids.h`.
const VIRTIO_ID_SCSI: u32 = 8;

virtio_glue::virtio_device_table!(ID_TABLE, [DeviceId::any_vendor(VIRTIO_ID_SCSI)]);

/// The module: a driver on the virtio bus.
#[pin_data]
pub struct Module {
    #[pin]
    _driver: driver::Registration<Adapter<VirtioScsi>>,
    _parts: ModuleParts,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let registration = settings().mistake().map_or(Ok(()), |mistake| {
            pr_err!("{mistake}\n");
            Err(EINVAL)
        });

        try_pin_init!(Self {
            _: { registration? },
            _parts: ModuleParts::new(c"virtio_scsi_rs", c"virtio_scsi_rs_awake")?,
            _driver <- driver::Registration::new(c"virtio_scsi_rs", module),
        })
    }
}

// The macro takes a number, and no constant.
const _: () = assert!(Settings::UNITS == 16_384);

/// Returns the parameters that are set at load time.
///
/// `value()` returns a number in 7.3 and a reference in 7.2, hence `Borrow`, which goes with 7.2.
fn settings() -> Settings {
    Settings {
        poll_queues: *Borrow::<u32>::borrow(&module_parameters::poll_queues.value()),
        request_queues: *Borrow::<u32>::borrow(&module_parameters::request_queues.value()),
        queue_depth: *Borrow::<u32>::borrow(&module_parameters::queue_depth.value()),
        max_units: *Borrow::<u32>::borrow(&module_parameters::max_units.value()),
    }
}

/// Returns the parameters as they are used: a crash kernel has little memory and few interrupts, so
/// that devices get one request queue there. The block layer brings their tags down.
fn settings_in_force() -> Settings {
    match is_crash_kernel() {
        true => settings().for_crash_kernel(),
        false => settings(),
    }
}

/// The settings of recovery of a host that has none of its own.
static DEFAULTS: Defaults = {
    let mut defaults: Defaults = [&RECOVERY_WAIT; Setting::ALL.len()];

    defaults[Setting::Step.number()] = &RECOVERY_STEP;
    defaults[Setting::Patience.number()] = &RECOVERY_PATIENCE;
    defaults[Setting::Failfast.number()] = &RECOVERY_FAILFAST;
    defaults[Setting::Refused.number()] = &RECOVERY_REFUSED;
    defaults[Setting::Report.number()] = &RECOVERY_REPORT;
    defaults[Setting::Panic.number()] = &RECOVERY_PANIC;
    defaults
};

/// The driver.
struct VirtioScsi;

#[vtable]
impl virtio_glue::Driver for VirtioScsi {
    type Data = DeviceData;

    const ID_TABLE: IdTable = ID_TABLE.table();
    const FEATURE_TABLE: &'static [c_uint] = &[
        features::VIRTIO_SCSI_F_HOTPLUG,
        features::VIRTIO_SCSI_F_CHANGE,
        #[cfg(CONFIG_BLK_DEV_INTEGRITY)]
        features::VIRTIO_SCSI_F_T10_PI,
    ];

    fn probe(
        dev: &Device<Core<'_>>,
        virtqueues: &Arc<Virtqueues>,
        resetter: &Arc<Resetter>,
    ) -> impl PinInit<DeviceData, Error> {
        pin_init::pin_init_scope(move || {
            device::probe(
                dev,
                virtqueues.clone(),
                resetter.clone(),
                settings_in_force(),
                Policy::new(&DEFAULTS),
            )
        })
    }

    fn scan(_dev: &Device<Core<'_>>, data: Pin<&DeviceData>) {
        device::scan(data.get_ref());
    }

    fn config_changed(_dev: &Device<Bound>, data: Pin<&DeviceData>) {
        // The device may ask for a reset, which a worker checks, as this cannot sleep. Changed
        // limits are in force after the next reset.
        data.shared().heal();
    }

    fn freeze(dev: &Device<Bound>, data: Pin<&DeviceData>) -> Result {
        device::take_down(dev, data.get_ref(), Cause::Suspend)
    }

    fn restore(dev: &Device<Bound>, data: Pin<&DeviceData>) -> Result {
        device::bring_up(dev, data.get_ref())
    }

    fn reset_prepare(dev: &Device<Bound>, data: Pin<&DeviceData>, by: ResetBy) -> Result {
        let cause = match by {
            ResetBy::Driver => Cause::Driver,
            ResetBy::Transport => Cause::Transport,
        };

        device::take_down(dev, data.get_ref(), cause)
    }

    fn reset_done(dev: &Device<Bound>, data: Pin<&DeviceData>) -> Result {
        device::bring_up(dev, data.get_ref())
    }

    fn shutdown(_dev: &Device<Core<'_>>, data: Pin<&DeviceData>) {
        device::shutdown(data.get_ref());
    }

    fn unbind(dev: &Device<Core<'_>>, data: Pin<&DeviceData>) {
        device::unbind(dev, data);
    }
}
