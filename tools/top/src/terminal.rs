// SPDX-License-Identifier: GPL-2.0

//! Runs the viewer in a terminal, and leaves the terminal as it was.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::app::App;
use crate::screen::draw;
use crate::view::{look, View};

/// How long a signal may wait.
const ATTENTION: Duration = Duration::from_millis(200);

/// Restores the terminal when it is dropped. In a panic `ratatui` does so before the message, which
/// would be lost in the screen otherwise.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Waits until a key was typed, a signal came, or the time is over. Returns whether the terminal is
/// still there: `crossterm` would read from one that is gone without end.
fn wait(time: Duration) -> io::Result<bool> {
    let input = io::stdin();
    let mut wanted = [PollFd::new(&input, PollFlags::IN)];
    match poll(&mut wanted, time.as_millis().try_into().unwrap_or(i32::MAX)) {
        Ok(_) => {
            let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
            Ok(!wanted[0].revents().intersects(gone))
        }
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Shows the devices until the user or a signal ends it. `views` is the first look.
pub fn run(root: &Path, interval: Duration, views: Vec<View>) -> io::Result<()> {
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(io::Error::other(
            "this is no terminal; --once prints a report and ends",
        ));
    }
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, ended.clone())?;
    }

    let restored = Restored;
    let mut terminal = ratatui::try_init()?;
    let mut app = App::default();
    let mut last = Instant::now();
    app.note(Ok(views), last);
    while !ended.load(Ordering::Relaxed) {
        terminal.draw(|frame| draw(&mut app, frame))?;
        let rest = match app.is_paused() {
            true => ATTENTION,
            false => interval.saturating_sub(last.elapsed()),
        };
        if !wait(rest.min(ATTENTION))? {
            break;
        }
        // Several keys may have come together.
        let mut quit = false;
        while !quit && event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()? {
                quit = app.key(key);
            }
        }
        if quit {
            break;
        }
        if !app.is_paused() && last.elapsed() >= interval {
            last = Instant::now();
            app.note(look(root), last);
        }
    }
    drop(restored);
    Ok(())
}
