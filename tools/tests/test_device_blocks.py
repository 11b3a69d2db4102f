# SPDX-License-Identifier: GPL-2.0
"""Sizes that are out of the ordinary: blocks larger than what the device wants to transfer at once, few
segments, a unit that takes less than its device does, and lists of segments too short for protection
information. Each disk works within its limits. One guest has them all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, logcheck
from guest.device import Mark, TestDevice, shared_memory
from support.boots import OURS, Boots
from support.machines import root_port

pytestmark = [pytest.mark.device, pytest.mark.compare]


MEMORY = 1024
SIZE = "4M"

BLOCK_LIMITS = 0xB0
# The most blocks at once that LUN 1 takes, by its Block Limits VPD page.
TRANSFER = 48
LIMITS = bytes([0, BLOCK_LIMITS, 0, 60]) + bytes(4) + TRANSFER.to_bytes(4) + bytes(52)
RULE = {
    "name": "limits",
    "match": {"lun": 1, "page": BLOCK_LIMITS},
    "action": {"execute": False, "data": LIMITS.hex()},
}

# The last is what others are compared with.
SEGMENTS = {f"seg_max {count}": count for count in (1, 2, 3, 126)}
# Devices whose commands have room for data, or for protection information, and not for both; and how many
# segments that is.
PROTECTED = {"seg_max 1": 1, "queue size 3": 1}
OFF = "protection information is off: "
PI_FEATURES = ["hotplug", "change", "indirect_desc", "event_idx", "version_1", "t10_pi"]

LARGE = 16384
SECTORS = (8, 15, 0xFFFF)


@dataclass
class Shared:
    guest: QemuGuest
    devices: dict[str, TestDevice]
    # What was logged when the driver was loaded.
    loading: str

    def virtio(self, name: str) -> str:
        """The name of a controller's device on the virtio bus. The serial port has number 0."""
        first, late = (f"protected {each}" for each in PROTECTED)
        order = [first, *SEGMENTS, *(f"max_sectors {sectors}" for sectors in SECTORS), late]
        return f"virtio{1 + order.index(name)}"

    def node(self, name: str, lun: int = 0) -> str | None:
        """The node of a unit of a controller."""
        path = f"/sys/bus/virtio/devices/{self.virtio(name)}/host*/target*:0:0/*:0:0:{lun}/block"
        result = self.guest.run(f"ls {path}")
        return f"/dev/{result.stdout.strip()}" if result.rc == 0 else None

    def works(self, node: str | None) -> None:
        """A megabyte that is written in one system call comes back as it was."""
        assert node, "no disk"
        self.guest.run(
            f"dd if=/tmp/data of={node} bs=1M count=1 oflag=direct && "
            f"dd if={node} bs=1M count=1 iflag=direct | cmp -n {MEGABYTE} - /tmp/data",
            check=True,
        )


def data_commands(device: TestDevice, mark: Mark, lun: int = 0) -> list[dict[str, Any]]:
    """The reads and writes of a unit since `mark`."""
    lines = device.since(mark, "request", unit=f"0:{lun}")
    return [line for line in lines if line["name"] in ("READ_10", "WRITE_10")]


def blocks(line: dict[str, Any]) -> int:
    return int(line["cdb"][14:18], 16)


def segments(line: dict[str, Any]) -> int:
    """How many descriptors a command has for its data, beside those of header and response."""
    return len(line["in"]) + len(line["out"]) - 2


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots, scratch_shared: Path) -> Shared:
    devices = {}
    unit = {"size": SIZE}
    for name in PROTECTED:
        few = {"config": {"seg_max": 1}} if name == "seg_max 1" else {}
        features = PI_FEATURES if name == "seg_max 1" else [*PI_FEATURES, "ring_packed"]
        device = {"request_queues": 1, "features": features, **few}
        devices[f"protected {name}"] = serve_shared({"device": device, "unit": [{**unit, "protection": 1}]})
    for name, count in SEGMENTS.items():
        device = {"request_queues": 1, "config": {"seg_max": count}}
        devices[name] = serve_shared({"device": device, "unit": [unit, {**unit, "lun": 1}], "rule": [RULE]})
    doors = {name: each.door("test", name=f"vhost{i}") for i, (name, each) in enumerate(devices.items())}
    words = len(shared_memory(MEMORY))
    # The firmware does not know what to do with such a ring: it is plugged in when that is done.
    late = doors["protected queue size 3"]["devices"][0]
    options = {"logical_block_size": LARGE, "physical_block_size": LARGE}
    controllers = [
        Controller(
            [Disk(0, 0, 4 * MEGABYTE, scratch_shared / f"{sectors}.img", props=options)],
            {"num_queues": 1, "max_sectors": sectors},
            id=f"scsi{number}",
        )
        for number, sectors in enumerate(SECTORS)
    ]
    guest = boot_shared(
        controllers,
        devices=[
            *(one["devices"][0] for one in doors.values() if one["devices"][0] is not late),
            root_port(),
        ],
        args=shared_memory(MEMORY) + [word for one in doors.values() for word in one["args"][words:]],
        memory=MEMORY,
        module=None,
    )
    guest.qmp("device_add", {**late, "vq_size": 3, "bus": "port0"})
    count = len(devices) + len(SECTORS)
    guest.wait_until(f"test -e /sys/bus/virtio/devices/virtio{count}")
    # Pages of a large one are a single segment.
    guest.run("echo never >/sys/kernel/mm/transparent_hugepage/enabled", check=True)
    guest.run("head -c 1M /dev/urandom >/tmp/data", check=True)
    before = len(guest.dmesg())
    # What is said now is for the tests to judge, each for its own.
    with guest.allowing(".*"):
        guest.run(f"insmod {guest.driver.path}", check=True)
        wanted = len(PROTECTED) + 2 * len(SEGMENTS) + len(SECTORS)
        guest.run(
            f"for i in {{1..40}}; do set -- /sys/block/sd*; [ $# -ge {wanted} ] && break; sleep .1; done"
        )
        guest.run("udevadm settle || sleep 1")
    return Shared(guest, devices, guest.dmesg()[before:])


