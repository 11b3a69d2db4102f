// SPDX-License-Identifier: GPL-2.0

//! Commands per second of each queue, from two looks.

use std::collections::HashMap;
use std::time::Instant;

use crate::view::View;

/// What a queue had completed, and when.
#[derive(Clone, Copy, Debug)]
struct Seen {
    completed: u64,
    at: Instant,
}

/// What was seen at the last look, and what came of it.
#[derive(Debug, Default)]
pub struct Rates {
    seen: HashMap<(String, u64), Seen>,
    rates: HashMap<(String, u64), f64>,
}

impl Rates {
    /// Takes note of a look. Queues that are not there any more are forgotten.
    pub fn note(&mut self, views: &[View], at: Instant) {
        let before = std::mem::take(&mut self.seen);
        self.rates.clear();
        for view in views {
            for queue in &view.device.queues {
                let (Some(number), Some(completed)) =
                    (queue.number("queue"), queue.number("completed"))
                else {
                    continue;
                };
                let key = (view.device.name.clone(), number);
                let rate = before
                    .get(&key)
                    .and_then(|seen| rate(*seen, Seen { completed, at }));
                if let Some(rate) = rate {
                    self.rates.insert(key.clone(), rate);
                }
                self.seen.insert(key, Seen { completed, at });
            }
        }
    }

    /// Commands per second, if two looks tell.
    pub fn of(&self, device: &str, queue: u64) -> Option<f64> {
        self.rates.get(&(device.to_owned(), queue)).copied()
    }

    /// That of all queues of a device of which it is known.
    pub fn of_device(&self, device: &str) -> Option<f64> {
        let all = self.rates.iter().filter(|((name, _), _)| name == device);
        all.map(|(_, rate)| *rate).reduce(|sum, rate| sum + rate)
    }
}

/// A count that falls is that of a device which was bound again, or one that has begun anew.
fn rate(before: Seen, now: Seen) -> Option<f64> {
    let seconds = now.at.checked_duration_since(before.at)?.as_secs_f64();
    let count = now.completed.checked_sub(before.completed)?;
    (seconds > 0.0).then(|| count as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;
    use std::time::Duration;

    fn look(tree: &Tree, counts: &[u64]) -> Vec<View> {
        let lines = counts.iter().enumerate();
        let lines: Vec<_> = lines
            .map(|(queue, count)| format!("queue {queue} completed {count}\n"))
            .collect();
        tree.report("virtio0", "queues", &lines.concat());
        tree.look()
    }

    #[test]
    fn a_rate_is_that_of_the_time_between_two_looks() {
        let (tree, mut rates, start) = (Tree::default(), Rates::default(), Instant::now());
        rates.note(&look(&tree, &[100, 7]), start);
        assert_eq!(rates.of("virtio0", 0), None);
        assert_eq!(rates.of_device("virtio0"), None);
        rates.note(&look(&tree, &[150, 7]), start + Duration::from_millis(500));
        assert_eq!(rates.of("virtio0", 0), Some(100.0));
        assert_eq!(rates.of("virtio0", 1), Some(0.0));
        assert_eq!(rates.of_device("virtio0"), Some(100.0));
        assert_eq!(rates.of("virtio1", 0), None);
        rates.note(
            &look(&tree, &[160, 17]),
            start + Duration::from_millis(1500),
        );
        assert_eq!(rates.of_device("virtio0"), Some(20.0));
    }

    #[test]
    fn a_count_that_falls_gives_no_rate() {
        let (tree, mut rates, start) = (Tree::default(), Rates::default(), Instant::now());
        let looks = [
            (0, 100, None),
            (1, 105, Some(5.0)),
            (2, 5, None),
            (3, 8, Some(3.0)),
        ];
        for (second, count, rate) in looks {
            rates.note(&look(&tree, &[count]), start + Duration::from_secs(second));
            assert_eq!(rates.of("virtio0", 0), rate);
        }
    }

    #[test]
    fn two_looks_at_the_same_time_give_no_rate() {
        let (tree, mut rates, start) = (Tree::default(), Rates::default(), Instant::now());
        rates.note(&look(&tree, &[1]), start);
        rates.note(&look(&tree, &[9]), start);
        assert_eq!(rates.of("virtio0", 0), None);
    }

    #[test]
    fn a_device_that_was_away_gives_no_rate() {
        let (tree, mut rates, start) = (Tree::default(), Rates::default(), Instant::now());
        rates.note(&look(&tree, &[0]), start);
        rates.note(&look(&tree, &[1]), start + Duration::from_secs(1));
        rates.note(&[], start + Duration::from_secs(2));
        assert_eq!(rates.of_device("virtio0"), None);
        rates.note(&look(&tree, &[9]), start + Duration::from_secs(3));
        assert_eq!(rates.of("virtio0", 0), None);
    }
}
