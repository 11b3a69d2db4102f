// SPDX-License-Identifier: GPL-2.0

//! The driver's files, and what to do if they cannot be read.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::report::Record;

/// The directory of debugfs.
const DEBUGFS: &str = "sys/kernel/debug";
/// The module, and its directory in debugfs.
const MODULE: &str = "virtio_scsi_rs";
/// The kernel's own driver for the same devices.
const C_DRIVER: &str = "virtio_scsi";

/// What the driver reports of a device.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// Its name on the virtio bus.
    pub name: String,
    /// The file `state`.
    pub state: Record,
    /// The file `counters`.
    pub counters: Record,
    /// The file `queues`: a request queue each.
    pub queues: Vec<Record>,
    /// The file `in_flight`: a command each.
    pub in_flight: Vec<Record>,
    /// The file `recovery`: a step each.
    pub recovery: Vec<Record>,
    /// The file `latency`: a range of times each. Older drivers have no such file.
    pub latency: Vec<Record>,
}

/// Why nothing can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is the case.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    fn unreadable(path: &Path, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => {
                "Run it as root (sudo vscsi-top). If root may not read it either, the kernel is \
                 locked down, see kernel_lockdown(7)."
            }
            _ => "The kernel's log may say why (dmesg).",
        };
        Self::new(format!("cannot read {}: {error}", path.display()), remedy)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n       {}", self.what, self.remedy)
    }
}

/// The names in a directory, those with numbers in the order of these. Anything that is no text is
/// left out.
pub(crate) fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_by_key(|name| {
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        (digits.parse().unwrap_or(u64::MAX), name.clone())
    });
    Ok(names)
}

/// Returns the text of a file. A device may go at any moment, and its files with it: this is none.
fn text(path: &Path) -> Result<Option<String>, Problem> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(Problem::unreadable(path, &error))
        }
        Err(_) => Ok(None),
    }
}

/// Reads the files of a device; [`None`] if none is there.
fn device(folder: &Path, name: &str) -> Result<Option<Device>, Problem> {
    let mut found = false;
    let mut read = |file: &str| {
        let text = text(&folder.join(name).join(file))?;
        found |= text.is_some();
        Ok(text.unwrap_or_default())
    };
    let device = Device {
        name: name.to_owned(),
        // The queues come first, so that what is in flight in them is not fewer than the commands.
        queues: Record::of_lines(&read("queues")?),
        in_flight: Record::of_lines(&read("in_flight")?),
        state: Record::of_file(&read("state")?),
        counters: Record::of_file(&read("counters")?),
        recovery: Record::of_lines(&read("recovery")?),
        latency: Record::of_lines(&read("latency")?),
    };
    Ok(found.then_some(device))
}

/// Reads the files of all devices that the driver serves.
pub fn devices(root: &Path) -> Result<Vec<Device>, Problem> {
    let folder = root.join(DEBUGFS).join(MODULE);
    let names = match names(&folder) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing(root)),
        Err(error) => return Err(Problem::unreadable(&folder, &error)),
    };
    names
        .iter()
        .filter_map(|name| device(&folder, name).transpose())
        .collect()
}

/// Says why the driver has no directory.
fn missing(root: &Path) -> Problem {
    let debugfs = root.join(DEBUGFS);
    match names(&debugfs) {
        Err(error) if error.kind() == ErrorKind::NotFound => Problem::new(
            format!("there is no {}", debugfs.display()),
            "The kernel needs CONFIG_DEBUG_FS, and sysfs has to be mounted.",
        ),
        Err(error) => Problem::unreadable(&debugfs, &error),
        Ok(names) if names.is_empty() => Problem::new(
            format!("debugfs is not mounted at {}", debugfs.display()),
            "As root: mount -t debugfs debugfs /sys/kernel/debug",
        ),
        Ok(_) if root.join("sys/module").join(MODULE).exists() => Problem::new(
            format!("the module {MODULE} is loaded, and has no directory in debugfs"),
            "The kernel's log may say why (dmesg).",
        ),
        Ok(_) => Problem::new(
            format!("the driver is not loaded: {}", served_by(root)),
            "virtio-scsi-rs-select(8) chooses the driver for the next boot; modprobe \
             virtio_scsi_rs loads it now, for controllers that no other driver serves.",
        ),
    }
}

/// Says who serves the virtio SCSI controllers instead of the driver.
pub fn served_by(root: &Path) -> String {
    let driver = root.join("sys/bus/virtio/drivers").join(C_DRIVER);
    let mut names = names(&driver).unwrap_or_default();
    names.retain(|name| name.starts_with("virtio"));
    match names.is_empty() {
        true => "no driver serves a virtio SCSI controller".to_owned(),
        false => format!("the module {C_DRIVER} serves {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;

    fn problem(tree: &Tree) -> String {
        devices(tree.root()).unwrap_err().to_string()
    }

    #[test]
    fn each_obstacle_is_told_with_its_remedy() {
        let tree = Tree::default();
        assert!(problem(&tree).contains("CONFIG_DEBUG_FS"));
        tree.folder(DEBUGFS);
        assert!(problem(&tree).contains("mount -t debugfs"));
        tree.folder("sys/kernel/debug/block");
        assert!(problem(&tree).contains("no driver serves"));
        tree.folder("sys/bus/virtio/drivers/virtio_scsi/virtio2");
        tree.file("sys/bus/virtio/drivers/virtio_scsi/bind", "");
        let said = problem(&tree);
        assert!(
            said.contains("the module virtio_scsi serves virtio2\n"),
            "{said}"
        );
        tree.folder("sys/module/virtio_scsi_rs");
        assert!(problem(&tree).contains("no directory in debugfs"));
        tree.folder("sys/kernel/debug/virtio_scsi_rs");
        assert!(devices(tree.root()).unwrap().is_empty());
    }

    #[test]
    fn what_may_not_be_read_is_told_with_the_way_to_read_it() {
        let error = io::Error::from(ErrorKind::PermissionDenied);
        let said = Problem::unreadable(Path::new("/x"), &error).to_string();
        assert!(
            said.contains("cannot read /x") && said.contains("sudo"),
            "{said}"
        );
    }

    #[test]
    fn devices_come_in_the_order_of_their_numbers() {
        let tree = Tree::default();
        for name in ["virtio10", "virtio9", "virtio0"] {
            tree.report(name, "state", "state live\n");
        }
        let names: Vec<_> = devices(tree.root())
            .unwrap()
            .into_iter()
            .map(|d| d.name)
            .collect();
        assert_eq!(names, ["virtio0", "virtio9", "virtio10"]);
    }

    #[test]
    fn a_device_that_has_gone_is_left_out_and_a_file_that_is_missing_is_empty() {
        let tree = Tree::default();
        tree.folder("sys/kernel/debug/virtio_scsi_rs/virtio0");
        tree.report("virtio1", "counters", "timeouts 1\n");
        let devices = devices(tree.root()).unwrap();
        assert_eq!(devices.len(), 1);
        assert_eq!(devices[0].name, "virtio1");
        assert_eq!(devices[0].counters.number("timeouts"), Some(1));
        assert!(devices[0].queues.is_empty() && devices[0].state.is_empty());
    }

    #[test]
    fn what_is_no_text_is_read_all_the_same() {
        let tree = Tree::default();
        tree.bytes("virtio0", "state", b"state \xff\xfe\nresets 3\n");
        assert_eq!(
            devices(tree.root()).unwrap()[0].state.number("resets"),
            Some(3)
        );
    }
}
