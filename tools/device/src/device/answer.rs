// SPDX-License-Identifier: GPL-2.0-or-later

//! A request is answered: as the target says, or as a rule has it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use vm_memory::{Bytes, GuestAddress};

use super::{Body, Device, InFlight, State, Timer};
use crate::bytes::hex;
use crate::conformance::Broken;
use crate::ring::{address, length, read, write, Memory, Segment};
use crate::rules::action::{Action, Corrupt, Id, Part, Write};
use crate::scsi::{Command, Reply};
use crate::wire::{response, Address, CommandHeader, ResponseHeader, RESPONSE_SIZE};

/// How many answered ids a queue remembers.
const REMEMBERED: usize = 64;

/// Where the parts of a request's device-writable buffers begin.
struct Layout {
    sense_size: usize,
    pi_in: usize,
}

impl Layout {
    fn at(&self, part: Part) -> usize {
        match part {
            Part::PiIn => RESPONSE_SIZE + self.sense_size,
            Part::DataIn => RESPONSE_SIZE + self.sense_size + self.pi_in,
            _ => 0,
        }
    }
}

fn corrupt(bytes: &mut [u8], corrupt: &Corrupt) {
    let end = corrupt.offset.saturating_add(corrupt.length);
    for byte in bytes.iter_mut().take(end).skip(corrupt.offset) {
        *byte ^= corrupt.xor;
    }
}

impl Device {
    /// Answers a request.
    pub fn answer(&mut self, serial: u64) {
        let Some(mut request) = self.in_flight.remove(&serial) else {
            return;
        };
        let Some(memory) = self.memory.clone() else {
            return;
        };
        let ring = &self.rings[request.queue];
        if !ring.started || !ring.enabled {
            // The device was reset, and the memory is the driver's again.
            self.log.line("late", json!({"serial": serial}));
            let state = State::Dropped;
            self.in_flight.insert(serial, InFlight { state, ..request });
            return;
        }
        let action = request.rule.take();
        let (name, action) = match action {
            Some((name, action)) => (Some(name), action),
            None => (None, Action::default()),
        };
        match request.body.clone() {
            Body::Command(header) => {
                self.answer_command(&memory, serial, request, &header, name, &action)
            }
            Body::Control(control) => {
                self.answer_control(&memory, serial, request, &control, name, &action)
            }
        }
    }

    /// Ends a command that a task management function is about.
    pub(super) fn end_task(&mut self, serial: u64, code: u8) {
        let Some(request) = self.in_flight.remove(&serial) else {
            return;
        };
        let (Some(memory), Body::Command(header)) = (self.memory.clone(), request.body.clone())
        else {
            return;
        };
        let action = Action {
            response: Some(code),
            ..Action::default()
        };
        self.answer_command(&memory, serial, request, &header, None, &action);
    }

    fn execute(&mut self, request: &InFlight, command: &Command) -> Result<Reply, u8> {
        let Address::Unit { target, lun } = request.address else {
            return Err(response::BAD_TARGET);
        };
        let reply = self.targets.execute(0, target, lun, command);
        let reply = reply.ok_or(response::BAD_TARGET)?;
        if reply.overrun {
            Err(response::OVERRUN)
        } else {
            Ok(reply)
        }
    }

