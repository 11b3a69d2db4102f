// SPDX-License-Identifier: GPL-2.0-or-later

//! For tests: a device, and a driver in the same process that does what a test says.

use std::sync::Arc;

use serde_json::{json, Value};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::device::Device;
use crate::log::Log;
use crate::ring::{Addresses, Memory};
use crate::scenario::Scenario;

/// Entries of each queue.
pub const ENTRIES: u16 = 16;
/// Bytes of a response with its sense data.
pub const RESPONSE: u32 = 12 + 96;

const MEMORY: usize = 0x10_0000;
/// What buffers hold that the device did not write to.
pub const UNWRITTEN: u8 = 0xee;

/// A device with a driver that does what a test says.
pub struct Bench {
    /// The device.
    pub device: Device,
    memory: Memory,
    available: [u16; 4],
    descriptors: u16,
    next: u64,
}

/// A buffer of a chain.
pub enum Piece {
    /// What the device reads.
    Out(Vec<u8>),
    /// How much it may write.
    In(u32),
    /// That, where there is no memory.
    Nowhere(u32),
}

/// Where the parts of a queue are.
pub fn addresses(queue: usize) -> Addresses {
    let at = 0x1_0000 * (queue as u64 + 1);
    Addresses {
        desc: at,
        avail: at + 0x4000,
        used: at + 0x8000,
    }
}

impl Bench {
    /// A device of a scenario, which nobody has started yet.
    pub fn new(scenario: Scenario) -> Self {
        let device = Device::new(scenario.check().unwrap(), Log::open(None).unwrap());
        let ranges = [(GuestAddress(0), MEMORY)];
        Self {
            device,
            memory: Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap()),
            available: [0; 4],
            descriptors: 0,
            next: 0x8_0000,
        }
    }

    /// Sets its queues up and starts them.
    pub fn start(&mut self, features: u64) {
        self.device.acked = features;
        self.device.memory = Some(self.memory.clone());
        for queue in 0..self.device.rings.len() {
            let ring = &mut self.device.rings[queue];
            ring.size = ENTRIES;
            ring.addresses = Some(addresses(queue));
            ring.enabled = true;
            self.device.start_ring(queue).unwrap();
        }
    }

    /// Has a rule do this to all commands.
    pub fn rule(&mut self, action: Value) {
        let rule = serde_json::from_value(json!({"name": "rule", "action": action})).unwrap();
        self.device.rules.add(rule, true).unwrap();
    }

    /// Writes to the guest's memory.
    pub fn put(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    /// Reads the guest's memory.
    pub fn get(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        bytes
    }

    /// Makes a chain available and notifies the device. Returns where its last buffer is.
    pub fn submit(&mut self, queue: usize, pieces: Vec<Piece>) -> u64 {
        let places = addresses(queue);
        let head = self.descriptors;
        let count = pieces.len();
        for (i, piece) in pieces.into_iter().enumerate() {
            let (at, length, writable) = match piece {
                Piece::Out(bytes) => {
                    self.put(self.next, &bytes);
                    (self.next, bytes.len() as u32, 0)
                }
                Piece::In(length) => {
                    self.put(self.next, &vec![UNWRITTEN; length as usize]);
                    (self.next, length, 2)
                }
                Piece::Nowhere(length) => (MEMORY as u64 * 2, length, 2),
            };
            self.next += 0x1000;
            let more = u16::from(i + 1 < count);
            let mut entry = at.to_le_bytes().to_vec();
            entry.extend(length.to_le_bytes());
            entry.extend((writable | more).to_le_bytes());
            entry.extend((self.descriptors + 1).to_le_bytes());
            self.put(places.desc + 16 * u64::from(self.descriptors), &entry);
            self.descriptors += 1;
        }
        let slot = u64::from(self.available[queue]);
        self.put(places.avail + 4 + 2 * slot, &head.to_le_bytes());
        self.available[queue] += 1;
        self.put(places.avail + 2, &self.available[queue].to_le_bytes());
        self.device.service(queue);
        self.next - 0x1000
    }
}
