// SPDX-License-Identifier: GPL-2.0

//! Draws the viewer.

use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};
use ratatui::Frame;

use crate::app::App;
use crate::text::Kind;

const KEYS: &str = "q quit  Tab next device  j/k scroll  p pause";

fn style(kind: Kind) -> Style {
    match kind {
        Kind::Title => Style::new().add_modifier(Modifier::BOLD),
        Kind::Heading => Style::new().fg(Color::Cyan),
        Kind::Alarm => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        Kind::Plain => Style::new(),
    }
}

/// The names of all devices; those with a stuck command are marked.
fn devices(app: &App) -> Line<'static> {
    let chosen = app.index();
    let mut spans = Vec::new();
    for (index, (name, stuck)) in app.devices().enumerate() {
        let mut style = style(if stuck { Kind::Alarm } else { Kind::Plain });
        if Some(index) == chosen {
            style = style.add_modifier(Modifier::REVERSED);
        }
        let mark = if stuck { "!" } else { " " };
        spans.push(Span::styled(format!("{mark}{name} "), style));
    }
    if spans.is_empty() {
        spans.push(Span::raw("no device"));
    }
    Line::from(spans)
}

/// Draws all of it.
pub fn draw(app: &mut App, frame: &mut Frame<'_>) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());

    let lines = app.lines();
    let scroll = app.fit(usize::from(body.height), lines.len());
    let below = lines
        .len()
        .saturating_sub(scroll + usize::from(body.height));
    frame.render_widget(devices(app), head);
    match app.problem() {
        Some(problem) => {
            let text = Paragraph::new(problem.to_string()).style(style(Kind::Alarm));
            frame.render_widget(text.wrap(Wrap { trim: true }), body);
        }
        None => {
            let lines: Vec<_> = lines
                .into_iter()
                .skip(scroll)
                .take(usize::from(body.height))
                .map(|line| Line::styled(line.text, style(line.kind)))
                .collect();
            frame.render_widget(Paragraph::new(lines), body);
        }
    }

    let mut text = match app.is_paused() {
        true => format!("PAUSED  {KEYS}"),
        false => KEYS.to_owned(),
    };
    if below > 0 {
        text += &format!("  ({below} more lines below)");
    }
    let keys = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Line::styled(text, keys), foot);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use ratatui::Terminal;
    use std::time::Instant;

    fn terminal(app: &mut App, width: u16, height: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(app, frame)).unwrap();
        terminal
    }

    fn rows(terminal: &Terminal<TestBackend>) -> Vec<String> {
        let buffer = terminal.backend().buffer();
        let width = usize::from(buffer.area.width);
        let rows = buffer.content.chunks(width);
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>())
            .map(|row| row.trim_end().to_owned())
            .collect()
    }

    fn app(tree: &Tree) -> App {
        let mut app = App::default();
        app.note(Ok(tree.look()), Instant::now());
        app
    }

    #[test]
    fn a_stuck_command_stands_out() {
        let tree = Tree::with_a_held_command();
        tree.report("virtio3", "state", "state live\n");
        let terminal = terminal(&mut app(&tree), 110, 24);
        let rows = rows(&terminal);
        assert_eq!(rows[0], "!virtio1  virtio3");
        assert!(
            rows[1].starts_with("virtio1   host 2   state live"),
            "{rows:#?}"
        );
        let row = rows
            .iter()
            .position(|row| row.starts_with("!  sdb"))
            .unwrap();
        assert!(
            rows[row].contains("the device has it: waiting"),
            "{rows:#?}"
        );
        assert!(rows[row + 1].starts_with("   sda"), "{rows:#?}");
        let buffer = terminal.backend().buffer();
        let color = |row: usize| buffer[(3, u16::try_from(row).unwrap())].fg;
        assert_eq!((color(row), color(row + 1)), (Color::Red, Color::Reset));
        assert!(rows[23].starts_with("q quit"), "{rows:#?}");
    }

    #[test]
    fn what_is_below_can_be_scrolled_to() {
        let mut app = app(&Tree::with_a_held_command());
        let rows_of = |app: &mut App| rows(&terminal(app, 100, 10));
        let first = rows_of(&mut app);
        let more = app.lines().len() - 8;
        assert!(
            first[9].ends_with(&format!("({more} more lines below)")),
            "{first:#?}"
        );
        app.key(KeyEvent::new(KeyCode::Char('j'), KeyModifiers::NONE));
        let second = rows_of(&mut app);
        assert_eq!(first[2..9], second[1..8]);
        for _ in 0..3 {
            app.key(KeyEvent::new(KeyCode::PageDown, KeyModifiers::NONE));
        }
        let last = rows_of(&mut app);
        assert!(
            last[8].contains("notified_again") && last[9].ends_with("pause"),
            "{last:#?}"
        );
    }

    #[test]
    fn a_pause_and_a_problem_are_shown() {
        let tree = Tree::default();
        tree.folder("sys/kernel/debug/virtio_scsi_rs");
        let mut app = app(&tree);
        app.key(KeyEvent::new(KeyCode::Char('p'), KeyModifiers::NONE));
        let paused = rows(&terminal(&mut app, 80, 6));
        assert_eq!(paused[0], "no device");
        assert!(paused[5].starts_with("PAUSED"), "{paused:#?}");
        let problem = crate::source::devices(Tree::default().root()).unwrap_err();
        app.note(Err(problem), Instant::now());
        let rows = rows(&terminal(&mut app, 200, 6));
        assert!(rows[1].starts_with("there is no "), "{rows:#?}");
        assert!(rows[2].contains("CONFIG_DEBUG_FS"), "{rows:#?}");
    }

    #[test]
    fn no_size_of_a_terminal_is_too_small() {
        let mut app = app(&Tree::with_a_held_command());
        for (width, height) in [(1, 1), (2, 2), (3, 2), (80, 1), (1, 40)] {
            let rows = rows(&terminal(&mut app, width, height));
            assert_eq!(rows.len(), usize::from(height));
        }
    }
}
