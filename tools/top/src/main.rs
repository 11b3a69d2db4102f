// SPDX-License-Identifier: GPL-2.0

//! The command line.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use vscsi_top::{json, prometheus, source, terminal, text, view};

/// Shows what the driver virtio_scsi_rs and its devices are doing
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Print a report and end
    #[arg(long)]
    once: bool,

    /// The same as one JSON document
    #[arg(long, conflicts_with = "prometheus")]
    json: bool,

    /// The same for the textfile collector of Prometheus's node_exporter
    #[arg(long)]
    prometheus: bool,

    /// Time between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,

    /// Where /sys is
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Reads a time that makes sense between two looks.
fn interval(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=86400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds from 0.1 to 86400".to_owned()),
    }
}

/// Prints a report. Who does not read all of it has what they want.
fn print(report: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let done = out.write_all(report.as_bytes()).and_then(|()| out.flush());
    done.or_else(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let views = view::look(&arguments.root).map_err(|problem| problem.to_string())?;
    if arguments.json {
        print(&json::write(&views)?)?;
    } else if arguments.prometheus {
        print(&prometheus::write(&views)?)?;
    } else if arguments.once && views.is_empty() {
        let others = source::served_by(&arguments.root);
        print(&format!(
            "virtio_scsi_rs is loaded and serves no device; {others}\n"
        ))?;
    } else if arguments.once {
        print(&text::write(&views))?;
    } else {
        terminal::run(&arguments.root, arguments.interval, views)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_bounds() {
        assert_eq!(interval("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(interval("0.1"), Ok(Duration::from_millis(100)));
        for text in ["0.09", "0", "-1", "", "x", "NaN", "inf", "1e300"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
