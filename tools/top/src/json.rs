// SPDX-License-Identifier: GPL-2.0

//! The report as JSON. docs/seeing-inside.md describes it.

use serde::Serialize;

use crate::report::Record;
use crate::view::View;

#[derive(Serialize)]
struct Document<'a> {
    devices: Vec<Device<'a>>,
}

#[derive(Serialize)]
struct Device<'a> {
    name: &'a str,
    host: Option<u64>,
    state: &'a Record,
    counters: &'a Record,
    queues: &'a [Record],
    in_flight: Vec<Command<'a>>,
    recovery: Vec<Step<'a>>,
    latency: &'a [Record],
}

#[derive(Serialize)]
struct Command<'a> {
    #[serde(flatten)]
    record: Record,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cdb_name: Option<&'static str>,
    stuck: bool,
    why: &'a str,
}

#[derive(Serialize)]
struct Step<'a> {
    #[serde(flatten)]
    record: Record,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<&'a str>,
}

/// The names that this program adds to a line.
const OURS: [&str; 4] = ["disk", "cdb_name", "stuck", "why"];

/// Writes one document, which ends with a line break.
pub fn write(views: &[View]) -> serde_json::Result<String> {
    let devices = views.iter().map(|view| Device {
        name: &view.device.name,
        host: view.host,
        state: &view.device.state,
        counters: &view.device.counters,
        queues: &view.device.queues,
        in_flight: view
            .commands
            .iter()
            .map(|command| Command {
                record: command.record.without(&OURS),
                disk: command.disk.as_deref(),
                cdb_name: command.name(),
                stuck: command.verdict.stuck,
                why: &command.verdict.why,
            })
            .collect(),
        recovery: view
            .steps
            .iter()
            .map(|step| Step {
                record: step.record.without(&OURS),
                disk: step.disk.as_deref(),
            })
            .collect(),
        latency: &view.device.latency,
    });
    let document = Document {
        devices: devices.collect(),
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;
    use serde_json::{json, Value};

    #[test]
    fn a_document_has_all_that_the_driver_reports_and_what_it_means() {
        let text = write(&Tree::with_a_held_command().look()).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({"devices": [{
            "name": "virtio1",
            "host": 2,
            "state": {
                "state": "live", "resets": 1, "recovery_wait": 0, "step_ms": 10000,
                "patience_ms": 0,
            },
            "counters": {
                "timeouts": 3, "lost_interrupts": 0, "waiting": 1, "device_resets": 1,
                "failures": 0,
            },
            "queues": [
                {
                    "queue": 0, "kind": "interrupt", "size": 128, "sent": 1001,
                    "completed": 1000, "in_flight": 1, "ring": "works",
                },
                {
                    "queue": 1, "kind": "polled", "size": 64, "sent": 51, "completed": 50,
                    "in_flight": 1, "ring": "works",
                },
            ],
            "in_flight": [
                {
                    "target": 0, "lun": 1, "queue": 0, "tag": 4, "age_ms": 61500,
                    "timeout_ms": 30000, "retries": 0, "place": "device", "stage": "held",
                    "cdb": "28000000002800000800", "disk": "sdb", "cdb_name": "READ(10)",
                    "stuck": true, "why": "the device has it: waiting",
                },
                {
                    "target": 0, "lun": 0, "queue": 1, "tag": 7, "age_ms": 12,
                    "timeout_ms": 30000, "retries": 0, "place": "device", "stage": "sent",
                    "cdb": "2a000000080000010000", "disk": "sda", "cdb_name": "WRITE(10)",
                    "stuck": false, "why": "the device works on it",
                },
            ],
            "recovery": [
                {
                    "ago_ms": 31500, "target": 0, "lun": 1, "step": "time_out",
                    "outcome": "notified_again", "disk": "sdb",
                },
                {"ago_ms": 400, "step": "bring_up", "outcome": "done"},
            ],
            "latency": [
                {"direction": "none", "below_us": 64, "count": 9},
                {"direction": "read", "below_us": 128, "count": 5123},
                {"direction": "read", "below_us": 256, "count": 40},
                {"direction": "read", "below_us": 2_147_483_648_u32, "count": 1},
                {"direction": "write", "below_us": 32768, "count": 9},
            ],
        }]});
        assert_eq!(document, expected, "{text}");
    }

    #[test]
    fn what_is_not_there_is_empty_and_never_missing() {
        let tree = Tree::default();
        assert_eq!(write(&[]).unwrap(), "{\n  \"devices\": []\n}\n");
        tree.report("virtio0", "counters", "");
        let document: Value = serde_json::from_str(&write(&tree.look()).unwrap()).unwrap();
        let expected = json!({"devices": [{
            "name": "virtio0", "host": null, "state": {}, "counters": {}, "queues": [],
            "in_flight": [], "recovery": [], "latency": [],
        }]});
        assert_eq!(document, expected);
    }

    #[test]
    fn names_that_are_ours_win_over_those_of_a_newer_driver() {
        let tree = Tree::default();
        tree.report(
            "virtio0",
            "in_flight",
            "lun 0 stuck no stage held zebra 3\n",
        );
        let text = write(&tree.look()).unwrap();
        assert_eq!(text.matches("\"stuck\"").count(), 1, "{text}");
        assert!(
            text.contains("\"stuck\": true") && text.contains("\"zebra\": 3"),
            "{text}"
        );
    }
}
