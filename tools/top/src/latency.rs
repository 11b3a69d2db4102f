// SPDX-License-Identifier: GPL-2.0

//! How long the device took for commands: the file `latency`, and what has come between two looks.

use std::collections::{BTreeMap, HashMap};

use crate::report::Record;
use crate::view::View;

/// The end of the driver's last range, in microseconds. That range has all that is longer, too.
pub const LAST: u64 = 1 << 31;

/// How many commands took a time within each range, by the end of the range in microseconds. Each
/// range begins where the one before ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(BTreeMap<u64, u64>);

impl Times {
    /// Adds commands to a range, of which there may be none.
    pub fn add(&mut self, below: u64, count: u64) {
        let all = self.0.entry(below).or_default();
        *all = all.saturating_add(count);
    }

    /// The ends of the ranges and the commands in them, the shortest times first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(below, count)| (*below, *count))
    }

    /// How many commands there are.
    pub fn count(&self) -> u64 {
        self.0
            .values()
            .fold(0, |sum, each| sum.saturating_add(*each))
    }

    /// The end of the first range with which at least this many of 1000 commands are counted.
    pub fn percentile(&self, of_1000: u16) -> Option<u64> {
        let needed = u128::from(self.count()) * u128::from(of_1000);
        let mut counted = 0;
        let found = self.iter().find(|(_, count)| {
            counted += u128::from(*count) * 1000;
            *count > 0 && counted >= needed
        });
        found.map(|(below, _)| below)
    }

    /// Takes away what was counted before; [`None`] if that is more.
    fn since(&self, before: &Self) -> Option<Self> {
        let mut new = self.clone();
        for (below, count) in before.iter() {
            let now = new.0.entry(below).or_default();
            *now = now.checked_sub(count)?;
        }
        Some(new)
    }
}

/// The times of each direction of data, in the order of the file.
pub type Directions = Vec<(String, Times)>;

/// Reads the lines of the file.
pub fn directions(lines: &[Record]) -> Directions {
    let mut all = Directions::new();
    for line in lines {
        let (Some(name), Some(below), Some(count)) = (
            line.text("direction"),
            line.number("below_us"),
            line.number("count"),
        ) else {
            continue;
        };
        of(&mut all, name).add(below, count);
    }
    all
}

/// The times of a direction, which is added if it is not there.
pub fn of<'a>(all: &'a mut Directions, name: &str) -> &'a mut Times {
    let place = all.iter().position(|(each, _)| each == name);
    let place = place.unwrap_or_else(|| {
        all.push((name.to_owned(), Times::default()));
        all.len() - 1
    });
    &mut all[place].1
}

/// What the file had at the last look at each device, and what has come since the one before.
#[derive(Debug, Default)]
pub struct Latencies {
    seen: HashMap<String, Directions>,
    new: HashMap<String, Directions>,
}

impl Latencies {
    /// Takes note of a look. Devices that are not there any more are forgotten.
    pub fn note(&mut self, views: &[View]) {
        let before = std::mem::take(&mut self.seen);
        self.new.clear();
        for view in views {
            let (name, now) = (&view.device.name, directions(&view.device.latency));
            if let Some(before) = before.get(name) {
                // A count that falls is that of a recording which has begun since.
                let new = since(&now, before).unwrap_or_else(|| now.clone());
                self.new.insert(name.clone(), new);
            }
            self.seen.insert(name.clone(), now);
        }
    }

    /// The commands of a device since the look before the last one, if there was one.
    pub fn new_of(&self, device: &str) -> Option<&Directions> {
        self.new.get(device)
    }
}