    fn answer_command(
        &mut self,
        memory: &Memory,
        serial: u64,
        request: InFlight,
        header: &CommandHeader,
        rule: Option<String>,
        action: &Action,
    ) {
        self.stats.end(&request.address.name());
        let chain = &request.chain;
        let head = CommandHeader::size(self.protection(), self.space.cdb_size());
        let out = length(&chain.out).saturating_sub(head);
        let room = length(&chain.inn);
        let sense_size = self
            .space
            .sense_size()
            .min(room.saturating_sub(RESPONSE_SIZE));
        let inn = room.saturating_sub(RESPONSE_SIZE + sense_size);
        let (pi_out, pi_in) = (
            out.min(header.pi_out as usize),
            inn.min(header.pi_in as usize),
        );
        let layout = Layout { sense_size, pi_in };

        let mut result = ResponseHeader::default();
        let (mut sense, mut data_in, mut pi) = (Vec::new(), Vec::new(), Vec::new());
        if action.executes() {
            let mut given = read(memory, &chain.out, head, out).unwrap_or_default();
            given.resize(out, 0);
            let (before, after) = given.split_at_mut(pi_out);
            match &action.config.corrupt {
                Some(c) if c.part == Part::DataOut => corrupt(after, c),
                Some(c) if c.part == Part::PiOut => corrupt(before, c),
                _ => {}
            }
            let command = Command {
                cdb: &header.cdb,
                data_out: after,
                pi_out: before,
                data_in: inn - pi_in,
                pi_in,
            };
            match self.execute(&request, &command) {
                Ok(reply) => {
                    result.status = reply.status;
                    result.residual = reply.residual;
                    sense = reply.sense;
                    data_in = reply.data_in;
                    pi = reply.pi_in;
                }
                Err(code) => result.response = code,
            }
        }
        let config = &action.config;
        if let Some(data) = &action.data {
            data_in.clone_from(data);
            data_in.truncate(inn - pi_in);
        }
        match &config.corrupt {
            Some(c) if c.part == Part::DataIn => corrupt(&mut data_in, c),
            Some(c) if c.part == Part::PiIn => corrupt(&mut pi, c),
            _ => {}
        }
        result.response = action.response.unwrap_or(result.response);
        result.status = action.status.unwrap_or(result.status);
        result.status_qualifier = config.status_qualifier.unwrap_or(0);
        if let Some(given) = &action.sense {
            sense.clone_from(given);
        }
        sense.truncate(sense_size);
        result.sense_len = config.sense_len.unwrap_or(sense.len() as u32);
        if let Some(residual) = &config.residual {
            result.residual = residual.of((out + inn) as u32);
        }

        let mut response_bytes = result.bytes().to_vec();
        response_bytes.extend(&sense);
        if let Some(c) = config.corrupt.as_ref().filter(|c| c.part == Part::Response) {
            corrupt(&mut response_bytes, c);
        }
        match &config.fuzz {
            Some(fuzz) if fuzz.part == Part::DataIn => fuzz.apply(serial, &mut data_in),
            Some(fuzz) => fuzz.apply(serial, &mut response_bytes),
            None => {}
        }
        let mut written = 0;
        if matches!(config.write, Write::All | Write::Data) {
            written += self.put(memory, &chain.inn, layout.at(Part::PiIn), &pi);
            written += self.put(memory, &chain.inn, layout.at(Part::DataIn), &data_in);
        }
        if matches!(config.write, Write::All | Write::Response) {
            self.put(memory, &chain.inn, 0, &response_bytes);
            written += (RESPONSE_SIZE + sense_size).min(room);
        }
        let used = config
            .used_len
            .as_ref()
            .map_or(written as u32, |amount| amount.of(room as u32));
        let what = json!({
            "response": result.response, "status": result.status, "residual": result.residual,
            "sense_len": result.sense_len, "sense": hex(&sense), "data_in": data_in.len(),
            "pi_in": pi.len(),
        });
        self.publish(memory, serial, request, rule, action, used, &layout, what);
    }

    fn put(&mut self, memory: &Memory, pieces: &[Segment], offset: usize, data: &[u8]) -> usize {
        match write(memory, pieces, offset, data) {
            Ok(written) => written,
            Err(error) => {
                self.log.violation(Broken::Buffers, json!({"error": error}));
                0
            }
        }
    }

