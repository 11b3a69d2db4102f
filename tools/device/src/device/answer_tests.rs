// SPDX-License-Identifier: GPL-2.0-or-later

//! Tests of what a rule does to the buffers of a request.

use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::bench::Piece::{In, Out};
use crate::bench::{Bench, RESPONSE, UNWRITTEN};
use crate::scenario::Scenario;
use crate::wire::feature;

const PI_AT: u64 = RESPONSE as u64;
const DATA_AT: u64 = PI_AT + 8;

/// Sends READ(10) or WRITE(10) of a block with protection information, which a rule is for. Returns
/// where the device-writable buffer is.
fn transfer(opcode: u8, action: Value) -> (Bench, u64) {
    let unit = "[[unit]]\nsize = \"1M\"\nprotection = 1\npower_on_attention = false";
    let scenario: Scenario = toml::from_str(unit).unwrap();
    let mut bench = Bench::new(scenario);
    bench.start(feature::T10_PI);
    bench.rule(action);
    let mut header = vec![0; 59];
    // LUN, tag, operation code.
    (header[0], header[8], header[27], header[35]) = (1, 9, opcode, 1);
    // RDPROTECT or WRPROTECT 1: all is checked.
    header[28] = 1 << 5;
    let at = if opcode == 0x28 {
        header[23] = 8;
        bench.submit(2, vec![Out(header), In(RESPONSE + 8 + 512)])
    } else {
        header[19] = 8;
        bench.submit(2, vec![Out(header), Out(vec![0; 8 + 512]), In(RESPONSE)])
    };
    (bench, at)
}

/// Each part of the device-writable buffer, where it is, and what a read leaves there.
const PARTS: [(&str, u64, u8); 3] = [
    ("response", 0, 0),
    ("pi_in", PI_AT, 0xff),
    ("data_in", DATA_AT, 0),
];

#[test]
fn every_part_can_be_corrupted() {
    for (part, offset, usual) in PARTS {
        let action = json!({"corrupt": {"part": part, "offset": 2, "length": 2, "xor": 0x55}});
        let (bench, at) = transfer(0x28, action);
        let wrong = usual ^ 0x55;
        let all = [usual, usual, wrong, wrong, usual];
        assert_eq!(bench.get(at + offset, 5), all, "{part}");
    }
    // The unit sees that the guard does not fit, or would not have.
    for (part, status) in [("data_out", 2), ("pi_out", 2), ("data_in", 0)] {
        let action = json!({"corrupt": {"part": part}});
        let (bench, at) = transfer(0x2a, action);
        assert_eq!(bench.get(at + 10, 1), [status], "{part}");
    }
}

#[test]
fn every_part_can_be_written_later() {
    for (part, offset, usual) in PARTS {
        let action = json!({"scribble": {"part": part, "offset": 3, "bytes": "abcd"}});
        let (mut bench, at) = transfer(0x28, action);
        assert_eq!(bench.get(at + offset + 3, 1), [usual], "{part}");
        bench.device.run_timers();
        assert_eq!(bench.get(at + offset + 2, 3), [usual, 0xab, 0xcd], "{part}");
    }
}

#[test]
fn every_part_can_keep_changing() {
    for (part, offset, usual) in PARTS {
        let action = json!({"flip": {"part": part, "offset": 1, "xor": 0x11, "for_ms": 5000}});
        let (bench, at) = transfer(0x28, action);
        let end = Instant::now() + Duration::from_secs(5);
        for wanted in [usual ^ 0x11, usual, usual ^ 0x11] {
            while bench.get(at + offset + 1, 1) != [wanted] {
                assert!(Instant::now() < end, "{part} is never {wanted:#x}");
            }
        }
    }
}

#[test]
fn what_is_not_to_be_written_is_not() {
    for (what, response, data) in [
        ("all", 0, 0),
        ("response", 0, UNWRITTEN),
        ("data", UNWRITTEN, 0),
        ("nothing", UNWRITTEN, UNWRITTEN),
    ] {
        let (bench, at) = transfer(0x28, json!({"write": what, "status_qualifier": 0}));
        assert_eq!(bench.get(at, 1), [response], "{what}");
        assert_eq!(bench.get(at + DATA_AT, 1), [data], "{what}");
    }
}

#[test]
fn numbers_are_where_the_header_has_them() {
    let action = json!({"sense_len": 0x0102, "residual": 0x0304, "status_qualifier": 0x0506,
        "status": 7, "response": 9, "execute": true});
    let (bench, at) = transfer(0x28, action);
    let wanted = [2, 1, 0, 0, 4, 3, 0, 0, 6, 5, 7, 9];
    assert_eq!(bench.get(at, 12), wanted);
}

#[test]
fn parts_can_be_random() {
    for (part, offset, usual) in [("response", 0, 0), ("data_in", DATA_AT, 0)] {
        let action = json!({"fuzz": {"part": part, "bytes": 8, "within": 12}});
        let (bench, at) = transfer(0x28, action);
        assert_ne!(bench.get(at + offset, 12), [usual; 12], "{part}");
        assert_eq!(bench.device.stats.answers_ruled, 1);
        assert_eq!(bench.device.stats.starts, 1);
    }
}
