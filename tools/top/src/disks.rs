// SPDX-License-Identifier: GPL-2.0

//! Hosts and disks in sysfs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::source::names;

/// The host of a device, and its folder in sysfs.
#[derive(Clone, Debug)]
pub struct Host {
    /// As in `/sys/class/scsi_host/hostN`.
    pub number: u64,
    folder: PathBuf,
}

impl Host {
    /// Finds the host of a device.
    pub fn find(root: &Path, device: &str) -> Option<Self> {
        let folder = root.join("sys/bus/virtio/devices").join(device);
        names(&folder).ok()?.iter().find_map(|name| {
            Some(Self {
                number: name.strip_prefix("host")?.parse().ok()?,
                folder: folder.join(name),
            })
        })
    }

    /// The name of the disk or CD-ROM at a target and LUN, as in `/dev`. Only this one is looked
    /// for, as there may be thousands.
    pub fn disk(&self, (target, lun): (u64, u64)) -> Option<String> {
        let number = self.number;
        let unit = self
            .folder
            .join(format!("target{number}:0:{target}"))
            .join(format!("{number}:0:{target}:{lun}"))
            .join("block");
        names(&unit).ok()?.into_iter().next()
    }

    /// Whether the times of commands are recorded; [`None`] if the driver cannot do that.
    pub fn recording(&self) -> Option<bool> {
        let folder = self.folder.join("scsi_host");
        let setting = folder.join(format!("host{}", self.number)).join("latency");
        match fs::read_to_string(setting).ok()?.trim() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Tree;

    #[test]
    fn a_disk_is_found_by_target_and_lun() {
        let tree = Tree::default();
        tree.disk("virtio1", 3, (0, 1), "sdb");
        tree.disk("virtio1", 3, (2, 16640), "sr0");
        let host = Host::find(tree.root(), "virtio1").unwrap();
        assert_eq!(host.number, 3);
        assert_eq!(host.disk((0, 1)).as_deref(), Some("sdb"));
        assert_eq!(host.disk((2, 16640)).as_deref(), Some("sr0"));
        assert_eq!(host.disk((1, 1)), None);
        assert!(Host::find(tree.root(), "virtio2").is_none());
    }

    #[test]
    fn a_host_tells_whether_it_records() {
        let tree = Tree::default();
        tree.disk("virtio1", 3, (0, 1), "sdb");
        let recording = || Host::find(tree.root(), "virtio1").unwrap().recording();
        assert_eq!(recording(), None);
        for (setting, expected) in [("0\n", Some(false)), ("1\n", Some(true)), ("", None)] {
            tree.recording("virtio1", 3, setting);
            assert_eq!(recording(), expected);
        }
    }
}
