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
    debugfs, device, driver,
    ffi::c_uint,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

use crate::{
    events::EventQueue,
    queues::{
        config,
        limits::{
            Adjustments,
            DeviceLimits,
            Refusal,
            RingLimits,
            Settings, //
        },
        ControlQueue,
        Initiator,
        Policy,
        RemovalGuard,
        RequestQueue,
        SelfHealing,
        Shared, //
    },
    scsi_glue::{
        Driver as _,
        Host,
        Parameters,
        QueueCounts, //
    },
    virtio_glue::{
        Adapter,
        DebugDir,
        Device,
        DeviceId,
        Handlers,
        Resetter,
        Virtqueues,
        Worker, //
    },
};

#[deny(unsafe_code)]
pub mod events;
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

/// `VIRTIO_ID_SCSI` of `include/uapi/linux/virtio_ids.h`.
const VIRTIO_ID_SCSI: u32 = 8;

/// The device tells when logical units come and go.
const VIRTIO_SCSI_F_HOTPLUG: c_uint = 1;

/// The device tells when something about a logical unit changes.
const VIRTIO_SCSI_F_CHANGE: c_uint = 2;

virtio_glue::virtio_device_table!(ID_TABLE, [DeviceId::any_vendor(VIRTIO_ID_SCSI)]);

/// The module: a driver on the virtio bus.
#[pin_data]
struct Module {
    #[pin]
    _driver: driver::Registration<Adapter<VirtioScsi>>,
    _debug_dir: DebugDir,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let registration = settings().mistake().map_or(Ok(()), |mistake| {
            pr_err!("{mistake}\n");
            Err(EINVAL)
        });

