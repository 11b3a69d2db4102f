// SPDX-License-Identifier: GPL-2.0-or-later

//! Tests of what task management functions find, end and leave alone.

use serde_json::{json, Value};

use crate::bench::Piece::{In, Out};
use crate::bench::{Bench, RESPONSE, UNWRITTEN};
use crate::scenario::Scenario;
use crate::wire::{response, tmf, Address, CONTROL_QUEUE};

const REQUEST_QUEUE: usize = 2;
const TAG: u64 = 0x0102;

fn bench() -> Bench {
    let units = "[[unit]]\nsize = \"1M\"\n[[unit]]\nlun = 1\nsize = \"1M\"";
    let scenario: Scenario = toml::from_str(units).unwrap();
    let mut bench = Bench::new(scenario);
    bench.start(0);
    bench
}

fn rule(bench: &mut Bench, name: &str, on: &Value, action: &Value) {
    let rule = json!({"name": name, "match": on, "action": action});
    let rule = serde_json::from_value(rule).unwrap();
    bench.device.rules.add(rule, true).unwrap();
}

/// Sends TEST UNIT READY with this tag to a LUN of target 0. Returns where its response is.
fn command(bench: &mut Bench, lun: u16, tag: u64) -> u64 {
    let mut header = Address::bytes(0, lun).to_vec();
    header.extend(tag.to_le_bytes());
    header.resize(51, 0);
    bench.submit(REQUEST_QUEUE, vec![Out(header), In(RESPONSE)])
}

/// Asks for a function. Returns where its response is.
fn ask(bench: &mut Bench, subtype: u32, target: u8, lun: u16, tag: u64) -> u64 {
    let mut request = vec![0; 4];
    request.extend(subtype.to_le_bytes());
    request.extend(Address::bytes(target, lun));
    request.extend(tag.to_le_bytes());
    bench.submit(CONTROL_QUEUE, vec![Out(request), In(1)])
}

/// The response to a function, `UNWRITTEN` if there is none yet.
fn function(bench: &mut Bench, subtype: u32, target: u8, lun: u16, tag: u64) -> u8 {
    let at = ask(bench, subtype, target, lun, tag);
    bench.get(at, 1)[0]
}

/// What the device says that a command is in, if it knows of it.
fn state(bench: &Bench) -> Vec<Value> {
    let waiting = bench.device.waiting();
    waiting.iter().map(|line| line["state"].clone()).collect()
}

#[test]
fn a_query_says_whether_the_device_has_the_command() {
    for (action, state_of_it, answer) in [
        (json!({"hold": "x"}), "held", response::SUCCEEDED),
        (json!({"delay_ms": 60_000}), "delayed", response::SUCCEEDED),
        (json!({"reorder": 2}), "collected", response::SUCCEEDED),
        (json!({"drop": true}), "dropped", response::OK),
        // It believes that it has answered it.
        (json!({"id": "not_head"}), "dropped", response::OK),
    ] {
        for subtype in [tmf::QUERY_TASK, tmf::QUERY_TASK_SET] {
            let mut bench = bench();
            rule(&mut bench, "command", &json!({}), &action);
            command(&mut bench, 1, TAG);
            assert_eq!(state(&bench), [state_of_it]);
            let said = function(&mut bench, subtype, 0, 1, TAG);
            assert_eq!(said, answer, "{action} {subtype}");
            // It was only asked.
            assert_eq!(state(&bench), [state_of_it]);
        }
    }
}

#[test]
fn a_query_is_about_one_unit_and_one_tag() {
    let mut bench = bench();
    rule(
        &mut bench,
        "command",
        &json!({"lun": 1}),
        &json!({"hold": "x"}),
    );
    command(&mut bench, 1, TAG);
    assert_eq!(bench.device.stats.last_tag, TAG);
    for (subtype, lun, tag, answer) in [
        (tmf::QUERY_TASK, 1, TAG, response::SUCCEEDED),
        (tmf::QUERY_TASK, 1, TAG + 1, response::OK),
        (tmf::QUERY_TASK, 0, TAG, response::OK),
        (tmf::QUERY_TASK_SET, 1, TAG + 1, response::SUCCEEDED),
        (tmf::QUERY_TASK_SET, 0, TAG, response::OK),
        (tmf::QUERY_TASK, 2, TAG, response::INCORRECT_LUN),
    ] {
        let said = function(&mut bench, subtype, 0, lun, tag);
        assert_eq!(said, answer, "{subtype} {lun} {tag:#x}");
    }
}

