// SPDX-License-Identifier: GPL-2.0

//! The probe of a device, in steps.

use kernel::{
    device,
    new_mutex,
    prelude::*,
    sync::Arc,
    types::ScopeGuard, //
};

use super::{
    interrupts::Vectors,
    refuse,
    tell_virtqueues,
    DeviceData,
    VIRTIO_SCSI_F_CHANGE,
    VIRTIO_SCSI_F_HOTPLUG, //
};
use crate::{
    events::EventQueue,
    queues::{
        config,
        limits::{
            Adjustments,
            DeviceLimits,
            RingLimits,
            Settings, //
        },
        recovery::{
            Asker,
            DeviceReset,
            Healing,
            Policy,
            Recovery,
            Return, //
        },
        ControlQueue,
        Initiator,
        Removal,
        RequestQueue,
        Shared, //
    },
    scsi_glue::{
        Driver as _,
        Host,
        Parameters,
        QueueCounts, //
    },
    virtio_glue::{
        DebugDir,
        Device,
        Handlers,
        Queue,
        Resetter,
        Virtqueues,
        Worker, //
    },
};

/// The queues of a device, without virtqueues yet.
struct Queues {
    control: Arc<ControlQueue>,
    events: Arc<EventQueue>,
    /// Those that interrupt come first.
    requests: KVec<Arc<RequestQueue>>,
    handlers: Handlers,
}

impl Queues {
    /// Makes the queues that the limits of a device ask for.
    fn new(shared: &Arc<Shared>, counts: QueueCounts, event_size: u32) -> Result<Self> {
        let control = ControlQueue::new(shared.clone())?;
        let events = EventQueue::new(shared.clone(), event_size)?;
        let mut requests = KVec::new();
        let mut handlers = Handlers::new();

        handlers.push(control.clone())?;
        handlers.push(events.clone())?;
        for i in 0..counts.interrupt + counts.polled {
            let request = RequestQueue::new(shared.clone(), i >= counts.interrupt)?;

            handlers.push(request.clone())?;
            requests.push(request, GFP_KERNEL)?;
        }
        Ok(Self {
            control,
            events,
            requests,
            handlers,
        })
    }
}

/// Says what the driver makes of a device.
fn tell(dev: &Device<device::Bound>, queues: QueueCounts, limits: &DeviceLimits) {
    dev_info!(
        dev,
        "{}/0/{} default/read/poll queues\n",
        queues.interrupt,
        queues.polled
    );
    if (dev.max_mapping() as u64) < u64::from(u32::MAX) {
        dev_info!(
            dev,
            "commands transfer {} KiB at most, as no more can be mapped for DMA at once\n",
            limits.sectors / 2
        );
    }
    for (feature, what) in [
        (VIRTIO_SCSI_F_HOTPLUG, "come and go"),
        (VIRTIO_SCSI_F_CHANGE, "change"),
    ] {
        if !dev.has_feature(feature) {
            dev_info!(dev, "the device does not tell when logical units {what}\n");
        }
    }
}

/// Builds all there is for a device, and adds its host to the system.
pub fn probe(
    dev: &Device<device::Bound>,
    settings: Settings,
    policy: Policy,
) -> Result<impl PinInit<DeviceData, Error>> {
    let mut adjustments = Adjustments::default();

    if !dev.has_config() {
        dev_err!(
            dev,
            "the device has no configuration space, which the driver needs\n"
        );
        return Err(EINVAL);
    }

    let limits = config::read_limits(dev, &settings, &mut adjustments)
        .map_err(|refusal| refuse(dev, refusal))?;
    let counts = QueueCounts {
        interrupt: limits.interrupt_queues,
        polled: limits.polled_queues,
    };
    let shared = Shared::new(dev)?;
    let resetter = Arc::pin_init(Resetter::new(dev.into()), GFP_KERNEL)?;
    let queues = Queues::new(&shared, counts, limits.event_size)?;

    // From here on an error deletes the virtqueues again, when this is dropped.
    let virtqueues = Arc::pin_init(Virtqueues::new(dev.into(), queues.handlers), GFP_KERNEL)?;

    let vectors = KBox::pin_init(Vectors::new(), GFP_KERNEL)?;
    vectors.hold(dev);
    virtqueues
        .create(dev, usize::MAX, Initiator::OTHER_INTERRUPTS)
        .inspect_err(|error| tell_virtqueues(dev, counts.interrupt + counts.polled, *error))?;

    let layout =
        config::set_layout(dev, &mut adjustments).map_err(|refusal| refuse(dev, refusal))?;
    let ring = RingLimits::new(
        &limits,
        queues
            .requests
            .iter()
            .map(|queue| queue.size())
            .min()
            .unwrap_or(0),
        dev.has_indirect_descriptors(),
        layout.protection,
        &mut adjustments,
    )
    .map_err(|refusal| refuse(dev, refusal))?;

    config::tell_adjustments(dev, &adjustments);
    tell(dev, counts, &limits);
    if layout.protection && !ring.protection {
        dev_warn!(
            dev,
            "T10_PI: commands have {} segment at the most, which leaves none for protection information: disks are \
             used without\n",
            ring.segments
        );
    }
    vectors.tell(dev, counts.interrupt + counts.polled);

    let reset = DeviceReset::new(shared.clone(), resetter.clone(), virtqueues.clone());
    let recovery = Recovery::new(queues.control, reset.clone(), policy)?;
    let healing = Arc::pin_init(
        Worker::new(Healing::new(reset.clone()), Queue::Recovery),
        GFP_KERNEL,
    )?;
    let comes_back = Arc::pin_init(Worker::new(Return::new(reset), Queue::Awake), GFP_KERNEL)?;
    let initiator = Initiator::new(
        shared.clone(),
        queues.requests,
        recovery.clone(),
        counts,
        layout,
        ring,
        queues.events.clone(),
    )?;
    let asker = Arc::pin_init(
        Worker::new(Asker::new(initiator.clone()), Queue::Recovery),
        GFP_KERNEL,
    )?;

    // Each of these keeps what it is kept by.
    let workers = ScopeGuard::new(|| {
        // Nobody waits for a device that cannot be reset yet.
        shared.life().give_up();
        recovery.set_asker(None);
        shared.set_healing(None);
    });
    shared.set_healing(Some(healing));
    recovery.set_asker(Some(asker.clone()));

    let parameters = Parameters {
        commands_per_queue: ring.commands_per_queue,
        commands_per_lun: ring.commands_per_lun,
        segments: ring.segments,
        sectors: limits.sectors,
        segment_len: limits.segment_len,
        last_target: limits.last_target.into(),
        last_lun: limits.last_lun,
        cdb_len: layout.cdb_size.into(),
        protection: ring.protection,
    };
    let debug_dir = DebugDir::of(dev);

    // Commands can come as soon as the host is there.
    virtqueues.start(dev);
    let _ = shared.life().bring_up();

    let host = Arc::pin_init(
        Host::new(dev.as_ref(), parameters, initiator.clone()),
        GFP_KERNEL,
    )?;
    let removal = Removal::new(initiator.clone(), host.clone(), virtqueues.clone())?;

    asker.task().set_host(Some(host.clone()));
    workers.dismiss();

    let events = queues.events;

    Ok(try_pin_init!(DeviceData {
        _counters <- debug_dir.read_callback_file(c"counters", shared.clone(), &|shared, f| {
            shared.counters().show(f)
        }),
        shared,
        events,
        initiator,
        settings,
        limits,
        removal,
        host,
        virtqueues,
        resetter,
        comes_back,
        work <- new_mutex!(()),
        vectors,
    }? Error))
}
