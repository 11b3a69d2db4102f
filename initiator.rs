// SPDX-License-Identifier: GPL-2.0

//! The SCSI initiator port: each entry of the midlayer, passed on to the request queues or to
//! recovery.

use crate::{
    events::Events,
    kernel_glue::RcuSection,
    protocol::settings::Settings,
    queues::{
        Cmnd,
        CommandPdu,
        OwnedCmnd,
        RequestQueues,
        Unit, //
    },
    recovery::{
        Recovery,
        Setting, //
    },
    scsi_glue::{
        host_attributes,
        Busy,
        DeviceEvent,
        Driver,
        EhResult,
        HostAttributes,
        Lengths,
        QueueMap,
        TimeoutAction, //
    },
    virtio_glue::Virtqueues,
};
use kernel::{
    fmt,
    prelude::*,
    sync::Arc, //
};

/// The events of any logical unit that user space gets. The midlayer suppresses them by default.
const UNIT_EVENTS: [DeviceEvent; 6] = [
    DeviceEvent::InquiryChange,
    DeviceEvent::CapacityChange,
    DeviceEvent::SoftThreshold,
    DeviceEvent::ModeParameterChange,
    DeviceEvent::LunChange,
    DeviceEvent::AccessStateChange,
];

/// A SCSI initiator port.
pub struct Initiator {
    queues: Arc<RequestQueues>,
    recovery: Arc<Recovery>,
    events: Arc<Events>,
    virtqueues: Arc<Virtqueues>,
    settings: Settings,
}

impl Initiator {
    /// The number of interrupts before those of the request queues: controlq and eventq.
    pub const OTHER_INTERRUPTS: u32 = 2;

    /// Makes the initiator port of a device whose virtqueues exist.
    pub fn new(
        queues: Arc<RequestQueues>,
        recovery: Arc<Recovery>,
        events: Arc<Events>,
        virtqueues: Arc<Virtqueues>,
        settings: Settings,
    ) -> Result<Arc<Self>> {
        let initiator = Self {
            queues,
            recovery,
            events,
            virtqueues,
            settings,
        };

        Ok(Arc::new(initiator, GFP_KERNEL)?)
    }
}

/// The number of the attribute that has the times of commands recorded. Those before it are the
/// settings of recovery.
const LATENCY: usize = Setting::ALL.len();

host_attributes! {
    static ATTRIBUTES: Initiator = [
        c"recovery_wait" => Setting::Wait.number(),
        c"recovery_step" => Setting::Step.number(),
        c"recovery_patience" => Setting::Patience.number(),
        c"recovery_failfast" => Setting::Failfast.number(),
        c"recovery_refused" => Setting::Refused.number(),
        c"recovery_report" => Setting::Report.number(),
        c"recovery_panic" => Setting::Panic.number(),
        c"latency" => LATENCY,
    ]
}

#[vtable]
impl Driver for Initiator {
    const NAME: &'static CStr = c"Virtio SCSI HBA (Rust)";
    const PROC_NAME: &'static CStr = c"virtio_scsi_rs";
    const TRACK_QUEUE_DEPTH: bool = true;
    // There is no bus that would have to settle.
    const SKIP_SETTLE_DELAY: bool = true;

    type CommandData = CommandPdu;

    fn lengths(&self) -> Lengths {
        let layout = self.queues.limits().layout;

        Lengths {
            request: layout.request_len(),
            response: layout.response_len(),
        }
    }

    #[inline]
    fn queue_command(
        &self,
        queue: u32,
        command: OwnedCmnd,
        rcu: RcuSection<'_>,
    ) -> Result<(), Busy<CommandPdu>> {
        self.queues.send(queue, command, rcu)
    }

    fn commit_rqs(&self, queue: u32) {
        self.queues.commit(queue);
    }

    fn mq_poll(&self, queue: u32) -> u32 {
        self.queues.poll(queue)
    }

    fn map_queues(&self, map: QueueMap<'_>) {
        // Queues that interrupt serve the CPUs that their interrupt goes to.
        if map.is_polled() {
            map.map_queues();
        } else {
            self.virtqueues.with_interrupts(|interrupts| {
                map.map_hw_queues(interrupts, Self::OTHER_INTERRUPTS)
            });
        }
    }

    fn sdev_init(&self, target: u32, lun: u64, count: u32) -> Result {
        if self.settings.allows(count) {
            return Ok(());
        }

        let shared = self.queues.shared();

        shared.counters().units_left_out.count();
        if shared.may_complain() {
            dev_warn!(
                shared.dev(),
                "target {} lun {}: left out, as the device has {} logical units (max_units)\n",
                target,
                lun,
                self.settings.max_units
            );
        }
        Err(ENXIO)
    }

    fn sdev_configure(&self, unit: &Unit) -> Result {
        // For passed-through units the hypervisor reports its own limits in the VPD pages, also for
        // units whose claimed SPC version would not have them.
        unit.try_vpd_pages();
        for event in UNIT_EVENTS {
            unit.support_event(event);
        }
        if unit.is_rom() {
            unit.support_event(DeviceEvent::MediaChange);
        }

        self.recovery.forget(unit);
        self.events.found(&self.recovery, unit);
        Ok(())
    }

    fn change_queue_depth(&self, unit: &Unit, depth: u16) -> u16 {
        depth.min(unit.host_cmd_per_lun())
    }

    fn eh_timed_out(&self, command: &Cmnd) -> TimeoutAction {
        self.recovery.timed_out(command)
    }

    fn eh_should_retry_cmd(&self, command: &Cmnd) -> bool {
        self.recovery.may_retry(command)
    }

    fn eh_abort(&self, command: &Cmnd) -> EhResult {
        self.recovery.abort(command)
    }

    fn eh_device_reset(&self, command: &Cmnd) -> EhResult {
        self.recovery.reset_logical_unit(command)
    }

    fn eh_target_reset(&self, command: &Cmnd) -> EhResult {
        self.recovery.reset_target(command)
    }

    fn eh_host_reset(&self, command: &Cmnd) -> EhResult {
        self.recovery.reset_host(command)
    }

    fn host_reset(&self) -> Result {
        self.recovery.reset_for_user()
    }

    fn attributes() -> Option<&'static HostAttributes<Self>> {
        Some(&ATTRIBUTES)
    }

    fn show_attribute(&self, number: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match Setting::ALL.get(number) {
            Some(setting) => self.recovery.policy().get(*setting),
            None => self.queues.shared().latencies().is_on().into(),
        };

        write!(f, "{value}")
    }

    fn store_attribute(&self, number: usize, text: &str) -> Result {
        let Some(setting) = Setting::ALL.get(number) else {
            let on = match text {
                "0" => false,
                "1" => true,
                _ => return Err(EINVAL),
            };

            return self.queues.shared().latencies().set(on);
        };

        self.recovery.policy().set(*setting, text)?;
        // A command that is waited for may be due by now.
        self.recovery.request_review();
        Ok(())
    }
}
