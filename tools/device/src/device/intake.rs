// SPDX-License-Identifier: GPL-2.0-or-later

//! A request comes in: it is logged, checked against the specification, and given to the rules.

use std::time::Duration;

use serde_json::{json, Value};

use super::{Body, Device, InFlight, State, Timer};
use crate::bytes::hex;
use crate::conformance::Broken;
use crate::ring::{length, read, Chain, Memory, Segment};
use crate::rules::matcher::On;
use crate::rules::Request;
use crate::scsi::block::Access;
use crate::scsi::opcodes;
use crate::wire::{
    name_of, tmf, Address, CommandHeader, ControlRequest, CONTROL_QUEUE, RESPONSE_SIZE,
};

fn lengths(pieces: &[Segment]) -> Vec<u32> {
    pieces.iter().map(|piece| piece.len).collect()
}

/// The length of a CDB by its operation code (SPC-4 4.2.5.1).
fn cdb_length(cdb: &[u8]) -> usize {
    match cdb.first().map_or(0, |code| code >> 5) {
        0 => 6,
        1 | 2 => 10,
        4 => 16,
        5 => 12,
        3 if cdb[0] == 0x7f => 8 + usize::from(cdb.get(7).copied().unwrap_or(0)),
        _ => cdb.len(),
    }
}

impl Device {
    pub(super) fn command_request(&mut self, memory: &Memory, queue: usize, chain: Chain) {
        let (protection, cdb_size) = (self.protection(), self.space.cdb_size());
        let size = CommandHeader::size(protection, cdb_size.min(4096));
        let header = read(memory, &chain.out, 0, size)
            .ok()
            .and_then(|bytes| CommandHeader::parse(&bytes, protection, cdb_size));
        let Some(header) = header else {
            let pieces =
                json!({"queue": queue, "out": lengths(&chain.out), "in": lengths(&chain.inn)});
            self.blame(queue, Broken::Header, pieces);
            let generation = self.rings[queue].generation;
            self.finish(memory, queue, generation, chain.id, 0, chain.entries);
            return;
        };
        let address = Address::of(&header.lun);
        let name = opcodes::name(&header.cdb);
        self.stats.last_tag = header.tag;
        let in_flight = self.stats.begin(queue, &address.name(), name.clone());
        let serial = self.next_serial();
        self.log.line(
            "request",
            json!({
                "serial": serial, "queue": queue, "id": chain.id, "lun": hex(&header.lun),
                "unit": address.name(), "tag": header.tag, "task_attr": header.task_attr,
                "prio": header.prio, "crn": header.crn, "pi_out": header.pi_out,
                "pi_in": header.pi_in, "name": name, "cdb": hex(&header.cdb),
                "out": lengths(&chain.out), "in": lengths(&chain.inn), "in_flight": in_flight,
            }),
        );
        self.check_command(queue, serial, &chain, &header, in_flight);
        // The target wants CDBs of the usual length, whatever was configured.
        let mut cdb = header.cdb.clone();
        cdb.resize(cdb.len().max(32), 0);
        let unit = match address {
            Address::Unit { target, lun } => Some((target, lun)),
            _ => None,
        };
        let request = Request {
            on: On::Command,
            queue: queue as u16,
            unit,
            cdb: &cdb,
            subtype: 0,
            range: opcodes::find(&cdb, false).and_then(|op| Access::range(op, &cdb)),
            now: self.log.milliseconds(),
        };
        let rule = self.rules.decide(&request);
        let header = CommandHeader { cdb, ..header };
        self.take(serial, queue, chain, Body::Command(header), address, rule);
    }

    fn check_command(
        &mut self,
        queue: usize,
        serial: u64,
        chain: &Chain,
        header: &CommandHeader,
        in_flight: usize,
    ) {
        let detail = |value: Value| json!({"serial": serial, "found": value});
        let mut broken = Vec::new();
        if chain.disordered {
            broken.push((Broken::Order, Value::Null));
        }
        let room = length(&chain.inn);
        if room < RESPONSE_SIZE + self.space.sense_size() {
            broken.push((Broken::Room, room.into()));
        }
        if Address::of(&header.lun) == Address::Unknown || header.lun[4..] != [0; 4] {
            broken.push((Broken::Lun, hex(&header.lun).into()));
        }
        for (rule, value) in [
            (Broken::TaskAttribute, header.task_attr),
            (Broken::Priority, header.prio),
            (Broken::Reference, header.crn),
        ] {
            if value != 0 {
                broken.push((rule, value.into()));
            }
        }
        let end = cdb_length(&header.cdb).min(header.cdb.len());
        if header.cdb[end..].iter().any(|&byte| byte != 0) {
            broken.push((Broken::Padding, hex(&header.cdb).into()));
        }
        let head = CommandHeader::size(self.protection(), self.space.cdb_size());
        let data_out = length(&chain.out) - head;
        let data_in = room.saturating_sub(RESPONSE_SIZE + self.space.sense_size());
        if header.pi_out as usize > data_out || header.pi_in as usize > data_in {
            let found = json!([header.pi_out, header.pi_in, data_out, data_in]);
            broken.push((Broken::ProtectionBytes, found));
        }
        let same_tag = |other: &InFlight| match &other.body {
            Body::Command(command) => command.tag == header.tag && command.lun == header.lun,
            Body::Control(_) => false,
        };
        if self.in_flight.values().any(same_tag) {
            broken.push((Broken::Tag, header.tag.into()));
        }
        let limit = self.space.cmd_per_lun();
        if limit > 0 && in_flight > limit {
            broken.push((Broken::QueueDepth, in_flight.into()));
        }
        for (rule, value) in broken {
            self.blame(queue, rule, detail(value));
        }
    }