        try_pin_init!(Self {
            _: { registration? },
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

/// The driver.
struct VirtioScsi;

/// Where a device is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Its virtqueues are there, and so is its host.
    Live,
    /// It was reset, and is to come back.
    Quiesced,
    /// It does not come back.
    Gone,
}

/// What the driver keeps for each device. The fields are dropped from top to bottom.
#[pin_data]
struct DeviceData {
    #[pin]
    _counters: debugfs::File<Arc<Shared>>,
    shared: Arc<Shared>,
    events: Arc<EventQueue>,
    initiator: Arc<Initiator>,
    limits: DeviceLimits,
    /// It sends commands, so it is removed before the virtqueues are.
    host: Arc<Host<Initiator>>,
    virtqueues: Arc<Virtqueues>,
    resetter: Arc<Resetter>,
    #[pin]
    phase: Mutex<Phase>,
}

/// How many virtqueues there are besides the request queues: controlq and eventq.
const OTHER_QUEUES: usize = Initiator::OTHER_INTERRUPTS as usize;

/// Says why a device cannot be served.
fn refuse(dev: &Device<device::Bound>, refusal: Refusal) -> Error {
    dev_err!(dev, "the device cannot be served: {refusal}\n");
    EINVAL
}

/// Says that the virtqueues could not be made: the device may not have as many as it says.
fn tell_virtqueues(dev: &Device<device::Bound>, requests: u32, error: Error) {
    dev_err!(
        dev,
        "controlq, eventq and {requests} request queues could not be made: {error:?}\n"
    );
}

/// Builds all there is for a device, and adds its host to the system.
fn build(dev: &Device<device::Bound>) -> Result<impl PinInit<DeviceData, Error>> {
    let mut adjustments = Adjustments::default();

    if !dev.has_config() {
        dev_err!(
            dev,
            "the device has no configuration space, which the driver needs\n"
        );
        return Err(EINVAL);
    }

    let limits = config::read_limits(dev, &settings(), &mut adjustments)
        .map_err(|refusal| refuse(dev, refusal))?;
    let queues = QueueCounts {
        interrupt: limits.interrupt_queues,
        polled: limits.polled_queues,
    };

    let shared = Shared::new(dev)?;
    let resetter = Arc::pin_init(Resetter::new(dev.into()), GFP_KERNEL)?;
    let control = ControlQueue::new(shared.clone())?;
    let events = EventQueue::new(shared.clone(), limits.event_size)?;
    let mut requests = KVec::new();
    let mut handlers = Handlers::new();

    handlers.push(control.clone())?;
    handlers.push(events.clone())?;
    for i in 0..queues.interrupt + queues.polled {
        let request = RequestQueue::new(shared.clone(), i >= queues.interrupt)?;

        handlers.push(request.clone())?;
        requests.push(request, GFP_KERNEL)?;
    }

    // From here on an error deletes the virtqueues again, when this is dropped.
    let virtqueues = Arc::pin_init(Virtqueues::new(dev.into(), handlers), GFP_KERNEL)?;
    virtqueues
        .create(dev, usize::MAX, Initiator::OTHER_INTERRUPTS)
        .inspect_err(|error| tell_virtqueues(dev, queues.interrupt + queues.polled, *error))?;

    let layout =
        config::set_layout(dev, &mut adjustments).map_err(|refusal| refuse(dev, refusal))?;
    let ring = RingLimits::new(
        &limits,
        requests.iter().map(|queue| queue.size()).min().unwrap_or(0),
        dev.has_indirect_descriptors(),
        layout.protection,
        &mut adjustments,
    )
    .map_err(|refusal| refuse(dev, refusal))?;

    config::tell_adjustments(dev, &adjustments);
    dev_info!(
        dev,
        "{}/0/{} default/read/poll queues\n",
        queues.interrupt,
        queues.polled
    );
    for (feature, what) in [
        (VIRTIO_SCSI_F_HOTPLUG, "come and go"),
        (VIRTIO_SCSI_F_CHANGE, "change"),
    ] {
        if !dev.has_feature(feature) {
            dev_info!(dev, "the device does not tell when logical units {what}\n");
        }
    }

    let initiator = Initiator::new(
        shared.clone(),
        requests,
        control,
        resetter.clone(),
        queues,
        (layout, ring, Policy::from(&settings())),
        events.clone(),
    )?;
    let parameters = Parameters {
        commands_per_queue: ring.commands_per_queue,
        commands_per_lun: ring.commands_per_lun,
        segments: ring.segments,
        sectors: limits.sectors,
        last_target: limits.last_target.into(),
        last_lun: limits.last_lun,
        cdb_len: layout.cdb_size.into(),
        protection: layout.protection,
    };

    let debug_dir = DebugDir::of(dev);

    // Commands can come as soon as the host is there.
    virtqueues.start(dev);
    let host = Arc::pin_init(
        Host::new(dev.as_ref(), parameters, initiator.clone()),
        GFP_KERNEL,
    )?;

    Ok(try_pin_init!(DeviceData {
        _counters <- debug_dir.read_callback_file(c"counters", shared.clone(), &|shared, f| {
            shared.counters().show(f)
        }),
        shared,
        events,
        initiator,
        limits,
        host,
        virtqueues,
        resetter,
        phase <- new_mutex!(Phase::Live),
    }? Error))
}

/// Builds the virtqueues of a device that was reset, whose host is there.
///
/// A device that comes back with less than the midlayer was told cannot be served any more.
fn rebuild(dev: &Device<device::Bound>, data: &DeviceData) -> Result {
    let mut adjustments = Adjustments::default();
    let now = config::read_limits(dev, &settings(), &mut adjustments)
        .map_err(|refusal| refuse(dev, refusal))?;
    let before = data.initiator.request_queue_count();
    let count = before.min(now.interrupt_queues + now.polled_queues);

    data.virtqueues
        .create_again(
            dev,
            OTHER_QUEUES + count as usize,
            Initiator::OTHER_INTERRUPTS,
        )
        .inspect_err(|error| tell_virtqueues(dev, count, *error))?;
    if count < before {
        dev_warn!(
            dev,
            "the device has come back with {count} request queues, of {before}\n"
        );
    }
    data.initiator.set_present(count);

    let layout =
        config::set_layout(dev, &mut adjustments).map_err(|refusal| refuse(dev, refusal))?;
    let size = data
        .initiator
        .request_queues()
        .take(count as usize)
        .map(RequestQueue::size)
        .min();

    data.limits
        .still_served(
            &now,
            (data.initiator.layout(), layout),
            &data.initiator.limits(),
            size.unwrap_or(0),
        )
        .map_err(|refusal| refuse(dev, refusal))?;

    data.virtqueues.start(dev);
    data.host.limit_queue_depth(now.commands_per_lun);
    data.events.resume();
    Ok(())
}

/// Ends all commands of a device that was taken away without notice, and takes no more.
fn vanish(dev: &Device<device::Bound>, data: &DeviceData) {
    let mut phase = data.phase.lock();

    if *phase != Phase::Gone {
        dev_warn!(dev, "the device is not there any more\n");
    }
    retire(data, &mut phase);
}

/// Takes the device out of service for good. What it has of commands ends.
fn retire(data: &DeviceData, phase: &mut Phase) {
    data.shared.give_up();
    data.virtqueues.delete();
    *phase = Phase::Gone;
}

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
        &data.get_ref().resetter
    }

