# SPDX-License-Identifier: GPL-2.0
"""A unit that is busy for two seconds, in each of the ways to say so: commands are sent again with a pause
between, until it takes them. Neither an application nor the log notices, and the device is not flooded."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from guest import QemuGuest, fio, sysfs
from guest.device import Mark, TestDevice
from support.boots import Boots

pytestmark = [pytest.mark.device, pytest.mark.compare]


OPCODES = ["READ_10", "WRITE_10"]
WAYS: dict[str, dict[str, str]] = {
    "response BUSY": {"response": "busy"},
    "status BUSY": {"status": "busy"},
    "status TASK SET FULL": {"status": "task_set_full"},
}
SECONDS = 2.0
# How often a command may come back in that time: the midlayer pauses for three milliseconds at the least.
MOST = 1000
# And how often at the least, as a driver that keeps the command for long is no good either.
LEAST = 4


@dataclass
class Shared:
    device: TestDevice
    guest: QemuGuest

    def busy_answers(self, mark: Mark) -> list[dict[str, Any]]:
        return self.device.since(mark, "answer", rule="busy")


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Shared:
    device = serve_shared({"unit": [{"lun": lun, "size": "16M"} for lun in range(3)]})
    guest = boot_shared(**device.door("scsi"))
    sysfs.wait_for_units(guest, 3)
    return Shared(device, guest)


@pytest.mark.parametrize("way", WAYS)
def test_commands_wait_for_a_busy_unit(
    shared: Shared, way: str, record_property: Callable[[str, object], None]
) -> None:
    """A read of one unit and a write of another wait until the units take commands again."""
    device, guest = shared.device, shared.guest
    nodes = [sysfs.unit_node(guest, 0, lun) for lun in (0, 1)]
    guest.run("head -c 4096 /dev/urandom >/tmp/d", check=True)
    guest.run(f"dd if=/tmp/d of={nodes[0]} bs=4k oflag=direct", check=True)
    mark = device.mark()
    device.rule("busy", {"opcode": OPCODES, "target": 0}, **WAYS[way])
    try:
        read = guest.spawn(f"dd if={nodes[0]} bs=4k count=1 iflag=direct | cmp - /tmp/d")
        write = guest.spawn(f"dd if=/tmp/d of={nodes[1]} bs=4k oflag=direct")
        device.wait_for(
            lambda: len({line["unit"] for line in commands(device, mark)}) == 2, why="no commands"
        )
        time.sleep(SECONDS)
        early = [job.command for job in (read, write) if job.done()]
    finally:
        device("remove_rule", name="busy")
    results = [job.wait(30) for job in (read, write)]
    counts = [sum(line["unit"] == f"0:{lun}" for line in commands(device, mark)) for lun in (0, 1)]
    record_property("sent", counts)
    assert early == [], f"ended while the unit was busy, after {counts} commands"
    assert [result.rc for result in results] == [0, 0], [result.stderr for result in results]
    assert all(LEAST <= count <= MOST for count in counts), counts
    # Each answer but the last two said busy, so the commands did end because the unit took them.
    assert len(shared.busy_answers(mark)) == sum(counts) - 2
    guest.run(f"dd if={nodes[1]} bs=4k count=1 iflag=direct | cmp - /tmp/d", check=True)


def commands(device: TestDevice, mark: Mark) -> list[dict[str, Any]]:
    return [line for line in device.since(mark, "request") if line["name"] in OPCODES]


@pytest.mark.parametrize("way", WAYS)
def test_data_stays_right_on_a_unit_that_is_mostly_busy(shared: Shared, way: str) -> None:
    """Nine of ten commands find the unit busy, in any order of reads and writes: data stays right."""
    device, guest = shared.device, shared.guest
    node = sysfs.unit_node(guest, 0, 2)
    mark = device.mark()
    # Before there are commands, or these could be over.
    device.rule("busy", {"opcode": OPCODES, "lun": 2, "probability": 0.9, "seed": 7}, **WAYS[way])
    job = fio.start(guest, node, **fio.write_options("libaio", "2M", bsrange="4k-64k", iodepth=16))
    try:
        device.wait_for(lambda: len(shared.busy_answers(mark)) > 100 or job.done(), why="not busy")
    finally:
        device("remove_rule", name="busy")
    done = fio.Job.of(job.wait(60))
    assert (done.error, done.result.rc) == (0, 0), done.said
    assert 0 < done.written <= done.read
    assert len(shared.busy_answers(mark)) > 100


def test_the_driver_kept_to_the_rules(shared: Shared) -> None:
    assert shared.device.lines("violation") == []
    assert shared.device.lines("tmf") == []
    assert not re.search(r"retr(y|ies)|I/O error", shared.guest.dmesg())
