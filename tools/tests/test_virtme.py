# SPDX-License-Identifier: GPL-2.0
"""The module as it is installed: a full userland boots, and udev finds the driver by the device's alias.

The toolbox itself is the guest's root, shared through virtme-ng. The C driver is not among the guest's
modules; it is loaded by hand at the end, to see that the disks keep the names they have with it.
"""

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from guest import MEGABYTE, Controller, Disk, images, initramfs, logcheck, make_iso, paths

pytestmark = [pytest.mark.main, pytest.mark.ours("installs our module")]


TIMEOUT = 420

# Sections of what it prints begin with a line "== NAME".
SCRIPT = r"""#!/bin/bash
set -e
settle() { udevadm settle --timeout=120; }
links() {
    cd /dev/disk
    for link in by-path/* by-id/*; do echo "$link $(lsblk -dno HCTL "$link")"; done
    cd /
}
settle
echo "== driver"
for host in /sys/bus/virtio/devices/virtio*/host*; do basename "$(realpath "$(dirname "$host")/driver")"; done
grep -c ^virtio_scsi_rs /proc/modules
modinfo -F filename virtio_scsi_rs
echo "== lsblk"
lsblk -bSno HCTL,TYPE,SIZE,SERIAL
echo "== cdrom"
sha256sum </dev/cdrom
echo "== links"
links
echo "== file system"
disk=$(realpath /dev/disk/by-id/scsi-*VIRTME-DATA)
mkfs.ext4 -q -U 6c1f0e1e-5a5f-4a5e-9d6d-2f1c9f1b0a01 -L virtme "$disk"
settle
mount /dev/disk/by-label/virtme /mnt
head -c 5000000 /dev/urandom >/mnt/data
umount /mnt
mount /dev/disk/by-uuid/6c1f0e1e-5a5f-4a5e-9d6d-2f1c9f1b0a01 /mnt
sha256sum </mnt/data
umount /mnt
echo "== links of the C driver"
modprobe -r virtio_scsi_rs
settle
ls /dev/disk/by-path | grep scsi || echo none left
insmod "$1"
settle
links
echo "== log"
dmesg -r
echo "== end"
"""


def installed(kernel: paths.Kernel, module: Path, folder: Path) -> Path:
    """A place with the stock kernel and its modules, ours added and the C driver taken out; virtme-ng
    finds the modules beside the kernel."""
    modules = folder / "lib/modules" / kernel.release
    modules.parent.mkdir(parents=True)
    subprocess.run(["cp", "-rs", kernel.modules, modules], check=True)
    for each in modules.glob(f"kernel/**/{initramfs.C_DRIVER}.ko*"):
        each.unlink()
    (modules / "updates").mkdir()
    (modules / "updates/virtio_scsi_rs.ko").write_bytes(module.read_bytes())
    subprocess.run(["depmod", "-b", folder, kernel.release], check=True)
    (folder / "vmlinuz").write_bytes(kernel.image.read_bytes())
    return folder / "vmlinuz"


def c_driver(kernel: paths.Kernel, folder: Path) -> Path:
    packed = next(kernel.modules.glob(f"kernel/**/{initramfs.C_DRIVER}.ko*"))
    plain = folder / "c_driver.ko"
    unpack = ["xz", "-dc", packed] if packed.suffix == ".xz" else ["cat", packed]
    plain.write_bytes(subprocess.run(unpack, check=True, capture_output=True).stdout)
    return plain


def boot(command: list[str], logs: Path) -> str:
    """Runs virtme-ng to its end, which kills what it started if it takes too long."""
    with open(logs / "console.log", "wb") as console:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=console,
            start_new_session=True,
        )
        try:
            out, _ = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"not done after {TIMEOUT} s; console: {logs / 'console.log'}")
    text = out.decode(errors="replace").replace("\r", "")
    (logs / "script.log").write_text(text)
    assert process.returncode == 0, f"code {process.returncode}: {text[-2000:]}"
    return text


def test_a_full_userland_finds_the_disks(module: Path, kernel: str, logs: Path, scratch: Path) -> None:
    stock = paths.Kernel.prepared(kernel)
    vmlinuz = installed(stock, module, scratch / "boot")
    script = scratch / "script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    iso = make_iso(scratch / "cd.iso", {"readme.txt": b"hello\n"})
    disks = [
        Disk(0, 0, 64 * MEGABYTE, scratch / "data.img", props={"serial": "VIRTME-DATA"}),
        Disk(0, 300, 16 * MEGABYTE, scratch / "far.img", props={"wwn": 0x5000C50015EA71AC}),
        Disk(3, 0, 16 * MEGABYTE, scratch / "third.img"),
        Disk(2, 0, cdrom=True, file=iso),
    ]
    controller = Controller(disks, {"num_queues": 2, "addr": "0x10"})
    options = ["-device", controller.device_options("q35")]
    for disk in disks:
        options += ["-blockdev", disk.blockdev_options(), "-device", disk.device_options()]
    qemu = " ".join(each if isinstance(each, str) else shlex.quote(json.dumps(each)) for each in options)
    command = ["vng", "--disable-kvm", "--run", vmlinuz, "--cpus", "2", "--memory", "1G", "--user", "root"]
    command += [f"--qemu-opts={qemu}", "--verbose"]
    command += ["--append", "tsc=nowatchdog no_timer_check panic=-1 oops=panic"]
    command += ["--exec", f"{script} {c_driver(stock, scratch)}"]
    text = boot([str(each) for each in command], logs)

    parts = re.split(r"^== (.*)\n", text, flags=re.MULTILINE)
    said = dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))
    assert "end" in said
    assert said["driver"].splitlines()[:2] == ["virtio_scsi_rs", "1"]
    assert said["driver"].splitlines()[2].endswith("/updates/virtio_scsi_rs.ko")
    seen = {tuple(line.split()) for line in said["lsblk"].splitlines()}
    assert ("0:0:0:0", "disk", str(64 * MEGABYTE), "VIRTME-DATA") in seen
    assert {each[0] for each in seen} == {"0:0:0:0", "0:0:0:16684", "0:0:3:0", "0:0:2:0"}
    assert said["cdrom"].split()[0] == images.digest(iso)

    links = dict(line.split() for line in said["links"].splitlines())
    for name, address in {
        "by-path/pci-0000:00:10.0-scsi-0:0:0:0": "0:0:0:0",
        "by-path/pci-0000:00:10.0-scsi-0:0:0:16684": "0:0:0:16684",
        "by-path/pci-0000:00:10.0-scsi-0:0:3:0": "0:0:3:0",
        "by-id/wwn-0x5000c50015ea71ac": "0:0:0:16684",
        "by-id/scsi-0QEMU_QEMU_HARDDISK_VIRTME-DATA": "0:0:0:0",
    }.items():
        assert links.get(name) == address, f"{name} among {links}"
    none, *theirs = said["links of the C driver"].splitlines()
    assert none == "none left"
    # The host is another one by then, so its number is left out.
    without_host = {name: address.partition(":")[2] for name, address in links.items()}
    assert {name: at.partition(":")[2] for name, at in (line.split() for line in theirs)} == without_host
    # virtme-ng lays a writable /home over one that the toolbox does not have.
    logcheck.assert_clean(said["log"], ["overlayfs: failed to resolve .*/home"], str(logs / "script.log"))

    # What the guest wrote is on the image.
    digest = said["file system"].split()[-2]
    data = disks[0].file
    subprocess.run(
        ["debugfs", "-R", f"dump /data {scratch / 'data'}", str(data)], check=True, capture_output=True
    )
    assert images.digest(scratch / "data") == digest
