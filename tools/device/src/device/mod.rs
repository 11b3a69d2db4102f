// SPDX-License-Identifier: GPL-2.0-or-later

//! The device: its state, and the life of its queues.

pub mod answer;
#[cfg(test)]
mod answer_tests;
pub mod control_queue;
#[cfg(test)]
mod control_queue_tests;
pub mod events;
pub mod intake;
pub mod stats;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::config_space::{ConfigFields, ConfigSpace};
use crate::conformance::Broken;
use crate::log::Log;
use crate::ring::{Chain, Memory, Ring};
use crate::rules::{Action, Rules};
use crate::scenario::{Checked, DeviceConfig};
use crate::scsi::target::Targets;
use crate::wire::{feature, Address, CommandHeader, ControlRequest, CONTROL_QUEUE, EVENT_QUEUE};
use events::Events;
use stats::Stats;

/// What the driver asked for.
#[derive(Clone, Debug)]
pub enum Body {
    /// A SCSI command.
    Command(CommandHeader),
    /// A request on the control queue.
    Control(ControlRequest),
}

/// Why a request waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It does not.
    Ready,
    /// Until its timer.
    Delayed,
    /// Until others have come.
    Collected,
    /// Until it is released by this name.
    Held(String),
    /// For ever.
    Dropped,
}

/// A request that was not answered yet.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Virtqueue index.
    pub queue: usize,
    /// Of the queue, when it came.
    pub generation: u64,
    /// Its buffers.
    pub chain: Chain,
    /// What it is.
    pub body: Body,
    /// Whom it addresses.
    pub address: Address,
    /// The rule that is for it.
    pub rule: Option<(String, Action)>,
    /// Whether it waits.
    pub state: State,
}

/// What happens at a time.
#[derive(Clone, Debug)]
enum Timer {
    Answer(u64),
    Scribble { addr: u64, bytes: Vec<u8> },
    Events(events::Burst),
}

/// What the control socket or the front-end wants of the main loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// End the connection to the front-end, and listen again.
    Disconnect,
    /// End the process in good order.
    Quit,
    /// End the process at once, like a crash.
    Die,
}

/// An offer for a front-end: features and fields instead of the scenario's.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Features.
    pub features: Option<u64>,
    /// Fields of the configuration space.
    pub config: ConfigFields,
}

/// The device.
#[derive(Debug)]
pub struct Device {
    /// Where everything is logged.
    pub log: Log,
    /// As the scenario has it.
    pub config: DeviceConfig,
    /// Features that are offered.
    pub features: u64,
    /// Offers for the next front-ends, one after the other.
    pub offers: VecDeque<Offer>,
    /// Features that the driver took.
    pub acked: u64,
    /// Configuration space.
    pub space: ConfigSpace,
    /// What was there before a stop: comes back if the queues just go on.
    pub space_before_stop: Option<ConfigSpace>,
    /// Logical units.
    pub targets: Targets,
    /// Rules.
    pub rules: Rules,
    /// The guest's memory, once it is known.
    pub memory: Option<Memory>,
    /// Virtqueues.
    pub rings: Vec<Ring>,
    /// Where configuration changes are told to the front-end.
    pub channel: Option<File>,
    /// What the main loop is to do.
    pub wish: Option<Wish>,
    /// Event buffers.
    pub events: Events,
    /// Counters.
    pub stats: Stats,
    /// How many bytes keep changing.
    pub flipping: Arc<AtomicUsize>,
    in_flight: BTreeMap<u64, InFlight>,
    serial: u64,
    timers: BTreeMap<(Instant, u64), Timer>,
    subscriptions: BTreeMap<Address, u32>,
    /// Features as the scenario has them.
    offered: u64,
    /// The configuration space without the offer that the present front-end got.
    usual_space: Option<ConfigSpace>,
}

impl Device {
    /// A device of a scenario.
    pub fn new(scenario: Checked, log: Log) -> Self {
        let queues = scenario.device.request_queues;
        let space = ConfigSpace::new(queues.into(), &scenario.device.config);
        let rings = (0..usize::from(queues) + 2)
            .map(|_| Ring::default())
            .collect();
        Self {
            log,
            features: scenario.features,
            offers: VecDeque::new(),
            offered: scenario.features,
            usual_space: None,
            config: scenario.device,
            acked: 0,
            space,
            space_before_stop: None,
            targets: scenario.targets,
            rules: scenario.rules,
            memory: None,
            rings,
            channel: None,
            wish: None,
            events: Events::default(),
            stats: Stats::default(),
            flipping: Arc::default(),
            in_flight: BTreeMap::new(),
            serial: 0,
            timers: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
        }
    }

