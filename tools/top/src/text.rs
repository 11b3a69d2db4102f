// SPDX-License-Identifier: GPL-2.0

//! The report as lines of text, for a terminal and for `--once`.

use crate::attention::{Alarm, Baseline};
use crate::latency::Latencies;
use crate::rates::Rates;
use crate::units::time;
use crate::view::View;

mod latency;

/// What a line is, which a terminal shows in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first line of a device.
    Title,
    /// The first line of a part.
    Heading,
    /// What needs attention.
    Alarm,
    /// Anything else.
    Plain,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: String,
}

impl Line {
    fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }
}

/// Writes rows as columns, which two spaces separate. The last one is not filled up.
fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The line about a device as a whole.
fn title(view: &View, rates: &Rates) -> String {
    let state = &view.device.state;
    let mut parts = vec![view.device.name.clone()];
    if let Some(host) = view.host {
        parts.push(format!("host {host}"));
    }
    parts.push(format!("state {}", state.shown("state")));
    parts.push(format!("resets {}", state.shown("resets")));
    parts.push(format!("in flight {}", view.commands.len()));
    if let Some(age) = view.oldest() {
        parts.push(format!("oldest {}", time(age)));
    }
    if view.stuck() > 0 {
        parts.push(format!("stuck {}", view.stuck()));
    }
    if let Some(rate) = rates.of_device(&view.device.name) {
        parts.push(format!("{rate:.0} commands/s"));
    }
    parts.join("   ")
}

/// The commands in flight: all that are stuck, and as many others as there is room for.
fn commands(view: &View, room: usize) -> Vec<Line> {
    let heads = "! DISK UNIT AGE WHY COMMAND TIME-OUT RETRIES QUEUE TAG";
    let mut rows = vec![heads.split(' ').map(str::to_owned).collect::<Vec<_>>()];
    let mut kinds = vec![Kind::Plain];
    let (mut others, mut left_out) = (0, 0);
    rows[0][0] = " ".to_owned();
    for command in &view.commands {
        let (record, stuck) = (&command.record, command.verdict.stuck);
        others += usize::from(!stuck);
        if !stuck && others > room {
            left_out += 1;
            continue;
        }
        kinds.push(if stuck { Kind::Alarm } else { Kind::Plain });
        rows.push(vec![
            if stuck { "!" } else { " " }.to_owned(),
            command.disk.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{}:{}", record.shown("target"), record.shown("lun")),
            time(command.age()),
            command.verdict.why.clone(),
            command.words(),
            record.number("timeout_ms").map_or("-".to_owned(), time),
            record.shown("retries"),
            record.shown("queue"),
            record.shown("tag"),
        ]);
    }
    let lines = kinds.into_iter().zip(columns(&rows));
    let mut lines: Vec<_> = lines.map(|(kind, text)| Line::new(kind, text)).collect();
    if left_out > 0 {
        let text = format!("  and {left_out} younger ones, none of them stuck");
        lines.push(Line::new(Kind::Plain, text));
    }
    lines
}

fn queues(view: &View, rates: &Rates) -> Vec<Line> {
    let heads = [
        "  QUEUE",
        "KIND",
        "SIZE",
        "IN FLIGHT",
        "COMPLETED",
        "PER SECOND",
        "RING",
    ];
    let mut rows = vec![words(&heads)];
    let mut kinds = vec![Kind::Plain];
    for queue in &view.device.queues {
        let rate = queue
            .number("queue")
            .and_then(|number| rates.of(&view.device.name, number));
        let good = matches!(queue.text("ring"), None | Some("works"));
        kinds.push(if good { Kind::Plain } else { Kind::Alarm });
        rows.push(vec![
            format!("{} {}", if good { " " } else { "!" }, queue.shown("queue")),
            queue.shown("kind"),
            queue.shown("size"),
            queue.shown("in_flight"),
            queue.shown("completed"),
            rate.map_or("-".to_owned(), |rate| format!("{rate:.0}")),
            queue.shown("ring"),
        ]);
    }
    let lines = kinds.into_iter().zip(columns(&rows));
    lines.map(|(kind, text)| Line::new(kind, text)).collect()
}

