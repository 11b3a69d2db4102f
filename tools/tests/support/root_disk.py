# SPDX-License-Identifier: GPL-2.0
"""A Debian system whose root disk gets our driver as the README has it; its commands are read from there."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

from guest import paths
from guest.system import SystemGuest

C, OURS = "virtio_scsi", "virtio_scsi_rs"
SELECT = "virtio-scsi-rs-select"

# The fixture of this name; its argument is the firmware.
BootSystem = Callable[..., SystemGuest]


def readme(section: str) -> str:
    """The last commands of a section of the README, up to the reboot."""
    text = (paths.REPO / "README.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    block = re.findall(r"(?:^    .*\n)+", text, re.M)[-1]
    commands, reboot, _ = textwrap.dedent(block).partition("\nreboot\n")
    assert reboot, f"{section}: no reboot in\n{block}"
    return commands


def choose_ours(guest: SystemGuest) -> None:
    """What the README says of a new guest, where the packages are copied to /tmp."""
    guest.run("mount /dev/sr0 /mnt && cp /mnt/*.deb /tmp && umount /mnt", check=True)
    said = guest.run(readme("In your own guest"), timeout=900, check=True).stdout
    assert f"Nothing changes until you choose the driver: {SELECT} rust" in said
    assert_root_is_served_by(guest, C)
    guest.reboot()
    assert_root_is_served_by(guest, OURS)


def assert_root_is_served_by(guest: SystemGuest, driver: str) -> None:
    """By what sysfs says of the disk of the root file system, and by what the administrator is told."""
    partition = guest.out("findmnt -no SOURCE /").removeprefix("/dev/")
    device = guest.out(f"realpath /sys/class/block/{partition}").partition("/host")[0]
    assert guest.out(f"basename $(realpath {device}/driver)") == driver
    bound = guest.out(f"ls -d /sys/bus/virtio/drivers/{driver}/virtio*")
    assert Path(device).name in bound
    status = guest.out(f"{SELECT} status", timeout=120)
    assert f"{Path(device).name}: host0 served by {driver}" in status, status
