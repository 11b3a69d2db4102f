// SPDX-License-Identifier: GPL-2.0

//! Latencies as a histogram.
//!
//! The format lets a histogram be without a sum, but node_exporter would make 0 of that, and every
//! mean would be 0. So there is an estimate, of which the help tells.

use super::Family;
use crate::latency::{directions, of, Times, LAST};
use crate::view::View;

/// All directions, as a series that is there from the beginning can be told to have grown.
const DIRECTIONS: [&str; 3] = ["none", "read", "write"];

/// The histograms of all devices that record, or have recorded.
pub(super) fn of_devices(views: &[View]) -> Family {
    let mut family = Family::new(
        "latency_seconds",
        "histogram",
        "How long the device took for commands, since the recording began. The sum is an estimate: \
         each command counts as the middle of its range.",
    );
    for view in views {
        if view.recording != Some(true) && view.device.latency.is_empty() {
            continue;
        }
        let mut all = DIRECTIONS
            .map(|name| (name.to_owned(), Times::default()))
            .into();
        for (name, times) in directions(&view.device.latency) {
            *of(&mut all, &name) = times;
        }
        for (direction, times) in all {
            let labels = [
                ("device", view.device.name.as_str()),
                ("direction", direction.as_str()),
            ];
            add(&mut family, labels, times);
        }
    }
    family
}

/// Adds a histogram. Ranges without commands are in it: the buckets have to be the same each time.
fn add(family: &mut Family, [device, direction]: [(&str, &str); 2], mut times: Times) {
    let bounds = (0..).map(|power| 1 << power);
    bounds
        .take_while(|below| *below <= LAST)
        .for_each(|below| times.add(below, 0));
    let (mut cumulative, mut begin, mut sum) = (0_u64, 0, 0_u128);
    for (below, count) in times.iter() {
        cumulative = cumulative.saturating_add(count);
        // The middle, in units of half a microsecond.
        let middle = u128::from(begin) + u128::from(below);
        sum = sum.saturating_add(middle.saturating_mul(count.into()));
        begin = below;
        // The last range has no end.
        if below < LAST {
            let seconds = (below as f64 / 1e6).to_string();
            family.add_part(
                "_bucket",
                &[device, direction, ("le", &seconds)],
                cumulative,
            );
        }
    }
    family.add_part("_bucket", &[device, direction, ("le", "+Inf")], cumulative);
    let (seconds, rest) = (sum / 2_000_000, sum % 2_000_000 * 5);
    family.add_part("_sum", &[device, direction], format!("{seconds}.{rest:07}"));
    family.add_part("_count", &[device, direction], cumulative);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;

    fn written(tree: &Tree) -> String {
        let mut text = String::new();
        of_devices(&tree.look()).write(&mut text).unwrap();
        text
    }

    /// The value of a sample of a direction, with its part of the name, and `le` if it has one.
    fn value(text: &str, part: &str, direction: &str, le: &str) -> String {
        let le = if le.is_empty() {
            le.to_owned()
        } else {
            format!(",le=\"{le}\"")
        };
        let labels = format!("device=\"virtio0\",direction=\"{direction}\"{le}");
        let head = format!("virtio_scsi_rs_latency_seconds{part}{{{labels}}} ");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&head));
        let (value, more) = (lines.next(), lines.next());
        assert_eq!(more, None, "{text}");
        value
            .unwrap_or_else(|| panic!("no {head} in {text}"))
            .to_owned()
    }

    #[test]
    fn buckets_are_cumulative_and_the_last_range_has_no_end() {
        let tree = Tree::default();
        let lines = "direction read below_us 1 count 2\ndirection read below_us 4 count 3\n\
                     direction read below_us 2147483648 count 5\n\
                     direction odd below_us 8 count 1\n";
        tree.report("virtio0", "latency", lines);
        let text = written(&tree);
        for (le, expected) in [
            ("0.000001", "2"),
            ("0.000002", "2"),
            ("0.000004", "5"),
            ("1.048576", "5"),
            ("1073.741824", "5"),
            ("+Inf", "10"),
        ] {
            assert_eq!(value(&text, "_bucket", "read", le), expected, "{le}");
        }
        assert_eq!(value(&text, "_count", "read", ""), "10");
        assert!(!text.contains("le=\"2147"), "{text}");
        assert_eq!(value(&text, "_count", "write", ""), "0");
        assert_eq!(value(&text, "_count", "odd", ""), "1");
        // 31 with an end, and one without, for each of the four directions.
        assert_eq!(text.matches("_bucket{").count(), 4 * 32);
    }

    #[test]
    fn the_sum_is_that_of_the_middles() {
        let tree = Tree::default();
        for (lines, expected) in [
            ("below_us 1 count 1", "0.0000005"),
            ("below_us 2 count 2", "0.0000030"),
            ("below_us 1048576 count 3", "2.3592960"),
            ("below_us 2147483648 count 1", "1610.6127360"),
        ] {
            tree.report("virtio0", "latency", &format!("direction none {lines}\n"));
            assert_eq!(value(&written(&tree), "_sum", "none", ""), expected);
        }
    }

    #[test]
    fn a_device_has_a_histogram_from_when_it_records() {
        let tree = Tree::default();
        tree.report("virtio0", "latency", "");
        tree.folder("sys/bus/virtio/devices/virtio0/host4");
        assert_eq!(written(&tree), "");
        tree.recording("virtio0", 4, "0\n");
        assert_eq!(written(&tree), "");
        tree.recording("virtio0", 4, "1\n");
        assert_eq!(value(&written(&tree), "_bucket", "write", "+Inf"), "0");
    }
}
