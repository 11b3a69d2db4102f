// SPDX-License-Identifier: GPL-2.0

//! The rules of the specification that the device checks a driver against.

macro_rules! rules {
    ($($name:ident: $text:literal,)*) => {
        /// A rule, as the log words it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Broken {
            $(#[doc = $text] $name,)*
        }

        impl Broken {
            /// All rules.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What the rule demands.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

rules! {
    Features: "features are of those offered",
    ConfigWrite: "only sense_size and cdb_size are written",
    Ring: "rings are in memory and well-formed",
    Header: "a request has a whole header, in memory",
    Order: "device-readable buffers come first",
    Room: "there is room for the response and its sense data",
    Lun: "the LUN is in the format of 5.6.6.1",
    TaskAttribute: "task_attr is zero",
    Priority: "prio is zero",
    Reference: "crn is zero",
    Padding: "the CDB is padded with zeros",
    ProtectionBytes: "pi_bytes are within the buffers",
    Tag: "the tag is of no other command in flight",
    QueueDepth: "a unit has no more than cmd_per_lun commands",
    Buffers: "buffers are in memory",
    ControlType: "a control request is a TMF or about notifications",
    ControlSize: "a control request has its exact size",
    EventWritable: "event buffers are device-writable",
    EventSize: "event buffers have at least 16 bytes",
    EventInfoSize: "event buffers have event_info_size bytes",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use serde_json::json;
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::Broken;
    use crate::config_space::ConfigFields;
    use crate::device::Device;
    use crate::log::Log;
    use crate::ring::{Addresses, Memory};
    use crate::scenario::Scenario;
    use crate::vhost::session::Session;
    use crate::wire::{feature, CONTROL_QUEUE, EVENT_QUEUE, FIRST_REQUEST_QUEUE};

    const ENTRIES: u16 = 16;
    const MEMORY: usize = 0x10_0000;
    const RESPONSE: u32 = 12 + 96;

    /// A device with a driver that does what a test says.
    struct Bench {
        device: Device,
        memory: Memory,
        available: [u16; 4],
        descriptors: u16,
        next: u64,
    }

    /// A buffer of a chain.
    enum Piece {
        /// What the device reads.
        Out(Vec<u8>),
        /// How much it may write.
        In(u32),
        /// That, where there is no memory.
        Nowhere(u32),
    }
    use Piece::{In, Nowhere, Out};

    fn addresses(queue: usize) -> Addresses {
        let at = 0x1_0000 * (queue as u64 + 1);
        Addresses {
            desc: at,
            avail: at + 0x4000,
            used: at + 0x8000,
        }
    }

    impl Bench {
        fn new() -> Self {
            let checked = Scenario::default().with_some_unit().check().unwrap();
            let device = Device::new(checked, Log::open(None).unwrap());
            let ranges = [(GuestAddress(0), MEMORY)];
            Self {
                device,
                memory: Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap()),
                available: [0; 4],
                descriptors: 0,
                next: 0x8_0000,
            }
        }

        fn started(features: u64, config: ConfigFields) -> Self {
            let mut bench = Self::new();
            bench.device.space.set(&config);
            bench.device.acked = features;
            bench.device.memory = Some(bench.memory.clone());
            for queue in 0..bench.device.rings.len() {
                let ring = &mut bench.device.rings[queue];
                ring.size = ENTRIES;
                ring.addresses = Some(addresses(queue));
                ring.enabled = true;
                bench.device.start_ring(queue).unwrap();
            }
            bench
        }

        fn put(&self, at: u64, bytes: &[u8]) {
            self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
        }

        /// Makes a chain available and notifies the device.
        fn submit(&mut self, queue: usize, pieces: Vec<Piece>) {
            let places = addresses(queue);
            let head = self.descriptors;
            let count = pieces.len();
            for (i, piece) in pieces.into_iter().enumerate() {
                let (at, length, writable) = match piece {
                    Out(bytes) => {
                        self.put(self.next, &bytes);
                        (self.next, bytes.len() as u32, 0)
                    }
                    In(length) => (self.next, length, 2),
                    Nowhere(length) => (MEMORY as u64 * 2, length, 2),
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
        }

        fn command(&mut self, header: Vec<u8>) {
            self.submit(FIRST_REQUEST_QUEUE, vec![Out(header), In(RESPONSE)]);
        }

        fn broken(&self) -> BTreeSet<Broken> {
            self.device.log.violations.keys().copied().collect()
        }
    }

    /// TEST UNIT READY, with one byte changed.
    fn header(tag: u64, at: usize, value: u8) -> Vec<u8> {
        let mut bytes = vec![0; 51];
        bytes[0] = 1;
        bytes[8..16].copy_from_slice(&tag.to_le_bytes());
        bytes[at] = value;
        bytes
    }

    fn good() -> Vec<u8> {
        header(1, 0, 1)
    }

    /// ABORT TASK.
    fn function() -> Vec<u8> {
        let mut bytes = vec![0; 24];
        bytes[8] = 1;
        bytes
    }

    /// A message of the front-end.
    fn told(request: u32, payload: &[u8]) -> Bench {
        let mut bench = Bench::new();
        let (mut front_end, stream) = UnixStream::pair().unwrap();
        let head = [request, 1, payload.len() as u32].map(u32::to_le_bytes);
        front_end.write_all(&head.concat()).unwrap();
        front_end.write_all(payload).unwrap();
        assert!(Session::new(stream).serve(&mut bench.device).unwrap());
        bench
    }

    fn with_command(header: Vec<u8>) -> Bench {
        let mut bench = Bench::started(0, ConfigFields::default());
        bench.command(header);
        bench
    }

    fn with(queue: usize, pieces: Vec<Piece>, config: ConfigFields) -> Bench {
        let mut bench = Bench::started(0, config);
        bench.submit(queue, pieces);
        bench
    }

    /// Two commands that are not answered.
    fn held(second: u64, config: ConfigFields) -> Bench {
        let mut bench = Bench::started(0, config);
        let rule = json!({"name": "held", "action": {"hold": "x"}});
        let rule = serde_json::from_value(rule).unwrap();
        bench.device.rules.add(rule, true).unwrap();
        bench.command(good());
        bench.command(header(second, 0, 1));
        bench
    }

    fn run(rule: Broken) -> Bench {
        let plain = ConfigFields::default;
        let event_info = |size| ConfigFields {
            event_info_size: Some(size),
            ..plain()
        };
        match rule {
            Broken::Features => told(2, &(1u64 << 63).to_le_bytes()),
            Broken::ConfigWrite => {
                let fields: Vec<u8> = [12u32, 4, 0, 1].map(u32::to_le_bytes).concat();
                told(25, &fields)
            }
            Broken::Ring => {
                let mut bench = Bench::started(0, plain());
                bench.put(addresses(2).avail + 2, &(ENTRIES + 1).to_le_bytes());
                bench.device.service(2);
                bench
            }
            Broken::Header => with_command(good()[..50].to_vec()),
            Broken::Order => with(2, vec![In(RESPONSE), Out(good())], plain()),
            Broken::Room => with(2, vec![Out(good()), In(RESPONSE - 1)], plain()),
            Broken::Lun => with_command(header(1, 0, 2)),
            Broken::TaskAttribute => with_command(header(1, 16, 1)),
            Broken::Priority => with_command(header(1, 17, 1)),
            Broken::Reference => with_command(header(1, 18, 1)),
            Broken::Padding => with_command(header(1, 19 + 6, 1)),
            Broken::ProtectionBytes => {
                let mut bench = Bench::started(feature::T10_PI, plain());
                let mut bytes = good();
                bytes.resize(59, 0);
                bytes[23] = 8;
                bench.command(bytes);
                bench
            }
            Broken::Tag => held(1, plain()),
            Broken::QueueDepth => {
                let one = ConfigFields {
                    cmd_per_lun: Some(1),
                    ..plain()
                };
                held(2, one)
            }
            Broken::Buffers => with(2, vec![Out(good()), Nowhere(RESPONSE)], plain()),
            Broken::ControlType => with(CONTROL_QUEUE, vec![Out(vec![9; 24]), In(1)], plain()),
            Broken::ControlSize => with(CONTROL_QUEUE, vec![Out(function()), In(2)], plain()),
            Broken::EventWritable => with(EVENT_QUEUE, vec![Out(vec![0; 16]), In(16)], plain()),
            Broken::EventSize => with(EVENT_QUEUE, vec![In(15)], event_info(8)),
            Broken::EventInfoSize => with(EVENT_QUEUE, vec![In(16)], event_info(17)),
        }
    }

    #[test]
    fn every_rule_is_seen_when_it_is_broken_and_no_other() {
        for &rule in Broken::ALL {
            assert_eq!(run(rule).broken(), BTreeSet::from([rule]), "{rule:?}");
        }
    }

    #[test]
    fn a_driver_that_keeps_to_the_rules_breaks_none() {
        let mut bench = Bench::started(0, ConfigFields::default());
        bench.command(good());
        bench.command(good());
        bench.submit(CONTROL_QUEUE, vec![Out(function()), In(1)]);
        bench.submit(EVENT_QUEUE, vec![In(16)]);
        assert_eq!(bench.broken(), BTreeSet::new());
        assert_eq!(bench.device.stats.answers, 3);
    }

    #[test]
    fn lost_notifications_are_not_acted_on() {
        let mut bench = Bench::started(0, ConfigFields::default());
        bench.device.rings[EVENT_QUEUE].ignored_kicks = 1;
        bench.put(addresses(EVENT_QUEUE).avail + 2, &1u16.to_le_bytes());
        bench.put(addresses(EVENT_QUEUE).desc + 8, &[16, 0, 0, 0, 2, 0]);
        bench.device.kicked(EVENT_QUEUE);
        assert_eq!(bench.device.events.buffers(), 0);
        bench.device.kicked(EVENT_QUEUE);
        assert_eq!(bench.device.events.buffers(), 1);
    }
}