    pub(super) fn control_request(&mut self, memory: &Memory, chain: Chain) {
        let size = length(&chain.out);
        let request = match read(memory, &chain.out, 0, size.min(4096)) {
            Ok(bytes) => ControlRequest::parse(&bytes),
            Err(_) => ControlRequest::Unknown(Vec::new()),
        };
        *self.stats.queues.entry(CONTROL_QUEUE).or_default() += 1;
        let serial = self.next_serial();
        let (on, lun, subtype, sizes, mut fields) = match &request {
            ControlRequest::Tmf { subtype, lun, tag } => {
                let name = name_of(tmf::NAMES, *subtype).unwrap_or("unknown");
                *self.stats.tmfs.entry(name.into()).or_default() += 1;
                let fields = json!({"subtype": subtype, "name": name, "lun": hex(lun), "tag": tag});
                (On::Tmf, *lun, *subtype, (24, 1), fields)
            }
            ControlRequest::Notification {
                subscribe,
                lun,
                requested,
            } => {
                let on = if *subscribe {
                    On::AnSubscribe
                } else {
                    On::AnQuery
                };
                let fields =
                    json!({"subscribe": subscribe, "lun": hex(lun), "requested": requested});
                (on, *lun, 0, (16, 5), fields)
            }
            ControlRequest::Unknown(bytes) => {
                let found = json!({"serial": serial, "found": hex(bytes)});
                self.blame(CONTROL_QUEUE, Broken::ControlType, found);
                let generation = self.rings[CONTROL_QUEUE].generation;
                self.finish(
                    memory,
                    CONTROL_QUEUE,
                    generation,
                    chain.id,
                    0,
                    chain.entries,
                );
                return;
            }
        };
        let address = Address::of(&lun);
        if let Value::Object(fields) = &mut fields {
            fields.insert("serial".into(), serial.into());
            fields.insert("id".into(), chain.id.into());
            fields.insert("unit".into(), address.name().into());
            fields.insert("out".into(), lengths(&chain.out).into());
            fields.insert("in".into(), lengths(&chain.inn).into());
        }
        self.log
            .line(if on == On::Tmf { "tmf" } else { "an" }, fields);
        if (length(&chain.out), length(&chain.inn)) != sizes {
            let found = json!([length(&chain.out), length(&chain.inn)]);
            self.blame(
                CONTROL_QUEUE,
                Broken::ControlSize,
                json!({"serial": serial, "found": found}),
            );
        }
        if address == Address::Unknown || lun[4..] != [0; 4] {
            let found = json!({"serial": serial, "found": hex(&lun)});
            self.blame(CONTROL_QUEUE, Broken::Lun, found);
        }
        let unit = match address {
            Address::Unit { target, lun } => Some((target, lun)),
            _ => None,
        };
        let rule = self.rules.decide(&Request {
            on,
            queue: CONTROL_QUEUE as u16,
            unit,
            cdb: &[],
            subtype,
            range: None,
            now: self.log.milliseconds(),
        });
        self.take(
            serial,
            CONTROL_QUEUE,
            chain,
            Body::Control(request),
            address,
            rule,
        );
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// The request is in flight; it is answered now or when its rule says.
    fn take(
        &mut self,
        serial: u64,
        queue: usize,
        chain: Chain,
        body: Body,
        address: Address,
        rule: Option<(String, crate::rules::Action)>,
    ) {
        let config = rule
            .as_ref()
            .map(|(_, action)| action.config.clone())
            .unwrap_or_default();
        let state = if config.drop {
            State::Dropped
        } else if let Some(name) = config.hold {
            State::Held(name)
        } else if config.delay_ms.is_some() {
            State::Delayed
        } else if config.reorder.is_some() {
            State::Collected
        } else {
            State::Ready
        };
        if state != State::Ready {
            self.stats.waits += 1;
            let name = rule.as_ref().map(|(name, _)| name.clone());
            let how = match &state {
                State::Held(_) => "held",
                State::Dropped => "dropped",
                State::Delayed => "delayed",
                _ => "collected",
            };
            self.log.line(
                "wait",
                json!({"serial": serial, "rule": name, "state": how}),
            );
        }
        let collected = rule.as_ref().map(|(name, _)| name.clone());
        let generation = self.rings[queue].generation;
        let request = InFlight {
            queue,
            generation,
            chain,
            body,
            address,
            rule,
            state: state.clone(),
        };
        self.in_flight.insert(serial, request);
        match state {
            State::Ready => self.answer(serial),
            State::Delayed => {
                let delay = Duration::from_millis(config.delay_ms.unwrap_or(0));
                self.after(delay, Timer::Answer(serial));
            }
            State::Collected => self.answer_collected(collected, config.reorder.unwrap_or(0)),
            State::Held(_) | State::Dropped => {}
        }
    }

    fn answer_collected(&mut self, rule: Option<String>, enough: usize) {
        let of_rule = |request: &InFlight| {
            request.state == State::Collected
                && request.rule.as_ref().map(|(name, _)| name) == rule.as_ref()
        };
        let collected: Vec<u64> = self
            .in_flight
            .iter()
            .filter(|(_, request)| of_rule(request))
            .map(|(&serial, _)| serial)
            .collect();
        if collected.len() >= enough {
            for serial in collected.into_iter().rev() {
                self.answer(serial);
            }
        }
    }
}