#[test]
fn a_query_does_not_find_what_was_answered() {
    let mut bench = bench();
    rule(&mut bench, "command", &json!({}), &json!({"hold": "x"}));
    command(&mut bench, 0, TAG);
    assert_eq!(bench.device.release(None), 1);
    assert_eq!(
        function(&mut bench, tmf::QUERY_TASK, 0, 0, TAG),
        response::OK
    );
    let nobody = function(&mut bench, tmf::QUERY_TASK, 9, 0, TAG);
    assert_eq!(nobody, response::BAD_TARGET);
}

#[test]
fn one_that_is_not_lost_is_enough_for_a_set() {
    let mut bench = bench();
    rule(
        &mut bench,
        "lost",
        &json!({"nth": 1}),
        &json!({"drop": true}),
    );
    command(&mut bench, 0, TAG);
    rule(&mut bench, "held", &json!({}), &json!({"hold": "x"}));
    command(&mut bench, 0, TAG + 1);
    for (subtype, tag, answer) in [
        (tmf::QUERY_TASK, TAG, response::OK),
        (tmf::QUERY_TASK, TAG + 1, response::SUCCEEDED),
        (tmf::QUERY_TASK_SET, TAG, response::SUCCEEDED),
    ] {
        let said = function(&mut bench, subtype, 0, 0, tag);
        assert_eq!(said, answer, "{subtype} {tag:#x}");
    }
}

/// A rule about queries, and what is answered of a command that is held and of one that was
/// dropped.
#[test]
fn rules_decide_what_a_query_is_answered() {
    let query = json!({"on": "tmf", "subtype": "query_task"});
    for (action, of_held, of_dropped) in [
        (json!({"response": "function_succeeded"}), 10, 10),
        (json!({"response": "ok"}), 0, 0),
        (json!({"response": "function_rejected"}), 11, 11),
        (json!({"drop": true}), UNWRITTEN, UNWRITTEN),
        (json!({"delay_ms": 60_000}), UNWRITTEN, UNWRITTEN),
        (json!({"delay_ms": 0}), 10, 0),
        (json!({"hold": "query"}), UNWRITTEN, UNWRITTEN),
        (json!({"write": "nothing"}), UNWRITTEN, UNWRITTEN),
    ] {
        for (what, answer) in [
            (json!({"hold": "x"}), of_held),
            (json!({"drop": true}), of_dropped),
        ] {
            let mut bench = bench();
            rule(&mut bench, "command", &json!({}), &what);
            rule(&mut bench, "query", &query, &action);
            command(&mut bench, 0, TAG);
            let at = ask(&mut bench, tmf::QUERY_TASK, 0, 0, TAG);
            bench.device.run_timers();
            assert_eq!(bench.get(at, 1), [answer], "{what} {action}");
        }
    }
}

/// A query that is answered late is answered with what is true then.
#[test]
fn a_late_answer_is_of_the_time_it_is_given() {
    let mut bench = bench();
    rule(&mut bench, "command", &json!({}), &json!({"hold": "x"}));
    let query = json!({"on": "tmf"});
    rule(&mut bench, "query", &query, &json!({"hold": "query"}));
    command(&mut bench, 0, TAG);
    let at = ask(&mut bench, tmf::QUERY_TASK, 0, 0, TAG);
    assert_eq!(bench.device.release(Some("x")), 1);
    assert_eq!(bench.device.release(Some("query")), 1);
    assert_eq!(bench.get(at, 1), [response::OK]);
}

#[test]
fn functions_end_what_is_held_and_not_what_was_dropped() {
    for (subtype, code) in [
        (tmf::ABORT_TASK, response::ABORTED),
        (tmf::ABORT_TASK_SET, response::ABORTED),
        (tmf::CLEAR_TASK_SET, response::ABORTED),
        (tmf::UNIT_RESET, response::RESET),
        (tmf::NEXUS_RESET, response::RESET),
    ] {
        for (action, left, wanted) in [
            (json!({"hold": "x"}), 0, code),
            (json!({"drop": true}), 1, UNWRITTEN),
        ] {
            let mut bench = bench();
            rule(&mut bench, "command", &json!({}), &action);
            let at = command(&mut bench, 0, TAG);
            let said = function(&mut bench, subtype, 0, 0, TAG);
            assert_eq!(said, response::OK, "{subtype} {action}");
            assert_eq!(bench.get(at + 11, 1), [wanted], "{subtype} {action}");
            assert_eq!(state(&bench).len(), left, "{subtype} {action}");
        }
    }
}