    /// Whether T10_PI was negotiated.
    pub fn protection(&self) -> bool {
        self.acked & feature::T10_PI != 0
    }

    /// A queue of this index.
    pub fn ring(&mut self, index: usize) -> Result<&mut Ring, String> {
        let count = self.rings.len();
        self.rings
            .get_mut(index)
            .ok_or_else(|| format!("there is no queue {index}; there are {count}"))
    }

    /// Starts a queue, and takes what is in it already.
    pub fn start_ring(&mut self, index: usize) -> Result<(), String> {
        let memory = self.memory.clone().ok_or("no memory was announced")?;
        let (packed, event_index) = (
            self.acked & feature::PACKED != 0,
            self.acked & feature::EVENT_IDX != 0,
        );
        let ring = self.ring(index)?;
        if !ring.started {
            ring.start(&memory, packed, event_index)
                .map_err(|error| format!("queue {index} cannot start: {error}"))?;
            let fields = json!({"queue": index, "size": ring.size, "base": ring.base,
                "packed": packed, "generation": ring.generation});
            self.stats.starts += u64::from(index == CONTROL_QUEUE);
            self.log.line("queue_start", fields);
        }
        self.service(index);
        Ok(())
    }

    /// A queue is set up anew: what was in flight in it is no more.
    pub fn renew_ring(&mut self, index: usize) {
        self.rings[index].generation += 1;
        self.rings[index].answered.clear();
        self.rings[index].misled = false;
        let gone: Vec<u64> = self
            .in_flight
            .iter()
            .filter(|(_, request)| request.queue == index)
            .map(|(&serial, _)| serial)
            .collect();
        for serial in &gone {
            if let Some(request) = self.in_flight.remove(serial) {
                if matches!(request.body, Body::Command(_)) {
                    self.stats.end(&request.address.name());
                }
            }
        }
        let forgotten = gone.len();
        if index == EVENT_QUEUE {
            self.events.forget_buffers();
        }
        if index == CONTROL_QUEUE {
            self.space_before_stop = None;
            self.subscriptions.clear();
        }
        let generation = self.rings[index].generation;
        let fields = json!({"queue": index, "generation": generation, "forgotten": forgotten});
        self.log.line("queue_renew", fields);
    }

    /// A queue stops.
    pub fn stop_ring(&mut self, index: usize) {
        if index == CONTROL_QUEUE && self.rings[index].started {
            self.space_before_stop = Some(self.space.clone());
            self.space.reset();
        }
        self.rings[index].stop();
        let waiting = self
            .in_flight
            .values()
            .filter(|request| request.queue == index)
            .count();
        let base = self.rings[index].base;
        self.log.line(
            "queue_stop",
            json!({"queue": index, "base": base, "in_flight": waiting}),
        );
    }

    /// Whether all queues are off, as before the driver has set them up and after it has gone.
    pub fn is_at_rest(&self) -> bool {
        self.rings
            .iter()
            .all(|ring| !(ring.started && ring.enabled))
    }

    /// Changes the configuration space, for those that connect later, too.
    pub fn set_config(&mut self, fields: &ConfigFields) {
        self.space.set(fields);
        if let Some(usual) = &mut self.usual_space {
            usual.set(fields);
        }
    }

    /// A front-end is there. It gets the next offer; if there is none, what the scenario says and
    /// orders have changed.
    pub fn connected(&mut self) {
        if let Some(usual) = self.usual_space.take() {
            self.space = usual;
        }
        self.features = self.offered;
        if let Some(offer) = self.offers.pop_front() {
            self.stats.offers += 1;
            self.usual_space = Some(self.space.clone());
            self.space.set(&offer.config);
            self.features = offer.features.unwrap_or(self.features);
        }
        let features = format!("{:#x}", self.features);
        self.log.line("connected", json!({"features": features}));
    }

    /// The connection is gone, and all that it set up.
    pub fn disconnected(&mut self) {
        for index in 0..self.rings.len() {
            if self.rings[index].started {
                self.stop_ring(index);
            }
            self.renew_ring(index);
            self.rings[index] = self.rings[index].after_disconnect();
        }
        self.memory = None;
        self.channel = None;
        self.acked = 0;
        self.space.reset();
        self.timers
            .retain(|_, timer| matches!(timer, Timer::Events(_)));
        self.log.line("disconnected", json!({}));
    }