@pytest.mark.parametrize("sectors", SECTORS)
def test_large_blocks_work_or_are_refused_with_a_reason(shared: Shared, sectors: int) -> None:
    """Blocks of 16 KiB, of which the device's max_sectors has less than one: a disk that works, or none and a
    line that says why; and nothing that the block layer warns of."""
    name = f"max_sectors {sectors}"
    virtio = shared.virtio(name)
    warned = [line for line in logcheck.trouble(shared.loading) if "virtio_scsi_rs virtio" not in line]
    # Warnings do not say whose disk they are about; it is not that of the device that takes enough.
    assert warned == [] or sectors * 512 >= LARGE
    node = shared.node(name)
    if node is None:
        said = [
            line for line in shared.loading.splitlines() if f"{virtio}: " in line and "max_sectors" in line
        ]
        assert said, "no disk, and no word of it"
        return
    queue = f"/sys/block/{node.removeprefix('/dev/')}"
    size, block, most = shared.guest.out(
        f"cat {queue}/size {queue}/queue/logical_block_size {queue}/queue/max_hw_sectors_kb"
    ).split()
    assert (int(size), int(block)) == (4 * MEGABYTE // 512, LARGE)
    assert int(most) * 1024 >= LARGE
    shared.works(node)


@pytest.mark.parametrize("name", PROTECTED)
def test_a_disk_works_without_protection_that_finds_no_room(shared: Shared, name: str) -> None:
    """A disk without protection is better than none; one line says what it is without."""
    device = shared.devices[f"protected {name}"]
    virtio = shared.virtio(f"protected {name}")
    mark = device.mark()
    node = shared.node(f"protected {name}")
    shared.works(node)
    sent = data_commands(device, mark)
    assert sent
    assert all(line["pi_in"] == line["pi_out"] == 0 for line in sent), "there is protection information"
    assert max(map(segments, sent)) <= PROTECTED[name]
    assert shared.guest.run(f"cat /sys/block/{str(node)[5:]}/integrity/format").stdout.strip() in ("", "none")
    assert device.lines("violation") == []
    if OURS:
        said = [line for line in shared.loading.splitlines() if f" {virtio}: " in line and OFF in line]
        assert len(said) == 1, said


@pytest.mark.parametrize("name", SEGMENTS)
def test_commands_have_no_more_segments_than_the_device_takes(shared: Shared, name: str) -> None:
    device = shared.devices[name]
    mark = device.mark()
    shared.works(shared.node(name))
    sent = data_commands(device, mark)
    most = max(map(segments, sent))
    assert sum(map(blocks, sent)) == 2 * MEGABYTE // 512
    if name == "seg_max 126":
        # So it is the limit that makes the others smaller.
        assert most > 3
    assert 0 < most <= SEGMENTS[name]


@pytest.mark.parametrize("name", SEGMENTS)
def test_limits_of_a_unit_hold_besides_those_of_the_device(shared: Shared, name: str) -> None:
    """The limit of its Block Limits VPD page holds besides that of the device."""
    device = shared.devices[name]
    mark = device.mark()
    shared.works(shared.node(name, 1))
    sent = data_commands(device, mark, 1)
    assert sum(map(blocks, sent)) == 2 * MEGABYTE // 512
    assert max(map(blocks, sent)) <= TRANSFER
    assert max(map(segments, sent)) <= SEGMENTS[name]
    if name == "seg_max 126":
        assert max(map(blocks, sent)) == TRANSFER


def test_the_driver_kept_to_the_rules(shared: Shared) -> None:
    assert {name: each.lines("violation") for name, each in shared.devices.items()} == {
        name: [] for name in shared.devices
    }