/// The steps of recovery, the last one first.
fn recovery(view: &View) -> Vec<Line> {
    let mut rows = vec![words(&["  AGO", "DISK", "UNIT", "STEP", "OUTCOME"])];
    for step in view.steps.iter().rev() {
        let unit = step.record.unit();
        rows.push(vec![
            format!(
                "  {}",
                step.record.number("ago_ms").map_or("-".to_owned(), time)
            ),
            step.disk.clone().unwrap_or_else(|| "-".to_owned()),
            unit.map_or("-".to_owned(), |(target, lun)| format!("{target}:{lun}")),
            step.record.shown("step"),
            step.record.shown("outcome"),
        ]);
    }
    let lines = columns(&rows).into_iter();
    lines.map(|text| Line::new(Kind::Plain, text)).collect()
}

/// The report of a device. Of the commands that are not stuck, `room` are shown.
pub fn device(
    view: &View,
    rates: &Rates,
    latencies: &Latencies,
    alarms: &[Alarm],
    room: usize,
) -> Vec<Line> {
    let mut lines = vec![Line::new(Kind::Title, title(view, rates))];
    let mut part = |heading: &str, part: Vec<Line>, some: bool| {
        lines.push(Line::new(Kind::Plain, ""));
        let none = if some { "" } else { ": none" };
        lines.push(Line::new(Kind::Heading, format!("{heading}{none}")));
        lines.extend(part.into_iter().filter(|_| some));
    };
    let counters = alarms.iter().map(|alarm| format!("! {alarm}"));
    let counters = counters.map(|text| Line::new(Kind::Alarm, text)).collect();
    part("Counters that need attention", counters, !alarms.is_empty());
    let some = !view.commands.is_empty();
    part("Commands in flight", commands(view, room), some);
    let some = !view.device.queues.is_empty();
    part("Request queues", queues(view, rates), some);
    let latencies = latency::lines(view, latencies);
    part(&latency::heading(view), latencies, true);
    let some = !view.steps.is_empty();
    part("Recovery, the last step first", recovery(view), some);
    lines
}

/// The whole report, for `--once`.
pub fn write(views: &[View]) -> String {
    let (rates, latencies, baseline) = <(Rates, Latencies, Baseline)>::default();
    let mut text = String::new();
    for view in views {
        if !text.is_empty() {
            text.push('\n');
        }
        for line in device(view, &rates, &latencies, &baseline.alarms(view), usize::MAX) {
            text.push_str(&line.text);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;

    #[test]
    fn a_report_says_what_is_stuck_and_why() {
        let text = write(&Tree::with_a_held_command().look());
        let expected = include_str!("expected/text.txt");
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn parts_that_are_empty_say_so() {
        let tree = Tree::default();
        tree.report("virtio0", "state", "");
        let text = write(&tree.look());
        assert!(
            text.starts_with("virtio0   state -   resets -   in flight 0\n"),
            "{text}"
        );
        assert_eq!(text.matches(": none\n").count(), 5, "{text}");
    }

    #[test]
    fn commands_that_are_stuck_are_shown_without_regard_to_room() {
        let tree = Tree::default();
        let line = |stage: &str, age: u32| format!("lun 0 age_ms {age} stage {stage} cdb 00\n");
        let mut lines: String = (0..20).map(|age| line("sent", age)).collect();
        lines.extend((0..5).map(|age| line("held", age)));
        tree.report("virtio0", "in_flight", &lines);
        let views = tree.look();
        let lines = device(&views[0], &Rates::default(), &Latencies::default(), &[], 3);
        let alarms = lines.iter().filter(|line| line.kind == Kind::Alarm);
        assert_eq!(alarms.count(), 5);
        let shown = lines
            .iter()
            .filter(|line| line.text.contains("the device works"));
        assert_eq!(shown.count(), 3);
        let rest = lines
            .iter()
            .any(|line| line.text == "  and 17 younger ones, none of them stuck");
        assert!(rest, "{lines:?}");
    }

    #[test]
    fn a_ring_that_does_not_work_is_an_alarm() {
        let tree = Tree::default();
        let lines = "queue 0 ring works\nqueue 1 ring broken\nqueue 2 ring none\nqueue 3\n";
        tree.report("virtio0", "queues", lines);
        let views = tree.look();
        let alarms: Vec<_> = device(&views[0], &Rates::default(), &Latencies::default(), &[], 0)
            .into_iter()
            .filter(|line| line.kind == Kind::Alarm)
            .map(|line| line.text.chars().take(3).collect::<String>())
            .collect();
        assert_eq!(alarms, ["! 1", "! 2"]);
    }
}
