// SPDX-License-Identifier: GPL-2.0-or-later

//! The command line.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use virtio_scsi_test_device::device::{Device, Wish};
use virtio_scsi_test_device::event_loop;
use virtio_scsi_test_device::log::Log;
use virtio_scsi_test_device::scenario::Scenario;

/// What the options do not say.
const HELP: &str = "\
Example:
  virtio-scsi-test-device --socket v.sock --scenario third-read-fails.toml --log log.jsonl
  qemu-system-x86_64 -m 1G -machine q35,memory-backend=mem \\
    -object memory-backend-memfd,id=mem,size=1G,share=on \\
    -chardev socket,id=c0,path=v.sock -device vhost-user-scsi-pci,chardev=c0,num_queues=2 ...

README.md is a guide, doc/scenarios.md has the format of scenarios, version 1.";

/// A virtio-scsi device that behaves by script, served over vhost-user to QEMU or User-Mode Linux.
#[derive(Debug, Parser)]
#[command(version, after_help = HELP)]
struct Arguments {
    /// The vhost-user socket to listen at
    #[arg(long, value_name = "PATH", required_unless_present = "check")]
    socket: Option<PathBuf>,

    /// The scenario, a TOML file; without one, a memory disk that behaves
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// The control socket to listen at
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// Where every request and answer is logged as JSON lines
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// End when the first connection ends
    #[arg(long)]
    once: bool,

    /// Only check the scenario
    #[arg(long)]
    check: bool,
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let scenario = match &arguments.scenario {
        Some(path) => Scenario::read(path)?,
        None => Scenario::default().with_some_unit(),
    };
    let checked = scenario.check()?;
    if arguments.check {
        println!("the scenario is good");
        return Ok(ExitCode::SUCCESS);
    }
    let log = Log::open(arguments.log.as_deref()).map_err(|error| {
        let path = arguments.log.as_deref().unwrap_or("".as_ref());
        format!("cannot write the log {}: {error}", path.display())
    })?;
    let mut device = Device::new(checked, log);
    let socket = arguments.socket.as_deref().unwrap_or("".as_ref());
    match event_loop::run(
        &mut device,
        socket,
        arguments.control.as_deref(),
        arguments.once,
    )? {
        // As after a signal, but without a core file.
        Wish::Die => std::process::exit(134),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use virtio_scsi_test_device::scenario::VERSION;

    #[test]
    fn the_man_page_has_every_option_and_no_other() {
        let page = include_str!("../doc/virtio-scsi-test-device.1.md");
        let (_, options) = page.split_once("# OPTIONS").unwrap();
        let (options, _) = options.split_once("# EXIT").unwrap();
        let documented: Vec<&str> = options
            .lines()
            .filter_map(|line| line.strip_prefix("**--")?.split("**").next())
            .collect();
        let mut command = Arguments::command();
        command.build();
        let real: Vec<&str> = command
            .get_arguments()
            .filter_map(|argument| argument.get_long())
            .collect();
        assert_eq!(documented, real);
    }

    #[test]
    fn the_help_names_the_version_of_scenarios() {
        let help = Arguments::command().render_help().to_string();
        assert!(help.contains(&format!("version {VERSION}.")), "{help}");
    }
}
