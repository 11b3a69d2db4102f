// SPDX-License-Identifier: GPL-2.0

//! The probe of a device. [`probe`] is the sequence of its steps, which are the other functions.

use super::{
    config_space::{
        self,
        refuse, //
    },
    debug_files::DebugFiles,
    interrupts::{
        log_creation_failure,
        Vectors, //
    },
    DeviceData, //
};
use crate::{
    events::Events,
    initiator::Initiator,
    kernel_glue::{
        debug_dir_of,
        Queue,
        Worker, //
    },
    protocol::{
        adjustments::Adjustments,
        features::{
            VIRTIO_SCSI_F_CHANGE,
            VIRTIO_SCSI_F_HOTPLUG, //
        },
        limits::{
            Limits,
            Rings, //
        },
        settings::Settings, //
    },
    queues::{
        ControlQueue,
        Host,
        RequestQueue,
        RequestQueues, //
        SharedState,
    },
    recovery::{
        DeviceReset,
        Healing,
        Policy,
        Recovery,
        Removal,
        ReturnWatchdog,
        Review, //
    },
    scsi_glue::{
        Driver as _,
        HostLimits,
        HostProtection,
        ProtectionGuard,
        ProtectionTypes,
        QueueCounts, //
    },
    virtio_glue::{
        Device,
        Handlers,
        Resetter,
        Virtqueues, //
    },
};
use kernel::{
    device,
    new_mutex,
    prelude::*,
    sync::Arc,
    types::ScopeGuard, //
};

/// All types of protection information: each logical unit reports its own, if it has any.
const PROTECTION_TYPES: ProtectionTypes = ProtectionTypes::DIF_TYPE1
    .union(ProtectionTypes::DIF_TYPE2)
    .union(ProtectionTypes::DIF_TYPE3)
    .union(ProtectionTypes::DIX_TYPE1)
    .union(ProtectionTypes::DIX_TYPE2)
    .union(ProtectionTypes::DIX_TYPE3);

/// Sets a device up: reads what it offers, creates its virtqueues, and adds its host to the system.
///
/// Process context. If it fails, nothing is left behind.
pub fn probe(
    dev: &Device<device::Bound>,
    virtqueues: Arc<Virtqueues>,
    resetter: Arc<Resetter>,
    settings: Settings,
    policy: Policy,
) -> Result<impl PinInit<DeviceData, Error>> {
    let mut adjustments = Adjustments::default();

    require_config_space(dev)?;

    let offered = config_space::read_limits(dev, &settings, &mut adjustments)?;
    let shared = SharedState::new(dev)?;
    let (queues, handlers) = Queues::new(&shared, &offered)?;
    let vectors = create_virtqueues(dev, &virtqueues, handlers, &offered)?;
    let limits = fit_limits(dev, offered, &queues, &mut adjustments)?;

    vectors.log_change(dev, limits.request_queues());

    let requests = RequestQueues::new(shared.clone(), queues.requests, limits)?;
    let reset = DeviceReset::new(shared.clone(), resetter.clone(), virtqueues.clone());
    let parts = RecoveryParts::new(reset, requests.clone(), queues.control, policy)?;
    let initiator = Initiator::new(
        requests.clone(),
        parts.recovery.clone(),
        queues.events.clone(),
        virtqueues.clone(),
        settings,
    )?;
    let debug_dir = debug_dir_of(dev.as_ref())?;

    // From here on a failure has to take the workers out again.
    let parts = parts.install(&shared);

    go_live(&shared, &virtqueues);

    let host = add_host(dev, &limits, initiator)?;
    let removal = Removal::new(parts.recovery.clone(), host.clone(), virtqueues.clone())
        .inspect_err(|_| {
            // The host is removed now, which waits for a user who resets it, and who would wait for
            // the end of the probe.
            shared.life().give_up();
        })?;

    parts.review.task().set_host(host.clone());

    let RecoveryParts {
        recovery,
        return_watchdog,
        ..
    } = parts.dismiss();
    let events = queues.events;

    Ok(try_pin_init!(DeviceData {
        _files <- DebugFiles::new(debug_dir, recovery.clone(), requests.clone(), host.clone()),
        shared,
        events,
        queues: requests,
        recovery,
        settings,
        removal,
        host,
        virtqueues,
        resetter,
        return_watchdog,
        work <- new_mutex!(()),
        vectors,
    }? Error))
}

