// SPDX-License-Identifier: GPL-2.0

//! The report in Prometheus's text format, for the textfile collector of node_exporter.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::attention::GAUGE;
use crate::view::View;

mod latency;

/// The states that a device can be in.
const STATES: [&str; 7] = [
    "live",
    "down_probe",
    "down_driver",
    "down_suspend",
    "down_transport",
    "waiting",
    "gone",
];

/// A sample: what follows the name of the metric, its labels, and its value.
type Sample = (&'static str, String, String);

/// All samples of a metric.
struct Family {
    name: String,
    help: String,
    kind: &'static str,
    samples: Vec<Sample>,
}

impl Family {
    fn new(name: &str, kind: &'static str, help: &str) -> Self {
        Self {
            name: format!("virtio_scsi_rs_{name}"),
            help: help.to_owned(),
            kind,
            samples: Vec::new(),
        }
    }

    fn add(&mut self, labels: &[(&str, &str)], value: impl ToString) {
        self.add_part("", labels, value);
    }

    fn add_part(&mut self, part: &'static str, labels: &[(&str, &str)], value: impl ToString) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        self.samples
            .push((part, labels.join(","), value.to_string()));
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let name = &self.name;
        if self.samples.is_empty() {
            return Ok(());
        }
        writeln!(text, "# HELP {name} {}", self.help)?;
        writeln!(text, "# TYPE {name} {}", self.kind)?;
        for (part, labels, value) in &self.samples {
            writeln!(text, "{name}{part}{{{labels}}} {value}")?;
        }
        Ok(())
    }
}

/// The value of a label, in which three characters cannot be as they are.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', "\\\"");
    value.replace('\n', r"\n")
}

/// Whether it can be part of the name of a metric.
fn is_name(name: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(byte)
}

/// Writes all metrics.
pub fn write(views: &[View]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let families = [of_devices(views), of_counters(views), of_queues(views)];
    for family in families.iter().flatten() {
        family.write(&mut text)?;
    }
    latency::of_devices(views).write(&mut text)?;
    Ok(text)
}

fn of_devices(views: &[View]) -> Vec<Family> {
    let mut state = Family::new("state", "gauge", "Whether the device is in this state.");
    let mut resets = Family::new(
        "resets_total",
        "counter",
        "Resets that the device has come back from, whoever asked for them.",
    );
    let mut in_flight = Family::new("in_flight", "gauge", "Commands of the kernel in flight.");
    let mut stuck = Family::new(
        "stuck",
        "gauge",
        "Commands in flight that are in recovery, or older than their time-out.",
    );
    let mut oldest = Family::new(
        "oldest_age_seconds",
        "gauge",
        "Age of the oldest command in flight; 0 if there is none.",
    );
    for view in views {
        let device = ("device", view.device.name.as_str());
        if let Some(now) = view.device.state.text("state") {
            for each in STATES {
                state.add(&[device, ("state", each)], u8::from(each == now));
            }
            if !STATES.contains(&now) {
                state.add(&[device, ("state", now)], 1);
            }
        }
        if let Some(count) = view.device.state.number("resets") {
            resets.add(&[device], count);
        }
        in_flight.add(&[device], view.commands.len());
        stuck.add(&[device], view.stuck());
        let age = view.oldest().unwrap_or(0);
        oldest.add(&[device], format!("{}.{:03}", age / 1000, age % 1000));
    }
    vec![state, resets, in_flight, stuck, oldest]
}

/// All that the driver counts, new names too.
fn of_counters(views: &[View]) -> Vec<Family> {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    for view in views {
        for (name, _) in view.device.counters.iter() {
            let Some(value) = view.device.counters.number(name).filter(|_| is_name(name)) else {
                continue;
            };
            let family = families.entry(name).or_insert_with(|| match name {
                GAUGE => Family::new(
                    name,
                    "gauge",
                    "Commands that the driver waits for although they have timed out.",
                ),
                _ => {
                    let help = format!("The driver's counter {name}, since the device was bound.");
                    Family::new(&format!("{name}_total"), "counter", &help)
                }
            });
            family.add(&[("device", &view.device.name)], value);
        }
    }
    families.into_values().collect()
}

