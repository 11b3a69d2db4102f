// SPDX-License-Identifier: GPL-2.0

//! The part about latencies.

use super::{columns, words, Kind, Line};
use crate::latency::{directions, Latencies, Times};
use crate::units::below;
use crate::view::View;

/// The columns of bounds: how many of 1000 commands are below each.
const BOUNDS: [(&str, u16); 4] = [
    ("P50", 500),
    ("P99", 990),
    ("P99.9", 999),
    ("LONGEST", 1000),
];

/// Its heading. If nothing is recorded, that says how to change it; a driver that cannot record has
/// no such setting.
pub(super) fn heading(view: &View) -> String {
    match (view.recording, view.host, view.device.latency.is_empty()) {
        (Some(false), Some(host), true) => {
            format!("Latency: not recorded; echo 1 >/sys/class/scsi_host/host{host}/latency")
        }
        (Some(false), _, false) => "Latency, the recording has ended".to_owned(),
        (_, _, false) => "Latency".to_owned(),
        (_, _, true) => "Latency: none".to_owned(),
    }
}

fn row(direction: &str, counted: &str, times: &Times) -> Vec<String> {
    let mut row = words(&["", counted]);
    row[0] = format!("  {direction}");
    row.push(times.count().to_string());
    let bound = |of_1000| times.percentile(of_1000).map_or("-".to_owned(), below);
    row.extend(BOUNDS.iter().map(|(_, of_1000)| bound(*of_1000)));
    row
}

/// Its lines, of which there are none if nothing was recorded.
pub(super) fn lines(view: &View, latencies: &Latencies) -> Vec<Line> {
    let mut rows = vec![words(&["  DIRECTION", "COUNTED", "COMMANDS"])];
    rows[0].extend(BOUNDS.iter().map(|(head, _)| (*head).to_owned()));
    let new = latencies.new_of(&view.device.name);
    for (direction, times) in directions(&view.device.latency) {
        let mut new = new.iter().flat_map(|all| all.iter());
        if let Some((_, new)) = new.find(|(each, _)| *each == direction) {
            rows.push(row(&direction, "since last look", new));
        }
        rows.push(row(&direction, "in all", &times));
    }
    let some = rows.len() > 1;
    let lines = columns(&rows).into_iter().filter(|_| some);
    lines.map(|text| Line::new(Kind::Plain, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;

    const LINES: &str = "direction read below_us 8 count 99\ndirection read below_us 64 count 1\n";

    fn said(tree: &Tree, latencies: &Latencies) -> Vec<String> {
        let views = tree.look();
        let mut said = vec![heading(&views[0])];
        said.extend(
            lines(&views[0], latencies)
                .into_iter()
                .map(|line| line.text),
        );
        said
    }

    #[test]
    fn without_a_recording_there_is_only_the_way_to_one() {
        let (tree, latencies) = (Tree::default(), Latencies::default());
        // An older driver has neither the file nor the setting.
        tree.report("virtio0", "state", "state live\n");
        tree.disk("virtio0", 7, (0, 0), "sda");
        assert_eq!(said(&tree, &latencies), ["Latency: none"]);
        tree.report("virtio0", "latency", "");
        tree.recording("virtio0", 7, "0\n");
        let hint = "Latency: not recorded; echo 1 >/sys/class/scsi_host/host7/latency";
        assert_eq!(said(&tree, &latencies), [hint]);
        tree.recording("virtio0", 7, "1\n");
        assert_eq!(said(&tree, &latencies), ["Latency: none"]);
    }

    #[test]
    fn what_was_recorded_is_shown_after_the_recording_too() {
        let (tree, latencies) = (Tree::default(), Latencies::default());
        tree.report("virtio0", "latency", LINES);
        let table = [
            "  DIRECTION  COUNTED  COMMANDS  P50     P99     P99.9    LONGEST",
            "  read       in all   100       < 8 us  < 8 us  < 64 us  < 64 us",
        ];
        let heads = [
            ("0\n", "Latency, the recording has ended"),
            ("1\n", "Latency"),
            ("", "Latency"),
        ];
        for (setting, head) in heads {
            tree.recording("virtio0", 7, setting);
            assert_eq!(said(&tree, &latencies), [&[head], &table[..]].concat());
        }
    }

    #[test]
    fn what_is_new_stands_above_all_of_the_same_direction() {
        let (tree, mut latencies) = (Tree::default(), Latencies::default());
        tree.report("virtio0", "latency", LINES);
        latencies.note(&tree.look());
        let more = "direction read below_us 8 count 99\ndirection read below_us 64 count 3\n\
                    direction write below_us 2147483648 count 1\n";
        tree.report("virtio0", "latency", more);
        latencies.note(&tree.look());
        let expected = [
            "  DIRECTION  COUNTED          COMMANDS  P50        P99        P99.9      LONGEST",
            "  read       since last look  2         < 64 us    < 64 us    < 64 us    < 64 us",
            "  read       in all           102       < 8 us     < 64 us    < 64 us    < 64 us",
            "  write      since last look  1         >= 1073 s  >= 1073 s  >= 1073 s  >= 1073 s",
            "  write      in all           1         >= 1073 s  >= 1073 s  >= 1073 s  >= 1073 s",
        ];
        assert_eq!(said(&tree, &latencies)[1..], expected);
        latencies.note(&tree.look());
        let quiet = "  read       since last look  0         -          -          -          -";
        assert_eq!(said(&tree, &latencies)[2], quiet);
    }
}
