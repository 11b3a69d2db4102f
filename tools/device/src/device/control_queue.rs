// SPDX-License-Identifier: GPL-2.0-or-later

//! Task management and asynchronous notifications (virtio 1.3, 5.6.6.2).

use serde_json::json;

use super::{Body, Device, InFlight, State};
use crate::ring::Memory;
use crate::rules::Action;
use crate::scsi::Reset;
use crate::wire::{response, tmf, Address, ControlRequest};

impl Device {
    pub(super) fn answer_control(
        &mut self,
        memory: &Memory,
        serial: u64,
        request: InFlight,
        control: &ControlRequest,
        rule: Option<String>,
        action: &Action,
    ) {
        match control {
            ControlRequest::Tmf { subtype, tag, .. } => {
                let mut code = response::OK;
                if action.executes() {
                    code = self.manage(*subtype, request.address, *tag);
                }
                code = action.response.unwrap_or(code);
                let what = json!({"tmf": subtype, "tag": tag, "response": code});
                self.put_control(memory, serial, request, rule, action, &[code], what);
            }
            ControlRequest::Notification {
                subscribe,
                requested,
                ..
            } => {
                let (mut actual, mut code) = (0, response::OK);
                if action.executes() {
                    (actual, code) = self.notification(*subscribe, request.address, *requested);
                }
                actual = action.config.event_actual.unwrap_or(actual);
                code = action.response.unwrap_or(code);
                let mut bytes = actual.to_le_bytes().to_vec();
                bytes.push(code);
                let what = json!({"event_actual": actual, "response": code});
                self.put_control(memory, serial, request, rule, action, &bytes, what);
            }
            ControlRequest::Unknown(_) => {}
        }
    }

    /// Commands of a unit, or of a target, that a function can still find.
    fn tasks(&self, fits: impl Fn(&InFlight, u64) -> bool) -> Vec<u64> {
        self.in_flight
            .iter()
            .filter(|(_, request)| match &request.body {
                Body::Command(header) => fits(request, header.tag),
                Body::Control(_) => false,
            })
            .map(|(&serial, _)| serial)
            .collect()
    }

    /// FUNCTION SUCCEEDED if the device has one of these tasks, else FUNCTION COMPLETE. What was
    /// dropped is what it has forgotten, though the driver waits for it.
    fn has_any(&self, tasks: &[u64]) -> u8 {
        let has = |serial| {
            self.in_flight
                .get(serial)
                .is_some_and(|request: &InFlight| request.state != State::Dropped)
        };
        if tasks.iter().any(has) {
            response::SUCCEEDED
        } else {
            response::OK
        }
    }

    /// Carries a task management function out. Commands that it ends are answered before
    /// (5.6.6.2.1).
    fn manage(&mut self, subtype: u32, address: Address, tag: u64) -> u8 {
        let Address::Unit { target, lun } = address else {
            return response::INCORRECT_LUN;
        };
        if !self.targets.has_target(target) {
            return response::BAD_TARGET;
        }
        if subtype != tmf::NEXUS_RESET && !self.targets.has(target, lun) {
            return response::INCORRECT_LUN;
        }
        let of_unit = |request: &InFlight| request.address == address;
        let of_target = |request: &InFlight| match request.address {
            Address::Unit { target: other, .. } => other == target,
            _ => false,
        };
        match subtype {
            tmf::ABORT_TASK => {
                let tasks = self.tasks(|request, its| of_unit(request) && its == tag);
                self.end_tasks(&tasks, response::ABORTED);
                response::OK
            }
            tmf::ABORT_TASK_SET | tmf::CLEAR_TASK_SET => {
                let tasks = self.tasks(|request, _| of_unit(request));
                self.end_tasks(&tasks, response::ABORTED);
                response::OK
            }
            tmf::UNIT_RESET => {
                let tasks = self.tasks(|request, _| of_unit(request));
                self.end_tasks(&tasks, response::RESET);
                if let Ok(unit) = self.targets.get(target, lun) {
                    unit.reset(Reset::Unit);
                }
                response::OK
            }
            tmf::NEXUS_RESET => {
                let tasks = self.tasks(|request, _| of_target(request));
                self.end_tasks(&tasks, response::RESET);
                for unit in self.targets.of_target(target) {
                    unit.reset(Reset::Nexus);
                }
                response::OK
            }
            tmf::QUERY_TASK => {
                self.has_any(&self.tasks(|request, its| of_unit(request) && its == tag))
            }
            tmf::QUERY_TASK_SET => self.has_any(&self.tasks(|request, _| of_unit(request))),
            // CLEAR ACA: NACA is not supported.
            _ => response::REJECTED,
        }
    }

    fn end_tasks(&mut self, tasks: &[u64], code: u8) {
        for &serial in tasks {
            let dropped = self
                .in_flight
                .get(&serial)
                .is_some_and(|request| request.state == State::Dropped);
            if !dropped {
                self.end_task(serial, code);
            }
        }
    }

    fn notification(&mut self, subscribe: bool, address: Address, requested: u32) -> (u32, u8) {
        let Address::Unit { target, lun } = address else {
            return (0, response::INCORRECT_LUN);
        };
        if !self.targets.has_target(target) {
            return (0, response::BAD_TARGET);
        }
        if !self.targets.has(target, lun) {
            return (0, response::INCORRECT_LUN);
        }
        let actual = requested & self.config.async_events;
        if subscribe {
            self.subscriptions.insert(address, actual);
        }
        (actual, response::OK)
    }

    /// Whether the driver subscribed to events of a unit.
    pub fn subscribed(&self, target: u8, lun: u16, events: u32) -> bool {
        let address = Address::Unit { target, lun };
        self.subscriptions
            .get(&address)
            .is_some_and(|on| on & events != 0)
    }
}
