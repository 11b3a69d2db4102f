// SPDX-License-Identifier: GPL-2.0

//! A look at all devices, with what it means.

use std::path::Path;

use crate::cdb;
use crate::disks::Host;
use crate::report::Record;
use crate::source::{self, Device, Problem};
use crate::stuck::{judge, Verdict};

/// A command in flight.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its line.
    pub record: Record,
    /// The name of its disk, if it has one.
    pub disk: Option<String>,
    /// Whether it is stuck.
    pub verdict: Verdict,
}

impl Command {
    /// Milliseconds since the kernel began with it.
    pub fn age(&self) -> u64 {
        self.record.number("age_ms").unwrap_or(0)
    }

    /// The name of the command, if it is known.
    pub fn name(&self) -> Option<&'static str> {
        self.record.text("cdb").and_then(cdb::name)
    }

    /// What it does, in words.
    pub fn words(&self) -> String {
        self.record
            .text("cdb")
            .map_or_else(|| "-".to_owned(), cdb::words)
    }
}

/// A step of recovery.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its line.
    pub record: Record,
    /// The name of the disk that it is about, if it has one.
    pub disk: Option<String>,
}

/// What is known of a device.
#[derive(Clone, Debug)]
pub struct View {
    /// What the driver reports; `in_flight` and `recovery` are below.
    pub device: Device,
    /// The number of its host.
    pub host: Option<u64>,
    /// Whether that records latencies, if it can.
    pub recording: Option<bool>,
    /// The commands in flight, the oldest first.
    pub commands: Vec<Command>,
    /// The steps of recovery, the oldest first.
    pub steps: Vec<Step>,
}

impl View {
    fn new(root: &Path, mut device: Device) -> Self {
        let host = Host::find(root, &device.name);
        let disk = |record: &Record| host.as_ref()?.disk(record.unit()?);
        let mut commands: Vec<_> = std::mem::take(&mut device.in_flight)
            .into_iter()
            .map(|record| Command {
                disk: disk(&record),
                verdict: judge(&record, &device.state),
                record,
            })
            .collect();
        commands.sort_by_key(|command| std::cmp::Reverse(command.age()));
        let steps = std::mem::take(&mut device.recovery)
            .into_iter()
            .map(|record| Step {
                disk: disk(&record),
                record,
            })
            .collect();
        Self {
            host: host.as_ref().map(|host| host.number),
            recording: host.as_ref().and_then(Host::recording),
            commands,
            steps,
            device,
        }
    }

    /// Milliseconds that the oldest command is in flight.
    pub fn oldest(&self) -> Option<u64> {
        self.commands.first().map(Command::age)
    }

    /// How many commands are stuck.
    pub fn stuck(&self) -> usize {
        let stuck = self.commands.iter().filter(|each| each.verdict.stuck);
        stuck.count()
    }
}

/// Looks at all devices.
pub fn look(root: &Path) -> Result<Vec<View>, Problem> {
    let devices = source::devices(root)?;
    Ok(devices
        .into_iter()
        .map(|device| View::new(root, device))
        .collect())
}

#[cfg(test)]
mod tests {
    use crate::made_up::Tree;

    #[test]
    fn commands_have_their_disks_and_come_by_age() {
        let views = Tree::with_a_held_command().look();
        let disks: Vec<_> = views[0]
            .commands
            .iter()
            .map(|c| c.disk.as_deref())
            .collect();
        assert_eq!(disks, [Some("sdb"), Some("sda")]);
        assert_eq!(views[0].oldest(), Some(61500));
        assert_eq!(views[0].stuck(), 1);
        assert_eq!(views[0].host, Some(2));
        let disks: Vec<_> = views[0].steps.iter().map(|s| s.disk.as_deref()).collect();
        assert_eq!(disks, [Some("sdb"), None]);
    }

    #[test]
    fn a_unit_without_a_disk_has_no_name() {
        let tree = Tree::default();
        tree.report(
            "virtio0",
            "in_flight",
            "target 5 lun 0 age_ms 1 stage sent\n",
        );
        let views = tree.look();
        assert_eq!(views[0].host, None);
        assert_eq!(views[0].commands[0].disk, None);
    }
}