/// Fails for a device without a configuration space, whose limits could not be read.
fn require_config_space(dev: &Device<device::Bound>) -> Result {
    if dev.has_config() {
        return Ok(());
    }
    dev_err!(
        dev,
        "the device has no configuration space, which the driver needs\n"
    );
    Err(EINVAL)
}

/// The queues of a device, which have no virtqueues yet.
struct Queues {
    control: Arc<ControlQueue>,
    events: Arc<Events>,
    /// Those that interrupt come first.
    requests: KVec<Arc<RequestQueue>>,
}

impl Queues {
    /// Makes as many queues as the limits of a device have, and the list of them in the order of
    /// their virtqueues.
    fn new(shared: &Arc<SharedState>, limits: &Limits) -> Result<(Self, Handlers)> {
        let control = ControlQueue::new(shared.clone())?;
        let events = Events::new(shared.clone(), control.clone(), limits.event_size)?;
        let mut requests = KVec::new();
        let mut handlers = Handlers::new();

        handlers.push(control.clone())?;
        handlers.push(events.queue())?;
        for i in 0..limits.request_queues() {
            let request = RequestQueue::new(shared.clone(), i >= limits.interrupt_queues)?;

            handlers.push(request.clone())?;
            requests.push(request, GFP_KERNEL)?;
        }

        let queues = Self {
            control,
            events,
            requests,
        };

        Ok((queues, handlers))
    }

    /// Returns the size of the smallest ring of the request queues, whose virtqueues exist.
    fn smallest_ring(&self) -> u32 {
        let size = self.requests.iter().map(|queue| queue.size()).min();

        size.unwrap_or(0)
    }
}

/// Creates the virtqueues of all queues. Nothing can be added to them before [`go_live`].
fn create_virtqueues(
    dev: &Device<device::Bound>,
    virtqueues: &Virtqueues,
    handlers: Handlers,
    offered: &Limits,
) -> Result<Pin<KBox<Vectors>>> {
    let vectors = KBox::pin_init(Vectors::new(), GFP_KERNEL)?;

    virtqueues.assign(handlers)?;
    virtqueues.hold_line(Initiator::PROC_NAME);
    virtqueues
        .create(usize::MAX, Initiator::OTHER_INTERRUPTS)
        .inspect_err(|error| log_creation_failure(dev, offered.request_queues(), *error))?;
    Ok(vectors)
}

/// Fits the limits to the sizes of CDB and sense data that the device accepts, and to the rings
/// that it has, and logs the outcome.
fn fit_limits(
    dev: &Device<device::Bound>,
    offered: Limits,
    queues: &Queues,
    adjustments: &mut Adjustments,
) -> Result<Limits> {
    let layout = config_space::set_layout(dev, adjustments)?;
    let rings = Rings {
        size: queues.smallest_ring(),
        control: queues.control.size(),
        indirect: dev.has_indirect_descriptors(),
    };
    let limits = offered
        .fit(layout, rings, adjustments)
        .map_err(|refusal| refuse(dev, refusal))?;

    config_space::log_adjustments(dev, adjustments);
    log_limits(dev, &limits);
    if layout.protection && !limits.protection {
        dev_warn!(
            dev,
            "protection information is off: commands have at most {} segment, which leaves none for it\n",
            limits.segments
        );
    }
    Ok(limits)
}