    /// The driver notified the device of a queue.
    pub fn kicked(&mut self, index: usize) {
        *self.stats.kicks.entry(index).or_default() += self.rings[index].take_kick();
        if self.rings[index].ignored_kicks > 0 {
            self.rings[index].ignored_kicks -= 1;
            self.log.line("kick_ignored", json!({"queue": index}));
        } else {
            self.service(index);
        }
    }

    /// Takes what is new in a queue.
    pub fn service(&mut self, index: usize) {
        if let Err(error) = self.try_service(index) {
            self.blame(index, Broken::Ring, json!({"queue": index, "error": error}));
            // Only setting it up anew helps.
            self.rings[index].stop();
            let error_fd = &mut self.rings[index].error;
            crate::ring::signal(error_fd.as_mut());
        }
    }

    /// The driver broke a rule of the specification, on a queue on which it was told nothing wrong.
    pub(super) fn blame(&mut self, queue: usize, rule: Broken, detail: Value) {
        if self.rings[queue].misled {
            self.log.excused(rule, detail);
        } else {
            self.log.violation(rule, detail);
        }
    }

    fn try_service(&mut self, index: usize) -> Result<(), String> {
        let Some(memory) = self.memory.clone() else {
            return Ok(());
        };
        loop {
            while self.takes(index) {
                let Some(chain) = self.rings[index].pop(&memory)? else {
                    break;
                };
                match index {
                    EVENT_QUEUE => self.event_buffer(&memory, chain),
                    CONTROL_QUEUE => self.control_request(&memory, chain),
                    _ => self.command_request(&memory, index, chain),
                }
            }
            if !self.takes(index) || !self.rings[index].arm(&memory)? {
                return Ok(());
            }
        }
    }

    fn takes(&self, index: usize) -> bool {
        self.rings[index].running() && (index != EVENT_QUEUE || self.events.consume)
    }

    fn after(&mut self, delay: Duration, timer: Timer) {
        self.serial += 1;
        self.timers
            .insert((Instant::now() + delay, self.serial), timer);
    }

    /// How long until something is to be done.
    pub fn until_timer(&self) -> Option<Duration> {
        let ((at, _), _) = self.timers.first_key_value()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Does what is due.
    pub fn run_timers(&mut self) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > Instant::now() {
                return;
            }
            match entry.remove() {
                Timer::Answer(serial) => self.answer(serial),
                Timer::Scribble { addr, bytes } => self.scribble_now(addr, &bytes),
                Timer::Events(burst) => self.send_burst(burst),
            }
        }
    }

    /// Answers held requests of that name, or all of them. Returns how many.
    pub fn release(&mut self, name: Option<&str>) -> usize {
        let fits = |state: &State| match state {
            State::Held(held) => name.is_none_or(|name| name == held),
            _ => false,
        };
        let held: Vec<u64> = self
            .in_flight
            .iter()
            .filter(|(_, request)| fits(&request.state))
            .map(|(&serial, _)| serial)
            .collect();
        for &serial in &held {
            self.answer(serial);
        }
        held.len()
    }

    /// The requests that were not answered, for the control socket.
    pub fn waiting(&self) -> Vec<Value> {
        let line = |(serial, request): (&u64, &InFlight)| {
            let what = match &request.body {
                Body::Command(header) => crate::scsi::opcodes::name(&header.cdb),
                Body::Control(_) => "control".into(),
            };
            let (state, name) = match &request.state {
                State::Ready => ("ready", None),
                State::Delayed => ("delayed", None),
                State::Collected => ("collected", None),
                State::Held(name) => ("held", Some(name)),
                State::Dropped => ("dropped", None),
            };
            json!({"serial": serial, "queue": request.queue, "unit": request.address.name(),
                "what": what, "state": state, "name": name})
        };
        self.in_flight.iter().map(line).collect()
    }

    /// Tells the front-end that the configuration space changed.
    pub fn notify_config(&mut self) -> Result<(), String> {
        let Some(channel) = &mut self.channel else {
            return Err(
                "the front-end gave no channel for it (it may not serve the configuration)".into(),
            );
        };
        crate::vhost::message::config_changed(channel)
            .map_err(|error| format!("the front-end does not listen: {error}"))?;
        self.log.line("config_change", json!({}));
        Ok(())
    }
}
