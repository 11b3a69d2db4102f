// SPDX-License-Identifier: GPL-2.0-or-later

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

    use serde_json::json;

    use super::Broken;
    use crate::bench::Piece::{In, Nowhere, Out};
    use crate::bench::{addresses, Bench, Piece, ENTRIES, RESPONSE};
    use crate::config_space::ConfigFields;
    use crate::scenario::Scenario;
    use crate::vhost::session::Session;
    use crate::wire::{feature, CONTROL_QUEUE, EVENT_QUEUE, FIRST_REQUEST_QUEUE};

    fn command(bench: &mut Bench, header: Vec<u8>) {
        bench.submit(FIRST_REQUEST_QUEUE, vec![Out(header), In(RESPONSE)]);
    }

    fn broken(bench: &Bench) -> BTreeSet<Broken> {
        bench.device.log.violations.keys().copied().collect()
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
        let mut bench = Bench::new(Scenario::default().with_some_unit());
        let (mut front_end, stream) = UnixStream::pair().unwrap();
        let head = [request, 1, payload.len() as u32].map(u32::to_le_bytes);
        front_end.write_all(&head.concat()).unwrap();
        front_end.write_all(payload).unwrap();
        assert!(Session::new(stream).serve(&mut bench.device).unwrap());
        bench
    }

    fn started(features: u64, config: ConfigFields) -> Bench {
        let mut bench = Bench::new(Scenario::default().with_some_unit());
        bench.device.space.set(&config);
        bench.start(features);
        bench
    }

    fn with_command(header: Vec<u8>) -> Bench {
        let mut bench = started(0, ConfigFields::default());
        command(&mut bench, header);
        bench
    }

    fn with(queue: usize, pieces: Vec<Piece>, config: ConfigFields) -> Bench {
        let mut bench = started(0, config);
        bench.submit(queue, pieces);
        bench
    }

    /// Two commands that are not answered.
    fn held(second: u64, config: ConfigFields) -> Bench {
        let mut bench = started(0, config);
        bench.rule(json!({"hold": "x"}));
        command(&mut bench, good());
        command(&mut bench, header(second, 0, 1));
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
                let mut bench = started(0, plain());
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
                let mut bench = started(feature::T10_PI, plain());
                let mut bytes = good();
                bytes.resize(59, 0);
                bytes[23] = 8;
                command(&mut bench, bytes);
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
    fn a_driver_that_was_misled_is_not_to_blame() {
        let mut bench = Bench::new(Scenario::default());
        bench.start(0);
        bench.rule(json!({"id": "stale"}));
        command(&mut bench, header(1, 0, 1));
        assert!(broken(&bench).is_empty());
        command(&mut bench, header(2, 17, 1));
        assert!(broken(&bench).is_empty());

        let queue = FIRST_REQUEST_QUEUE;
        assert!(bench.device.rings[queue].misled);
        bench.device.renew_ring(queue);
        assert!(!bench.device.rings[queue].misled);
        bench.device.blame(queue, Broken::Priority, json!({}));
        assert_eq!(broken(&bench), [Broken::Priority].into());
    }

    #[test]
    fn every_rule_is_seen_when_it_is_broken_and_no_other() {
        for &rule in Broken::ALL {
            assert_eq!(broken(&run(rule)), BTreeSet::from([rule]), "{rule:?}");
        }
    }

    #[test]
    fn a_driver_that_keeps_to_the_rules_breaks_none() {
        let mut bench = started(0, ConfigFields::default());
        command(&mut bench, good());
        command(&mut bench, good());
        bench.submit(CONTROL_QUEUE, vec![Out(function()), In(1)]);
        bench.submit(EVENT_QUEUE, vec![In(16)]);
        assert_eq!(broken(&bench), BTreeSet::new());
        assert_eq!(bench.device.stats.answers, 3);
    }

    #[test]
    fn lost_notifications_are_not_acted_on() {
        let mut bench = started(0, ConfigFields::default());
        bench.device.rings[EVENT_QUEUE].ignored_kicks = 1;
        bench.put(addresses(EVENT_QUEUE).avail + 2, &1u16.to_le_bytes());
        bench.put(addresses(EVENT_QUEUE).desc + 8, &[16, 0, 0, 0, 2, 0]);
        bench.device.kicked(EVENT_QUEUE);
        assert_eq!(bench.device.events.buffers(), 0);
        bench.device.kicked(EVENT_QUEUE);
        assert_eq!(bench.device.events.buffers(), 1);
    }
}
