# SPDX-License-Identifier: GPL-2.0
"""The device status as QEMU sees it: the bits come in the order of virtio 1.3, section 3.1.1.

They do so after each reset, and the device is notified of nothing before DRIVER_OK.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from guest import Controller, Disk, QemuGuest, fio
from guest.guest import DRIVERS
from support.boots import Boots
from support.known_lines import TWO_SCANS
from support.machines import root_port

pytestmark = pytest.mark.main


ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK = 1, 2, 4, 8
NEW_LIFE = [
    ACKNOWLEDGE,
    ACKNOWLEDGE | DRIVER,
    ACKNOWLEDGE | DRIVER | FEATURES_OK,
    ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK,
]
OURS = DRIVERS["ours"]


@dataclass
class Trace:
    guest: QemuGuest
    file: Path
    read: int = 0

    def steps(self) -> list[str]:
        """Since the last call: the status, as it was set, and "notify". Only the controller does something
        meanwhile but the agent's port, which is live for all of the time."""
        text = self.file.read_bytes()
        self.read, new = len(text), text[self.read :].decode()
        found = re.findall(r"virtio_(?:set_status vdev (\S+) val (\d+)|queue_notify vdev (\S+))", new)
        ours = {device for device, status, _ in found if status}
        assert len(ours) <= 1, ours
        return [status or "notify" for device, status, other in found if (device or other) in ours]


def lives(steps: list[str]) -> list[list[str]]:
    """What comes between resets."""
    found: list[list[str]] = [[]]
    for step in steps:
        if step == "0":
            found.append([])
        else:
            found[-1].append(step)
    return [life for life in found if life]


@pytest.fixture(scope="module")
def trace(boot_shared: Boots, scratch_shared: Path) -> Iterator[Trace]:
    file = scratch_shared / "trace"
    disk = Disk(0, 0, 16 << 20, scratch_shared / "disk.img")
    # The port is that of a function which can be reset.
    controller = Controller([disk], {"bus": "port0"})
    events = ("-trace", "virtio_set_status", "-trace", "virtio_queue_notify", "-D", str(file))
    guest = boot_shared(
        [controller],
        devices=[root_port()],
        args=events,
        allow=[TWO_SCANS],
    )
    # What comes before is of other devices, too.
    yield Trace(guest, file, file.stat().st_size)


def check(trace: Trace, count: int) -> None:
    """As many lives as that, each from its beginning, and some of them with something to do."""
    steps = lives(trace.steps())
    # The virtio core acknowledges a device that has lost its driver.
    begun = [life for life in steps if life != ["1"]]
    if set(begun[0]) == {"notify"}:
        begun.pop(0)  # what was left of the life before
    assert len(begun) == count
    for life in begun:
        settled = [step for step in life if step != "notify"]
        wanted = [str(status) for status in NEW_LIFE]
        assert settled == wanted
        assert life[: len(settled)] == settled, "notified too early"
    assert "notify" in begun[-1]


@pytest.mark.parametrize(
    "how",
    [
        "sg_reset -H /dev/sg0",
        "echo 1 >$(readlink -f /sys/class/scsi_host/host*/device/../..)/reset",
        f"n=$(basename {OURS.sysfs}/virtio*); echo $n >{OURS.sysfs}/unbind; echo $n >{OURS.sysfs}/bind",
        f"rmmod {OURS.name}; insmod {OURS.path}",
    ],
    ids=["reset of the host", "reset of the function", "bind", "load"],
)
def test_a_new_life_sets_the_status_in_order(trace: Trace, how: str) -> None:
    trace.steps()
    trace.guest.run(how, check=True)
    trace.guest.settle()
    fio.write_verified(trace.guest, trace.guest.node(trace.guest.disks[0]), size="1M")
    check(trace, 1)
