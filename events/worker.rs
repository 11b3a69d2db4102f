// SPDX-License-Identifier: GPL-2.0

//! What is done about an event.

use super::{
    inbox::Inbox,
    wire::{
        Event,
        Report, //
    },
};
use crate::{
    queues::{
        wire::Address,
        Initiator,
        Shared, //
    },
    scsi_glue::Host,
    virtio_glue::Task, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The additional sense codes that say that parameters of a logical unit have changed, its
/// capacity among them: with qualifier 0 all of them, 1 mode parameters, 9 capacity.
const ASC_PARAMETERS_CHANGED: u8 = 0x2a;

/// Handles the events of a host.
pub(super) struct Handling {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    host: Arc<Host<Initiator>>,
}

impl Handling {
    pub(super) fn new(shared: Arc<Shared>, inbox: Arc<Inbox>, host: Arc<Host<Initiator>>) -> Self {
        Self {
            shared,
            inbox,
            host,
        }
    }

    /// Handles one event.
    fn handle(&self, report: Report) {
        if report.missed {
            if self.shared.may_complain() {
                dev_info!(self.shared.dev(), "events were missed: scanning\n");
            }
            self.host.scan();
        }

        match report.event {
            Event::Nothing => {}
            Event::Rescan(Address { target, lun: 0 }) => self.host.scan_target(target.into()),
            Event::Rescan(Address { target, lun }) => {
                // That it is not there after all is nothing to tell of.
                let _ = self.host.add_logical_unit(target.into(), lun);
            }
            Event::Removed(Address { target, lun }) => {
                if let Some(unit) = self.host.logical_unit(target.into(), lun) {
                    unit.remove();
                }
            }
            Event::Changed(Address { target, lun }, ASC_PARAMETERS_CHANGED, _) => {
                if let Some(unit) = self.host.logical_unit(target.into(), lun) {
                    let _ = unit.rescan();
                }
            }
            Event::HardReset(_) | Event::Notification(..) | Event::Changed(..) | Event::Unknown => {
                if self.shared.may_complain() {
                    dev_info!(self.shared.dev(), "ignoring event {:?}\n", report.event);
                }
            }
        }
    }
}

impl Task for Handling {
    fn run(&self) {
        while let Some(report) = self.inbox.take() {
            self.handle(report);
        }
    }
}
