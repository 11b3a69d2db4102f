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
    device,
    driver,
    ffi::c_uint,
    prelude::*,
    sync::Arc, //
};

use crate::{
    events::EventQueue,
    queues::{
        limits::{
            offset,
            Adjustments,
            Config,
            DeviceLimits,
            Layout,
            Refusal,
            RingLimits,
            Settings, //
        },
        wire,
        ControlQueue,
        Initiator,
        RequestQueue,
        Shared, //
    },
    scsi_glue::{
        possible_queues,
        Driver as _,
        Host,
        Parameters,
        QueueCounts, //
    },
    virtio_glue::{
        Adapter,
        Device,
        DeviceId,
        Handlers,
        Virtqueues, //
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
    },
}

/// `VIRTIO_ID_SCSI` of `include/uapi/linux/virtio_ids.h`.
const VIRTIO_ID_SCSI: u32 = 8;

/// The device tells when logical units come and go.
const VIRTIO_SCSI_F_HOTPLUG: c_uint = 1;

/// The device tells when something about a logical unit changes.
const VIRTIO_SCSI_F_CHANGE: c_uint = 2;

/// Commands can have protection information.
const VIRTIO_SCSI_F_T10_PI: c_uint = 3;

virtio_glue::virtio_device_table!(ID_TABLE, [DeviceId::any_vendor(VIRTIO_ID_SCSI)]);

/// The module: a driver on the virtio bus.
#[pin_data]
struct Module {
    #[pin]
    _driver: driver::Registration<Adapter<VirtioScsi>>,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let registration = settings().mistake().map_or(Ok(()), |mistake| {
            pr_err!("{mistake}\n");
            Err(EINVAL)
        });

        try_pin_init!(Self {
            _: { registration? },
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
    }
}

/// The driver.
struct VirtioScsi;

/// What the driver keeps for each device. The fields are dropped from top to bottom.
#[pin_data]
struct DeviceData {
    events: Arc<EventQueue>,
    /// It sends commands, so it is removed before the queues are.
    host: Arc<Host<Initiator>>,
    #[pin]
    virtqueues: Virtqueues,
}

/// Reads the configuration space, each field once.
#[deny(unsafe_code)]
fn read_config(dev: &Device<device::Bound>) -> Config {
    Config {
        num_queues: dev.read_config32(offset::NUM_QUEUES),
        seg_max: dev.read_config32(offset::SEG_MAX),
        max_sectors: dev.read_config32(offset::MAX_SECTORS),
        cmd_per_lun: dev.read_config32(offset::CMD_PER_LUN),
        event_info_size: dev.read_config32(offset::EVENT_INFO_SIZE),
        max_target: dev.read_config16(offset::MAX_TARGET),
        max_lun: dev.read_config32(offset::MAX_LUN),
    }
}

/// Sets the sizes of CDB and sense data, and reads what became of it.
#[deny(unsafe_code)]
fn set_layout(
    dev: &Device<device::Bound>,
    adjustments: &mut Adjustments,
) -> Result<Layout, Refusal> {
    dev.write_config32(offset::CDB_SIZE, wire::CDB_MAX as u32);
    dev.write_config32(offset::SENSE_SIZE, wire::SENSE_WANTED);

    Layout::new(
        dev.read_config32(offset::CDB_SIZE),
        dev.read_config32(offset::SENSE_SIZE),
        dev.has_feature(VIRTIO_SCSI_F_T10_PI),
        adjustments,
    )
}

impl VirtioScsi {
    /// Builds all there is for a device, and adds its host to the system.
    #[deny(unsafe_code)]
    fn build<'a>(
        dev: &'a Device<device::Bound>,
    ) -> Result<impl PinInit<DeviceData, Error> + use<'a>> {
        let mut adjustments = Adjustments::default();
        let settings = settings();

        if !dev.has_config() {
            dev_err!(
                dev,
                "the device has no configuration space, which the driver needs\n"
            );
            return Err(EINVAL);
        }

        let cpus = possible_queues(u32::MAX);
        let limits = DeviceLimits::new(&read_config(dev), &settings, cpus, &mut adjustments)
            .map_err(|refusal| Self::refuse(dev, refusal))?;
        let queues = QueueCounts {
            interrupt: limits.interrupt_queues,
            polled: limits.polled_queues,
        };

        let shared = Shared::new(dev)?;
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

        Ok(try_pin_init!(DeviceData {
            virtqueues <- Virtqueues::new(dev.into(), handlers),
            _: { virtqueues.create(dev, Initiator::OTHER_INTERRUPTS)? },
            host: Self::add_host(dev, shared, limits, queues, control, requests, adjustments)?,
            events,
        }? Error))
    }

    /// Adds the host of a device whose queues are live.
    #[deny(unsafe_code)]
    fn add_host(
        dev: &Device<device::Bound>,
        shared: Arc<Shared>,
        limits: DeviceLimits,
        queues: QueueCounts,
        control: Arc<ControlQueue>,
        requests: KVec<Arc<RequestQueue>>,
        mut adjustments: Adjustments,
    ) -> Result<Arc<Host<Initiator>>> {
        let layout =
            set_layout(dev, &mut adjustments).map_err(|refusal| Self::refuse(dev, refusal))?;
        let size = requests.iter().map(|queue| queue.size()).min().unwrap_or(0);
        let indirect = dev.has_indirect_descriptors();
        let ring = RingLimits::new(&limits, size, indirect, layout.protection, &mut adjustments)
            .map_err(|refusal| Self::refuse(dev, refusal))?;

        if !adjustments.is_empty() {
            dev_warn!(
                dev,
                "taking what the device offers differently: {adjustments}\n"
            );
        }
        dev_info!(
            dev,
            "{}/0/{} default/read/poll queues\n",
            queues.interrupt,
            queues.polled
        );

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
        let initiator = Initiator::new(shared, requests, control, queues, layout, ring)?;

        // Commands can come as soon as the host is there, and the device must not be notified
        // before this.
        dev.ready();

        Arc::pin_init(Host::new(dev.as_ref(), parameters, initiator), GFP_KERNEL)
    }

    /// Says why a device cannot be served.
    fn refuse(dev: &Device<device::Bound>, refusal: Refusal) -> Error {
        dev_err!(dev, "the device cannot be served: {refusal}\n");
        EINVAL
    }
}

impl virtio_glue::Driver for VirtioScsi {
    type Data = DeviceData;

    const ID_TABLE: &'static [DeviceId] = &ID_TABLE;
    const FEATURES: &'static [c_uint] = &[
        VIRTIO_SCSI_F_HOTPLUG,
        VIRTIO_SCSI_F_CHANGE,
        #[cfg(CONFIG_BLK_DEV_INTEGRITY)]
        VIRTIO_SCSI_F_T10_PI,
    ];

    fn probe(dev: &Device<device::Core<'_>>) -> impl PinInit<DeviceData, Error> {
        pin_init::pin_init_scope(move || Self::build(dev))
    }

    fn scan(dev: &Device<device::Core<'_>>, data: Pin<&DeviceData>) {
        if let Err(error) = data.events.start(data.host.clone()) {
            dev_err!(dev, "no memory to handle events of the device: {error:?}\n");
        }
        data.host.scan();
    }

    fn unbind(_dev: &Device<device::Core<'_>>, data: Pin<&DeviceData>) {
        data.events.stop();
        data.host.remove();
        data.virtqueues.delete();
    }
}