/// Logs the limits that are in force, and the events that the device does not report.
fn log_limits(dev: &Device<device::Bound>, limits: &Limits) {
    dev_info!(
        dev,
        "{}/0/{} default/read/poll queues\n",
        limits.interrupt_queues,
        limits.polled_queues
    );
    if (dev.max_mapping() as u64) < u64::from(u32::MAX) {
        dev_info!(
            dev,
            "commands transfer {} KiB at most, as no more can be mapped for DMA at once\n",
            limits.sectors / 2
        );
    }
    if !dev.has_feature(VIRTIO_SCSI_F_HOTPLUG) {
        dev_info!(
            dev,
            "the device does not report logical units that come or go\n"
        );
    }
    if !dev.has_feature(VIRTIO_SCSI_F_CHANGE) {
        dev_info!(dev, "the device does not report changes of logical units\n");
    }
}

/// Recovery, and the workers that act for it.
struct RecoveryParts {
    recovery: Arc<Recovery>,
    review: Arc<Worker<Review>>,
    healing: Arc<Worker<Healing>>,
    return_watchdog: Arc<Worker<ReturnWatchdog>>,
}

impl RecoveryParts {
    /// Makes recovery and its workers, none of which is scheduled.
    fn new(
        reset: DeviceReset,
        requests: Arc<RequestQueues>,
        control: Arc<ControlQueue>,
        policy: Policy,
    ) -> Result<Self> {
        let recovery = Recovery::new(requests, control, reset.clone(), policy)?;
        let review = Arc::pin_init(
            Worker::new(Review::new(recovery.clone()), Queue::Recovery),
            GFP_KERNEL,
        )?;
        let healing = Arc::pin_init(
            Worker::new(Healing::new(reset.clone()), Queue::Recovery),
            GFP_KERNEL,
        )?;
        let return_watchdog = Arc::pin_init(
            Worker::new(ReturnWatchdog::new(reset), Queue::Awake),
            GFP_KERNEL,
        )?;

        Ok(Self {
            recovery,
            review,
            healing,
            return_watchdog,
        })
    }

    /// Puts the workers where they can be scheduled. If the guard that this returns is dropped, it
    /// takes them out again: each refers to the object that keeps it.
    fn install(self, shared: &SharedState) -> ScopeGuard<Self, impl FnOnce(Self) + use<'_>> {
        shared.healing().set(self.healing.clone());
        self.recovery.review().set(self.review.clone());

        ScopeGuard::new_with_data(self, |parts| {
            // Nobody waits for a device that cannot be reset yet.
            shared.life().give_up();
            parts.recovery.review().clear();
            shared.healing().clear();
        })
    }
}

/// Sets `DRIVER_OK` and allows commands, which come as soon as there is a host.
fn go_live(shared: &SharedState, virtqueues: &Virtqueues) {
    virtqueues.start();
    // It fails for a device that was given up meanwhile.
    let _ = shared.life().bring_up();
}

/// Adds a host with the limits of the device to the system.
fn add_host(
    dev: &Device<device::Bound>,
    limits: &Limits,
    initiator: Arc<Initiator>,
) -> Result<Arc<Host>> {
    let host_limits = HostLimits {
        can_queue: limits.commands_per_queue,
        cmd_per_lun: limits.commands_per_lun,
        sg_tablesize: limits.segments,
        max_sectors: limits.sectors,
        max_segment_size: limits.segment_len,
        max_id: u32::from(limits.last_target).saturating_add(1),
        max_lun: limits.last_lun.saturating_add(1),
        max_cmd_len: limits.layout.cdb_size.into(),
        queues: QueueCounts {
            interrupt: limits.interrupt_queues,
            polled: limits.polled_queues,
        },
        // The LUN is in the request header.
        no_scsi2_lun_in_cdb: true,
        protection: limits.protection.then_some(HostProtection {
            types: PROTECTION_TYPES,
            guard: ProtectionGuard::Crc,
            sg_tablesize: limits.segments,
        }),
    };

    Arc::pin_init(Host::new(dev.as_ref(), host_limits, initiator), GFP_KERNEL)
}