    /// Writes a control request's answer and publishes it.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn put_control(
        &mut self,
        memory: &Memory,
        serial: u64,
        request: InFlight,
        rule: Option<String>,
        action: &Action,
        bytes: &[u8],
        what: Value,
    ) {
        let mut bytes = bytes.to_vec();
        if let Some(c) = &action.config.corrupt {
            corrupt(&mut bytes, c);
        }
        if let Some(fuzz) = &action.config.fuzz {
            fuzz.apply(serial, &mut bytes);
        }
        let room = length(&request.chain.inn) as u32;
        let mut written = 0;
        if matches!(action.config.write, Write::All | Write::Response) {
            written = self.put(memory, &request.chain.inn, 0, &bytes) as u32;
        }
        let used = action
            .config
            .used_len
            .as_ref()
            .map_or(written, |amount| amount.of(room));
        let layout = Layout {
            sense_size: 0,
            pi_in: 0,
        };
        self.publish(memory, serial, request, rule, action, used, &layout, what);
    }

    /// Puts an answer into the used ring, with what a rule does there and afterwards.
    #[allow(clippy::too_many_arguments)]
    fn publish(
        &mut self,
        memory: &Memory,
        serial: u64,
        request: InFlight,
        rule: Option<String>,
        action: &Action,
        used: u32,
        layout: &Layout,
        mut what: Value,
    ) {
        let config = &action.config;
        let (queue, own) = (request.queue, request.chain.id);
        let id = match &config.id {
            None => u32::from(own),
            Some(Id::Number(number)) => *number,
            Some(Id::Name(name)) => self.wrong_id(queue, own, name),
        };
        if let Value::Object(fields) = &mut what {
            fields.insert("serial".into(), serial.into());
            fields.insert("queue".into(), queue.into());
            fields.insert("id".into(), id.into());
            fields.insert("used_len".into(), used.into());
            if let Some(rule) = &rule {
                fields.insert("rule".into(), rule.clone().into());
            }
            let name = |write| match write {
                Write::All => None,
                Write::Response => Some("response"),
                Write::Data => Some("data"),
                Write::Nothing => Some("nothing"),
            };
            if let Some(only) = name(config.write) {
                fields.insert("written".into(), only.into());
            }
            if config.repeat > 1 {
                fields.insert("repeat".into(), config.repeat.into());
            }
        }
        self.log.line("answer", what);
        self.stats.answers += 1;
        self.stats.answers_ruled += u64::from(rule.is_some());
        if request.generation != self.rings[queue].generation {
            self.log.line("late", json!({"serial": serial}));
            return;
        }
        if let Some(flip) = &config.flip {
            if let Some(addr) = address(&request.chain.inn, layout.at(flip.part) + flip.offset) {
                start_flipping(
                    self.flipping.clone(),
                    memory.clone(),
                    addr,
                    flip.xor,
                    Duration::from_millis(flip.for_ms),
                );
                self.log
                    .line("flip", json!({"serial": serial, "for_ms": flip.for_ms}));
            }
        }
        for _ in 0..config.repeat.max(1) {
            if let Err(error) = self.rings[queue].push(memory, id, used, request.chain.entries) {
                self.log
                    .line("error", json!({"serial": serial, "error": error}));
            }
        }
        if config.used_jump > 0 {
            if let Err(error) = self.rings[queue].jump(memory, config.used_jump) {
                self.log
                    .line("error", json!({"serial": serial, "error": error}));
            }
        }
        if id != u32::from(own) || config.repeat > 1 || config.used_jump > 0 {
            self.rings[queue].misled = true;
        }
        let answered = &mut self.rings[queue].answered;
        if id == u32::from(own) {
            answered.push_back(own);
            if answered.len() > REMEMBERED {
                answered.pop_front();
            }
        }
        self.interrupt(memory, queue, config.interrupt);
        if let Some(scribble) = &config.scribble {
            let at = layout.at(scribble.part) + scribble.offset;
            if let Some(addr) = address(&request.chain.inn, at) {
                let bytes = action.scribble.clone();
                let delay = Duration::from_millis(scribble.after_ms);
                self.after(delay, Timer::Scribble { addr, bytes });
            }
        }
        // The driver never heard of its own request.
        if id != u32::from(own) {
            if let (Body::Command(_), Some(unit)) = (
                &request.body,
                self.stats.units.get_mut(&request.address.name()),
            ) {
                unit.in_flight += 1;
            }
            let state = State::Dropped;
            self.in_flight.insert(serial, InFlight { state, ..request });
        }
    }

    /// Gives a request back without an answer.
    pub(super) fn finish(
        &mut self,
        memory: &Memory,
        queue: usize,
        generation: u64,
        id: u16,
        len: u32,
        entries: u16,
    ) {
        if generation != self.rings[queue].generation {
            return;
        }
        if let Err(error) = self.rings[queue].push(memory, id.into(), len, entries) {
            self.log
                .line("error", json!({"queue": queue, "error": error}));
        }
        self.interrupt(memory, queue, None);
    }

    fn interrupt(&mut self, memory: &Memory, queue: usize, wanted: Option<bool>) {
        if wanted == Some(false) {
            self.log.line("no_interrupt", json!({"queue": queue}));
            return;
        }
        if let Err(error) = self.rings[queue].notify(memory, wanted == Some(true)) {
            self.log
                .line("error", json!({"queue": queue, "error": error}));
        }
    }

    fn wrong_id(&self, queue: usize, own: u16, name: &str) -> u32 {
        let ring = &self.rings[queue];
        let taken: Vec<u16> = self
            .in_flight
            .values()
            .filter(|request| request.queue == queue)
            .map(|request| request.chain.id)
            .collect();
        let free = |id: &u16| *id != own && !taken.contains(id);
        match name {
            "out_of_range" => u32::from(ring.size) + 7,
            "stale" => {
                let newest = ring.answered.iter().rev().copied().find(free);
                newest.unwrap_or(own ^ 1).into()
            }
            _ => (0..ring.size).rev().find(free).unwrap_or(own ^ 1).into(),
        }
    }

    pub(super) fn scribble_now(&mut self, addr: u64, bytes: &[u8]) {
        let Some(memory) = &self.memory else { return };
        let done = memory.write_slice(bytes, GuestAddress(addr)).is_ok();
        self.log
            .line("scribble", json!({"bytes": bytes.len(), "done": done}));
    }
}

/// Changes a byte back and forth, as fast as it goes.
fn start_flipping(count: Arc<AtomicUsize>, memory: Memory, addr: u64, xor: u8, time: Duration) {
    count.fetch_add(1, Ordering::Relaxed);
    std::thread::spawn(move || {
        let end = Instant::now() + time;
        let addr = GuestAddress(addr);
        if let Ok(original) = memory.read_obj::<u8>(addr) {
            while Instant::now() < end {
                for value in [original ^ xor, original] {
                    // It was there to be read.
                    let _ = memory.write_obj(value, addr);
                    std::hint::spin_loop();
                }
            }
        }
        count.fetch_sub(1, Ordering::Relaxed);
    });
}
