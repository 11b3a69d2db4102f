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

# The fixtures boot_system and boot_chosen; their argument is the firmware.
BootSystem = Callable[..., SystemGuest]


def commands(document: str, section: str) -> list[str]:
    """The blocks of commands in a section of a document."""
    text = (paths.REPO / document).read_text()
    text = re.split(r"\n#+ ", text.partition(f"# {section}\n")[2], maxsplit=1)[0]
    return [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n)+", text, re.M)]


def readme(section: str) -> str:
    """The last commands of a section of the README, up to the reboot."""
    block = commands("README.md", section)[-1]
    before, reboot, _ = block.partition("\nreboot\n")
    assert reboot, f"{section}: no reboot in\n{block}"
    return before


def install_and_choose(guest: SystemGuest) -> None:
    """What the README says of a new guest, up to the reboot; the packages are copied from a CD-ROM."""
    _, copy, _ = commands("README.md", "In your own guest")
    copied = re.fullmatch(r"make deb\nscp build/deb/(\S+) root@GUEST:(\S+)\n", copy)
    assert copied, copy
    guest.run(f"mount /dev/sr0 /mnt && cp /mnt/{copied[1]} {copied[2]} && umount /mnt", check=True)
    said = guest.run(readme("In your own guest"), timeout=900, check=True).stdout
    assert f"Nothing changes until you choose the driver: {SELECT} rust" in said
    assert_root_is_served_by(guest, C)


def choose_ours(guest: SystemGuest) -> None:
    """The same, with the reboot."""
    install_and_choose(guest)
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