fn of_queues(views: &[View]) -> Vec<Family> {
    let mut of_names = [
        (
            "sent",
            Family::new(
                "queue_sent_total",
                "counter",
                "Commands put on the ring of a request queue, since the device was bound.",
            ),
        ),
        (
            "completed",
            Family::new(
                "queue_completed_total",
                "counter",
                "Commands taken back from the ring of a request queue.",
            ),
        ),
        (
            "in_flight",
            Family::new(
                "queue_in_flight",
                "gauge",
                "Commands on the ring of a request queue.",
            ),
        ),
        (
            "size",
            Family::new("queue_size", "gauge", "Descriptors of a request queue."),
        ),
    ];
    let mut works = Family::new("queue_works", "gauge", "Whether a request queue works.");
    for view in views {
        for queue in &view.device.queues {
            let number = queue.shown("queue");
            let labels = [
                ("device", view.device.name.as_str()),
                ("queue", number.as_str()),
            ];
            for (name, family) in &mut of_names {
                if let Some(value) = queue.number(name) {
                    family.add(&labels, value);
                }
            }
            if let Some(ring) = queue.text("ring") {
                works.add(&labels, u8::from(ring == "works"));
            }
        }
    }
    let families = of_names.into_iter().map(|(_, family)| family);
    families.chain([works]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;

    const EXPECTED: &str = include_str!("expected/prometheus.txt");

    #[test]
    fn all_metrics_are_written_with_their_types() {
        let text = write(&Tree::with_a_held_command().look()).unwrap();
        assert_eq!(text, EXPECTED, "{text}");
    }

    #[test]
    fn a_metric_has_one_head_and_the_samples_of_all_devices() {
        let tree = Tree::with_a_held_command();
        tree.report(
            "virtio9",
            "counters",
            "timeouts 18446744073709551615\nnew_one 2\nb-d 3\n",
        );
        let text = write(&tree.look()).unwrap();
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.contains("timeouts"))
            .collect();
        assert_eq!(
            lines,
            [
                "# HELP virtio_scsi_rs_timeouts_total The driver's counter timeouts, since the \
                 device was bound.",
                "# TYPE virtio_scsi_rs_timeouts_total counter",
                "virtio_scsi_rs_timeouts_total{device=\"virtio1\"} 3",
                "virtio_scsi_rs_timeouts_total{device=\"virtio9\"} 18446744073709551615",
            ]
        );
        assert!(text.contains("virtio_scsi_rs_new_one_total{device=\"virtio9\"} 2\n"));
        assert!(!text.contains("b-d"));
        let heads: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        let mut different = heads.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(heads.len(), different.len());
    }

    #[test]
    fn a_state_that_is_not_known_is_told_beside_the_others() {
        let tree = Tree::default();
        tree.report("virtio0", "state", "state odd\"\\one\n");
        let text = write(&tree.look()).unwrap();
        assert!(
            text.contains(r#"state{device="virtio0",state="odd\"\\one"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"state{device="virtio0",state="live"} 0"#),
            "{text}"
        );
    }

    #[test]
    fn an_age_is_in_seconds() {
        let tree = Tree::default();
        for (age, seconds) in [("5", "0.005"), ("1050", "1.050"), ("", "0.000")] {
            tree.report(
                "virtio0",
                "in_flight",
                &format!("stage sent age_ms {age}\n"),
            );
            let text = write(&tree.look()).unwrap();
            let expected = format!("oldest_age_seconds{{device=\"virtio0\"}} {seconds}\n");
            assert!(text.contains(&expected), "{text}");
        }
    }

    #[test]
    fn without_devices_there_is_nothing() {
        assert_eq!(write(&[]).unwrap(), "");
    }
}