fn since(now: &Directions, before: &Directions) -> Option<Directions> {
    let mut new = now.clone();
    for (name, before) in before {
        let times = of(&mut new, name);
        *times = times.since(before)?;
    }
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;

    fn times(counts: &[(u64, u64)]) -> Times {
        let mut times = Times::default();
        counts
            .iter()
            .for_each(|(below, count)| times.add(*below, *count));
        times
    }

    #[test]
    fn a_percentile_is_the_range_in_which_the_command_is_that_it_names() {
        let even = times(&[(1, 0), (2, 50), (4, 49), (8, 0), (16, 1)]);
        assert_eq!(even.count(), 100);
        let found = [500, 501, 990, 991, 999, 1000].map(|of_1000| even.percentile(of_1000));
        assert_eq!(found, [2, 4, 4, 16, 16, 16].map(Some));
        let one = times(&[(64, 1)]);
        assert_eq!(
            [0, 1, 500, 1000].map(|of_1000| one.percentile(of_1000)),
            [Some(64); 4]
        );
        assert_eq!(times(&[(64, 0)]).percentile(500), None);
        assert_eq!(Times::default().percentile(1000), None);
        let many = times(&[(2, u64::MAX - 1), (4, 1)]);
        assert_eq!(
            [999, 1000].map(|of_1000| many.percentile(of_1000)),
            [Some(2), Some(4)]
        );
    }

    #[test]
    fn lines_are_told_apart_by_direction_and_those_that_lack_something_are_left_out() {
        let lines = Record::of_lines(
            "direction read below_us 128 count 5\ndirection write below_us 128 count 1 zebra 2\n\
             direction read below_us 256 count 7\ndirection none below_us 2\nbelow_us 4 count 1\n",
        );
        let expected = [
            ("read".to_owned(), times(&[(128, 5), (256, 7)])),
            ("write".to_owned(), times(&[(128, 1)])),
        ];
        assert_eq!(directions(&lines), expected);
    }

    /// Looks at a device with these reads and writes below 8 and 16 microseconds; returns what is
    /// new.
    fn new(tree: &Tree, latencies: &mut Latencies, lines: &[(&str, u64, u64)]) -> String {
        let lines = lines.iter().map(|(direction, below, count)| {
            format!("direction {direction} below_us {below} count {count}\n")
        });
        tree.report("virtio0", "latency", &lines.collect::<String>());
        latencies.note(&tree.look());
        let Some(new) = latencies.new_of("virtio0") else {
            return "unknown".to_owned();
        };
        let words = new.iter().flat_map(|(direction, times)| {
            times
                .iter()
                .map(move |(below, count)| format!("{direction}<{below}:{count}"))
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_new_is_the_growth_of_the_counts() {
        let (tree, mut latencies) = (Tree::default(), Latencies::default());
        let mut look = |lines: &[_]| new(&tree, &mut latencies, lines);
        assert_eq!(look(&[("read", 8, 5)]), "unknown");
        assert_eq!(look(&[("read", 8, 7)]), "read<8:2");
        let more = [("read", 8, 7), ("read", 16, 1), ("write", 16, 3)];
        assert_eq!(look(&more), "read<8:0 read<16:1 write<16:3");
        assert_eq!(look(&more), "read<8:0 read<16:0 write<16:0");
    }

    #[test]
    fn all_is_new_if_a_count_has_fallen() {
        let (tree, mut latencies) = (Tree::default(), Latencies::default());
        let mut look = |lines: &[_]| new(&tree, &mut latencies, lines);
        look(&[("read", 8, 5), ("write", 8, 5)]);
        // The reads may be as many as before by chance.
        assert_eq!(
            look(&[("read", 8, 6), ("write", 8, 4)]),
            "read<8:6 write<8:4"
        );
        assert_eq!(look(&[("read", 8, 7)]), "read<8:7");
        assert_eq!(look(&[("read", 16, 9)]), "read<16:9");
        assert_eq!(look(&[]), "");
        assert_eq!(look(&[("read", 8, 2)]), "read<8:2");
    }

    #[test]
    fn a_device_that_was_away_has_nothing_to_compare_with() {
        let (tree, mut latencies) = (Tree::default(), Latencies::default());
        new(&tree, &mut latencies, &[("read", 8, 5)]);
        new(&tree, &mut latencies, &[("read", 8, 6)]);
        latencies.note(&[]);
        assert!(latencies.new_of("virtio0").is_none());
        assert_eq!(new(&tree, &mut latencies, &[("read", 8, 7)]), "unknown");
    }
}