    fn probe(dev: &Device<device::Core<'_>>) -> impl PinInit<DeviceData, Error> {
        pin_init::pin_init_scope(move || build(dev))
    }

    fn scan(dev: &Device<device::Core<'_>>, data: Pin<&DeviceData>) {
        let healing = SelfHealing::new(data.shared.clone(), data.resetter.clone());

        match Arc::pin_init(Worker::new(healing), GFP_KERNEL) {
            Ok(worker) => data.shared.set_healing(Some(worker)),
            Err(_) => dev_err!(dev, "no memory to reset the device if it fails\n"),
        }
        if EventQueue::start(&data.events, data.host.clone()).is_err() {
            dev_err!(dev, "no memory to handle events of the device\n");
        }
        data.host.scan();
    }

    fn config_changed(dev: &Device<device::Bound>, data: Pin<&DeviceData>) {
        // What has changed of the limits counts when the device is reset the next time.
        if dev.needs_reset() {
            data.shared.heal();
        }
    }

    fn quiesce(dev: &Device<device::Bound>, data: Pin<&DeviceData>) -> Result {
        if dev.is_gone() {
            // Who asks would wait for the reset of a device that is not there.
            vanish(dev, data.get_ref());
            return Err(ENODEV);
        }

        let mut phase = data.phase.lock();

        match *phase {
            Phase::Live => {}
            Phase::Quiesced => return Err(EBUSY),
            // There is nothing left to quiesce, and the system may be suspended.
            Phase::Gone => return Ok(()),
        }

        // What was in flight is tried again by the midlayer, and sent back to it until the device
        // is there again.
        data.virtqueues.delete();
        *phase = Phase::Quiesced;
        Ok(())
    }

    fn resume(dev: &Device<device::Bound>, data: Pin<&DeviceData>) -> Result {
        let mut phase = data.phase.lock();

        if *phase != Phase::Quiesced || data.shared.is_given_up() {
            return Err(ENODEV);
        }

        let result = rebuild(dev, data.get_ref());

        if result.is_ok() {
            *phase = Phase::Live;
        } else {
            dev_err!(
                dev,
                "the device could not be set up again and is given up\n"
            );
            retire(data.get_ref(), &mut phase);
        }
        result
    }

    fn shutdown(_dev: &Device<device::Bound>, data: Pin<&DeviceData>) {
        // The device is reset for good now, and must not be brought back.
        data.shared.give_up();
    }

    fn unbind(dev: &Device<device::Core<'_>>, data: Pin<&DeviceData>) {
        if data.virtqueues.are_lost() {
            // Then nothing that the removal sends or waits for takes any time.
            vanish(dev, data.get_ref());
        }

        // What is under way for events waits for the device, too.
        let guard = RemovalGuard::start(data.initiator.clone(), data.virtqueues.clone());
        data.events.stop();
        data.shared.set_healing(None);
        data.host.remove();
        drop(guard);

        data.resetter.disable();
        retire(data.get_ref(), &mut data.phase.lock());
    }
}
