// SPDX-License-Identifier: GPL-2.0

//! A tree of files for tests, as sysfs and debugfs have them.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::view::{look, View};

/// The tree; it goes when this is dropped.
pub struct Tree(TempDir);

impl Default for Tree {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Tree {
    /// Two disks on one device: a read of the second is held, a write to the first is new.
    pub fn with_a_held_command() -> Self {
        let tree = Self::default();
        tree.disk("virtio1", 2, (0, 0), "sda");
        tree.disk("virtio1", 2, (0, 1), "sdb");
        tree.report(
            "virtio1",
            "state",
            "state live\nresets 1\nrecovery_wait 0\nstep_ms 10000\npatience_ms 0\n",
        );
        tree.report(
            "virtio1",
            "counters",
            "timeouts 3\nlost_interrupts 0\nwaiting 1\ndevice_resets 1\nfailures 0\n",
        );
        tree.report(
            "virtio1",
            "queues",
            "queue 0 kind interrupt size 128 sent 1001 completed 1000 in_flight 1 ring works\n\
             queue 1 kind polled size 64 sent 51 completed 50 in_flight 1 ring works\n",
        );
        tree.report(
            "virtio1",
            "in_flight",
            "target 0 lun 0 queue 1 tag 7 age_ms 12 timeout_ms 30000 retries 0 place device \
             stage sent cdb 2a000000080000010000\n\
             target 0 lun 1 queue 0 tag 4 age_ms 61500 timeout_ms 30000 retries 0 place device \
             stage held cdb 28000000002800000800\n",
        );
        tree.report(
            "virtio1",
            "recovery",
            "ago_ms 31500 target 0 lun 1 step time_out outcome notified_again\n\
             ago_ms 400 step bring_up outcome done\n",
        );
        tree.recording("virtio1", 2, "1\n");
        tree.report(
            "virtio1",
            "latency",
            "direction none below_us 64 count 9\n\
             direction read below_us 128 count 5123\n\
             direction read below_us 256 count 40\n\
             direction read below_us 2147483648 count 1\n\
             direction write below_us 32768 count 9\n",
        );
        tree
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    pub fn look(&self) -> Vec<View> {
        look(self.root()).unwrap()
    }

    pub fn folder(&self, path: &str) {
        fs::create_dir_all(self.root().join(path)).unwrap();
    }

    pub fn file(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    pub fn bytes(&self, device: &str, file: &str, contents: &[u8]) {
        self.file(
            &format!("sys/kernel/debug/virtio_scsi_rs/{device}/{file}"),
            contents,
        );
    }

    pub fn report(&self, device: &str, file: &str, text: &str) {
        self.bytes(device, file, text.as_bytes());
    }

    pub fn remove(&self, device: &str) {
        let folder = self.root().join("sys/kernel/debug/virtio_scsi_rs");
        fs::remove_dir_all(folder.join(device)).unwrap();
    }

    pub fn disk(&self, device: &str, host: u32, (target, lun): (u32, u32), name: &str) {
        self.folder(&format!(
            "sys/bus/virtio/devices/{device}/host{host}/target{host}:0:{target}/\
             {host}:0:{target}:{lun}/block/{name}"
        ));
    }

    /// The setting of a host: whether it records latencies.
    pub fn recording(&self, device: &str, host: u32, setting: &str) {
        let host = format!("host{host}/scsi_host/host{host}");
        self.file(
            &format!("sys/bus/virtio/devices/{device}/{host}/latency"),
            setting,
        );
    }
}
