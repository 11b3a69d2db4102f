// SPDX-License-Identifier: GPL-2.0

//! What the terminal shows, and what its keys change.

use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::attention::Baseline;
use crate::latency::Latencies;
use crate::rates::Rates;
use crate::source::Problem;
use crate::text::{self, Line};
use crate::view::View;

/// How many commands that are not stuck are shown.
const ROOM: usize = 10;

/// The state of the viewer.
#[derive(Debug, Default)]
pub struct App {
    /// The last look.
    views: Vec<View>,
    /// Why there was none.
    problem: Option<Problem>,
    rates: Rates,
    latencies: Latencies,
    baseline: Baseline,
    /// The device that is shown. It may have gone.
    chosen: Option<String>,
    scroll: usize,
    paused: bool,
    /// What there was room for when it was last drawn.
    height: usize,
}

impl App {
    /// Takes what a look has found.
    pub fn note(&mut self, found: Result<Vec<View>, Problem>, at: Instant) {
        match found {
            Ok(views) => {
                self.rates.note(&views, at);
                self.latencies.note(&views);
                self.baseline.note(&views);
                self.views = views;
                self.problem = None;
            }
            // The module may be loaded again.
            Err(problem) => {
                self.rates.note(&[], at);
                self.latencies.note(&[]);
                self.views.clear();
                self.problem = Some(problem);
            }
        }
    }

