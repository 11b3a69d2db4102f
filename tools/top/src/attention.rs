// SPDX-License-Identifier: GPL-2.0

//! The counters that are worth an alarm.

use std::collections::HashMap;

use crate::view::View;

/// Their names, as docs/seeing-inside.md has them.
pub const WORTH_AN_ALARM: [&str; 7] = [
    "waiting",
    "failures",
    "device_resets",
    "failed_device_resets",
    "bad_responses",
    "lost_interrupts",
    "lost_notifications",
];

/// The one that falls as well: what the driver waits for now.
pub const GAUGE: &str = "waiting";

/// A counter above 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The counter.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// How much it has grown since the first look; 0 if there was none before.
    pub grown: u64,
}

impl std::fmt::Display for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.value)?;
        match self.grown {
            0 => Ok(()),
            grown => write!(f, " (+{grown} since start)"),
        }
    }
}

/// What the counters were at the first look at each device.
#[derive(Debug, Default)]
pub struct Baseline(HashMap<(String, &'static str), u64>);

impl Baseline {
    /// Takes note of a look. A counter that has fallen is that of a device which was bound again:
    /// all that it has counted is new.
    pub fn note(&mut self, views: &[View]) {
        for (view, name, value) in values(views) {
            let first = self
                .0
                .entry((view.device.name.clone(), name))
                .or_insert(value);
            if value < *first {
                *first = 0;
            }
        }
    }

    /// The alarms of a device.
    pub fn alarms(&self, view: &View) -> Vec<Alarm> {
        values(std::slice::from_ref(view))
            .filter(|(.., value)| *value > 0)
            .map(|(_, name, value)| {
                let first = self.0.get(&(view.device.name.clone(), name));
                let grown = first.map_or(0, |first| value.saturating_sub(*first));
                Alarm {
                    name,
                    value,
                    grown: if name == GAUGE { 0 } else { grown },
                }
            })
            .collect()
    }
}

fn values(views: &[View]) -> impl Iterator<Item = (&View, &'static str, u64)> {
    views.iter().flat_map(|view| {
        WORTH_AN_ALARM
            .iter()
            .filter_map(move |name| Some((view, *name, view.device.counters.number(name)?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;

    fn said(tree: &Tree, baseline: &mut Baseline, counters: &str) -> Vec<String> {
        tree.report("virtio0", "counters", counters);
        let views = tree.look();
        baseline.note(&views);
        let alarms = baseline.alarms(&views[0]);
        alarms.iter().map(Alarm::to_string).collect()
    }

    #[test]
    fn only_what_is_worth_an_alarm_and_above_0_is_told() {
        let (tree, mut baseline) = (Tree::default(), Baseline::default());
        let counters = "timeouts 9\nfailures 0\nwaiting 2\ndevice_resets 1\n";
        assert_eq!(
            said(&tree, &mut baseline, counters),
            ["waiting 2", "device_resets 1"]
        );
    }

    #[test]
    fn growth_is_since_the_first_look() {
        let (tree, mut baseline) = (Tree::default(), Baseline::default());
        said(&tree, &mut baseline, "failures 1\n");
        said(&tree, &mut baseline, "failures 2\n");
        let grown = said(&tree, &mut baseline, "failures 4\nwaiting 1\n");
        assert_eq!(grown, ["waiting 1", "failures 4 (+3 since start)"]);
        let waiting = said(&tree, &mut baseline, "failures 4\nwaiting 3\n");
        assert_eq!(waiting[0], "waiting 3");
    }

    #[test]
    fn all_is_new_of_a_device_that_was_bound_again() {
        let (tree, mut baseline) = (Tree::default(), Baseline::default());
        said(&tree, &mut baseline, "failures 5\n");
        let again = said(&tree, &mut baseline, "failures 2\n");
        assert_eq!(again, ["failures 2 (+2 since start)"]);
        let more = said(&tree, &mut baseline, "failures 6\n");
        assert_eq!(more, ["failures 6 (+6 since start)"]);
    }
}
