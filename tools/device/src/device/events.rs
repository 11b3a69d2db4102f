// SPDX-License-Identifier: GPL-2.0-or-later

//! The event queue (virtio 1.3, 5.6.6.3).

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;

use super::{Device, Timer};
use crate::conformance::Broken;
use crate::ring::{length, write, Chain, Memory, Segment};
use crate::wire::{event, feature, Address, Event, EVENTS_MISSED, EVENT_QUEUE, EVENT_SIZE};

/// Buffers that the driver posted.
#[derive(Debug)]
pub struct Events {
    buffers: VecDeque<Chain>,
    /// An event was lost and the driver does not know yet.
    missed: bool,
    /// Whether buffers are taken from the queue.
    pub consume: bool,
    /// Events that wait for a buffer.
    waiting: VecDeque<(Event, Option<u32>)>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            buffers: VecDeque::new(),
            missed: false,
            consume: true,
            waiting: VecDeque::new(),
        }
    }
}

impl Events {
    /// How many buffers there are.
    pub fn buffers(&self) -> usize {
        self.buffers.len()
    }

    pub(super) fn forget_buffers(&mut self) {
        self.buffers.clear();
        self.missed = false;
        self.waiting.clear();
    }
}

/// Events to be sent one after the other.
#[derive(Clone, Debug)]
pub struct Burst {
    /// What is sent.
    pub event: Event,
    /// How often.
    pub times: u64,
    /// With how much time between.
    pub interval: Duration,
    /// The used length that is claimed.
    pub used_len: Option<u32>,
    /// Whether events wait for a buffer; else they are lost, and the driver is told.
    pub wait: bool,
}

impl Device {
    pub(super) fn event_buffer(&mut self, memory: &Memory, chain: Chain) {
        let sizes: Vec<u32> = chain.inn.iter().map(|piece| piece.len).collect();
        let readable: Vec<u32> = chain.out.iter().map(|piece| piece.len).collect();
        self.stats.event_buffers += 1;
        self.log.line(
            "event_buffer",
            json!({"id": chain.id, "in": sizes, "out": readable}),
        );
        let size = length(&chain.inn);
        if !chain.out.is_empty() {
            let found = json!({"found": readable});
            self.blame(EVENT_QUEUE, Broken::EventWritable, found);
        }
        if size < EVENT_SIZE {
            self.blame(EVENT_QUEUE, Broken::EventSize, json!({"found": size}));
        }
        if size < self.space.event_info_size() {
            let found = json!({"found": size});
            self.blame(EVENT_QUEUE, Broken::EventInfoSize, found);
        }
        self.events.buffers.push_back(chain);
        if let Some((event, used_len)) = self.events.waiting.pop_front() {
            self.deliver(memory, event, used_len);
            // Only those that were ordered wait.
            self.stats.events_ordered += 1;
        } else {
            self.tell_of_missed(memory);
        }
    }

    /// Once there is a buffer, the driver learns that events were lost.
    fn tell_of_missed(&mut self, memory: &Memory) {
        if self.events.missed && !self.events.buffers.is_empty() {
            let nothing = Event {
                event: 0,
                lun: [0; 8],
                reason: 0,
            };
            self.deliver(memory, nothing, None);
        }
    }

    /// Whether event buffers are taken, and events sent.
    pub fn consume_events(&mut self, consume: bool) {
        self.events.consume = consume;
        if consume {
            self.service(EVENT_QUEUE);
            if let Some(memory) = self.memory.clone() {
                self.tell_of_missed(&memory);
            }
        }
    }

    /// Sends events, now and later.
    pub fn send_burst(&mut self, mut burst: Burst) {
        while burst.times > 0 {
            burst.times -= 1;
            let sent = self.send_event(burst.event, burst.used_len, burst.wait);
            self.stats.events_ordered += u64::from(sent);
            if !burst.interval.is_zero() && burst.times > 0 {
                let interval = burst.interval;
                self.after(interval, Timer::Events(burst));
                return;
            }
        }
    }

    /// Forgets the events that were to be sent later, or that wait for a buffer.
    pub fn end_events(&mut self) {
        self.events.waiting.clear();
        self.timers
            .retain(|_, timer| !matches!(timer, Timer::Events(_)));
    }

    /// Sends an event. Returns whether it was sent at once.
    pub fn send_event(&mut self, event: Event, used_len: Option<u32>, wait: bool) -> bool {
        // The buffers of a queue that was stopped may be in use for something else.
        let ring = &self.rings[EVENT_QUEUE];
        let there = self.events.consume && ring.started && ring.enabled;
        if !there || self.events.buffers.is_empty() {
            if wait {
                self.events.waiting.push_back((event, used_len));
            } else {
                self.events.missed = true;
                self.stats.events_missed += 1;
                self.log.line("event_missed", event.json());
            }
            return false;
        }
        if let Some(memory) = self.memory.clone() {
            self.deliver(&memory, event, used_len);
        }
        true
    }

    fn deliver(&mut self, memory: &Memory, mut event: Event, used_len: Option<u32>) {
        let Some(chain) = self.events.buffers.pop_front() else {
            return;
        };
        if std::mem::take(&mut self.events.missed) {
            event.event |= EVENTS_MISSED;
        }
        let pieces: &[Segment] = &chain.inn;
        let written = write(memory, pieces, 0, &event.bytes()).unwrap_or(0);
        self.stats.events += 1;
        let mut fields = event.json();
        fields["id"] = chain.id.into();
        self.log.line("event", fields);
        let generation = self.rings[EVENT_QUEUE].generation;
        let used = used_len.unwrap_or(written as u32);
        self.finish(
            memory,
            EVENT_QUEUE,
            generation,
            chain.id,
            used,
            chain.entries,
        );
    }

    /// Tells of a unit that came or went, if the driver wants to hear of it.
    pub fn transport_event(&mut self, target: u8, lun: u16, reason: u32) {
        if self.acked & feature::HOTPLUG != 0 {
            let event = Event {
                event: event::TRANSPORT_RESET,
                lun: Address::bytes(target, lun),
                reason,
            };
            self.send_event(event, None, false);
        }
    }

    /// Tells of another parameter of a unit: the sense codes that would report it.
    pub fn param_event(&mut self, target: u8, lun: u16, asc: u8, ascq: u8) {
        let event = Event {
            event: event::PARAM_CHANGE,
            lun: Address::bytes(target, lun),
            reason: u32::from(asc) | (u32::from(ascq) << 8),
        };
        self.send_event(event, None, false);
    }
}