    /// Takes a key. Returns whether the viewer is to end.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        let page = self.height.max(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll += 1,
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(page),
            KeyCode::PageDown => self.scroll += page,
            KeyCode::Home => self.scroll = 0,
            KeyCode::Tab => self.next(1),
            KeyCode::BackTab => self.next(self.views.len().saturating_sub(1)),
            KeyCode::Char('p') => self.paused = !self.paused,
            _ => (),
        }
        // There is nothing to see after the last line.
        self.scroll = self.scroll.min(self.lines().len().saturating_sub(page));
        false
    }

    /// Chooses another device.
    fn next(&mut self, by: usize) {
        if let Some(index) = self.index() {
            let view = self.views.get((index + by) % self.views.len());
            self.chosen = view.map(|view| view.device.name.clone());
            self.scroll = 0;
        }
    }

    /// The device that is shown: the first one if none was chosen, or that one has gone.
    pub fn index(&self) -> Option<usize> {
        let chosen = self.chosen.as_deref();
        let found = self
            .views
            .iter()
            .position(|view| Some(view.device.name.as_str()) == chosen);
        found.or((!self.views.is_empty()).then_some(0))
    }

    /// All devices, and whether there is something stuck.
    pub fn devices(&self) -> impl Iterator<Item = (&str, bool)> {
        let views = self.views.iter();
        views.map(|view| (view.device.name.as_str(), view.stuck() > 0))
    }

    /// Whether no more looks are wanted.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Why nothing is shown.
    pub fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// The report of the device that is shown.
    pub fn lines(&self) -> Vec<Line> {
        let view = self.index().and_then(|index| self.views.get(index));
        view.map_or_else(Vec::new, |view| {
            let alarms = self.baseline.alarms(view);
            text::device(view, &self.rates, &self.latencies, &alarms, ROOM)
        })
    }

    /// Takes note of how many lines there is room for; returns how many to leave out at the top.
    pub fn fit(&mut self, height: usize, lines: usize) -> usize {
        self.height = height;
        self.scroll.min(lines.saturating_sub(height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;
    use std::time::Duration;

    fn press(app: &mut App, code: KeyCode) -> bool {
        app.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn shown(app: &App) -> String {
        app.lines()
            .first()
            .map(|line| line.text.clone())
            .unwrap_or_default()
    }

    fn app(tree: &Tree) -> App {
        let mut app = App::default();
        app.note(Ok(tree.look()), Instant::now());
        app
    }

    #[test]
    fn the_keys_that_end_it_do_and_no_others() {
        let mut app = app(&Tree::with_a_held_command());
        assert!(press(&mut app, KeyCode::Char('q')));
        assert!(press(&mut app, KeyCode::Esc));
        assert!(app.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        for code in [
            KeyCode::Char('c'),
            KeyCode::Enter,
            KeyCode::Tab,
            KeyCode::Char('p'),
        ] {
            assert!(!press(&mut app, code));
        }
        let mut released = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        released.kind = KeyEventKind::Release;
        assert!(!app.key(released));
    }

    #[test]
    fn tab_goes_round_all_devices() {
        let tree = Tree::default();
        for name in ["virtio0", "virtio1", "virtio2"] {
            tree.report(name, "state", "state live\n");
        }
        let mut app = app(&tree);
        let mut seen = vec![shown(&app)];
        for code in [KeyCode::Tab, KeyCode::Tab, KeyCode::Tab, KeyCode::BackTab] {
            press(&mut app, code);
            seen.push(shown(&app));
        }
        let names: Vec<_> = seen.iter().map(|line| &line[..7]).collect();
        assert_eq!(
            names,
            ["virtio0", "virtio1", "virtio2", "virtio0", "virtio2"]
        );
    }

    #[test]
    fn a_device_that_goes_and_comes_is_shown_again() {
        let tree = Tree::default();
        tree.report("virtio0", "state", "state live\n");
        tree.report("virtio1", "state", "state live\n");
        let mut app = app(&tree);
        press(&mut app, KeyCode::Tab);
        tree.remove("virtio1");
        app.note(Ok(tree.look()), Instant::now());
        assert!(shown(&app).starts_with("virtio0"));
        tree.remove("virtio0");
        app.note(Ok(tree.look()), Instant::now());
        assert_eq!(shown(&app), "");
        assert!(!press(&mut app, KeyCode::Tab) && !press(&mut app, KeyCode::Down));
        tree.report("virtio0", "state", "state live\n");
        tree.report("virtio1", "state", "state gone\n");
        app.note(Ok(tree.look()), Instant::now());
        assert!(shown(&app).starts_with("virtio1   state gone"));
    }

    #[test]
    fn scrolling_ends_at_the_last_line() {
        let mut app = app(&Tree::with_a_held_command());
        let lines = app.lines().len();
        assert_eq!(app.fit(10, lines), 0);
        press(&mut app, KeyCode::Down);
        press(&mut app, KeyCode::Char('j'));
        press(&mut app, KeyCode::Char('k'));
        assert_eq!(app.fit(10, lines), 1);
        for _ in 0..9 {
            press(&mut app, KeyCode::PageDown);
        }
        assert_eq!(app.fit(10, lines), lines - 10);
        press(&mut app, KeyCode::Up);
        assert_eq!(app.fit(10, lines), lines - 11);
        press(&mut app, KeyCode::Home);
        assert_eq!(app.fit(10, lines), 0);
    }

    #[test]
    fn rates_and_growth_are_shown_after_the_second_look() {
        let tree = Tree::with_a_held_command();
        let (mut app, start) = (App::default(), Instant::now());
        let latency = |count| {
            let line = format!("direction none below_us 64 count {count}\n");
            tree.report("virtio1", "latency", &line);
        };
        latency(9);
        app.note(Ok(tree.look()), start);
        assert!(!shown(&app).contains("commands/s"));
        tree.report(
            "virtio1",
            "queues",
            "queue 0 completed 1500\nqueue 1 completed 50\n",
        );
        tree.report("virtio1", "counters", "failures 2\n");
        latency(12);
        app.note(Ok(tree.look()), start + Duration::from_secs(2));
        assert!(shown(&app).ends_with("250 commands/s"), "{}", shown(&app));
        let line = |words| {
            let mut lines = app.lines().into_iter().map(|line| line.text);
            lines.find(|text| text.contains(words)).unwrap()
        };
        assert_eq!(line("failures"), "! failures 2 (+2 since start)");
        assert!(line("since last look").starts_with("  none       since last look  3 "));
    }

    #[test]
    fn a_problem_is_kept_until_the_next_look_succeeds() {
        let tree = Tree::with_a_held_command();
        let (mut app, start) = (app(&tree), Instant::now());
        let problem = crate::source::devices(Tree::default().root()).unwrap_err();
        app.note(Err(problem.clone()), start + Duration::from_secs(1));
        assert_eq!(app.problem(), Some(&problem));
        assert_eq!(shown(&app), "");
        app.note(Ok(tree.look()), start + Duration::from_secs(2));
        assert_eq!(app.problem(), None);
        assert!(shown(&app).starts_with("virtio1"));
        assert!(!shown(&app).contains("commands/s"));
        let mut lines = app.lines().into_iter();
        assert!(!lines.any(|line| line.text.contains("since last look")));
    }
}
