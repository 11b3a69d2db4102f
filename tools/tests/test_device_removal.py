# SPDX-License-Identifier: GPL-2.0
"""Logical units that go, and others that come in their place: what the device says of that is done, whatever
the units themselves answer."""

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from guest import QemuGuest, sysfs
from guest.device import DeviceError, Mark, TestDevice
from support.boots import Boots
from support.known_lines import COMES_AND_GOES

pytestmark = [pytest.mark.main, pytest.mark.compare]


RESCAN, REMOVED = 1, 2
ALL = {"opcode": list(range(256))}
# Target 0 has the disk that is never touched, target 1 the one that goes.
STAYS, GOES = (0, 0), (1, 0)
SIZE = "4M"
BLOCKS = 8192


@dataclass
class Bus:
    device: TestDevice
    guest: QemuGuest

    def units(self) -> set[tuple[int, int]]:
        return sysfs.units(self.guest)

    def settles(self, *wanted: tuple[int, int], timeout: float = 20) -> float:
        """Waits until the guest has these units, and returns for how long."""
        began = time.monotonic()
        self.device.wait_for(lambda: self.units() == set(wanted), timeout, f"units {wanted}")
        return time.monotonic() - began

    def node(self, address: tuple[int, int] = GOES) -> str:
        return sysfs.unit_node(self.guest, *address)

    def sequence(self, address: tuple[int, int] = GOES) -> int:
        """The number of the disk, which no other has had; 0 while there is none."""
        target, lun = address
        return int(self.guest.out(f"cat /sys/bus/scsi/devices/*:0:{target}:{lun}/block/*/diskseq || echo 0"))

    def event(self, reason: int, address: tuple[int, int] = GOES) -> None:
        target, lun = address
        self.device("event", event=1, reason=reason, target=target, lun=lun, wait=True)

    def add(self, address: tuple[int, int] = GOES, event: bool = True, **unit: Any) -> None:
        target, lun = address
        self.device("add_unit", unit={"target": target, "lun": lun, "size": SIZE, **unit}, event=event)

    def remove(self, address: tuple[int, int] = GOES, event: bool = True) -> None:
        self.device("remove_unit", target=address[0], lun=address[1], event=event)

    def set_offline(self, address: tuple[int, int] = GOES) -> None:
        self.guest.run(f"echo offline >/sys/block/{self.node(address)[5:]}/device/state", check=True)

    def reset(self, mark: Mark) -> list[dict[str, Any]]:
        """What was reset since then: a unit, a target, the device."""
        functions = self.device.since(mark, "tmf")
        resets = [line for line in functions if line["name"] not in ("query_task", "abort_task")]
        status = self.device.since(mark, "status")
        return resets + [line for line in status if line.get("status") == 0]

    @contextmanager
    def missed_events(self) -> Any:
        """The device finds no buffers for what it has to say in the block, and says so after it."""
        self.device("eventq", consume=False)
        yield
        self.device("eventq", consume=True)


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Bus:
    device = serve_shared({"device": {"async_events": 0}, "unit": [{"size": SIZE}]})
    guest = boot_shared(**device.door("test"), parameters="recovery_step=1", allow=COMES_AND_GOES)
    return Bus(device, guest)


@pytest.fixture
def bus(shared: Bus) -> Any:
    """With a disk at LUN 0 of target 1, and at the end without."""
    shared.settles(STAYS)
    shared.add(serial="A")
    shared.settles(STAYS, GOES)
    shared.device.wait_for(shared.sequence, why="no disk")
    # Not before its partitions were looked for, which says of its own accord that it cannot be read.
    shared.guest.run(f"dd if={shared.node()} of=/dev/null bs=4k count=1 iflag=direct", check=True)
    yield shared
    shared.device("clear_rules")
    shared.device("release")
    # First in the device: it may be looked for at any moment.
    for lun in (0, 1):
        try:
            shared.remove((1, lun), event=False)
        except DeviceError:
            pass  # it is not there
    for target, lun in shared.units() - {STAYS}:
        shared.guest.run(f"echo 1 >/sys/bus/scsi/devices/*:0:{target}:{lun}/delete")
    shared.settles(STAYS)


def next_disk_appears(bus: Bus, former: int) -> None:
    """The next disk that is attached at the same address is a new one."""
    bus.add(serial="B")
    bus.settles(STAYS, GOES)
    bus.device.wait_for(lambda: bus.sequence() > former, why="no new disk")
    bus.guest.run(f"dd if={bus.node()} of=/dev/null bs=64k count=4 iflag=direct", check=True)


@pytest.mark.parametrize("missed", [False, True], ids=["told", "missed"])
def test_a_disk_that_was_set_offline_goes(bus: Bus, missed: bool) -> None:
    """Whoever prepares a detach sets it offline first. It goes all the same, also if events were missed."""
    former = bus.sequence()
    bus.set_offline()
    if missed:
        with bus.missed_events():
            bus.remove()
    else:
        bus.remove()
    assert bus.settles(STAYS) < 10
    next_disk_appears(bus, former)


FAILURES: dict[str, dict[str, Any]] = {
    "failure": {"response": "failure"},
    "transport_failure": {"response": "transport_failure"},
    "target_failure": {"response": "target_failure"},
    "busy": {"response": "busy"},
    "not ready": {"status": "check_condition", "sense": {"key": 2, "asc": 4, "ascq": 0}},
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_disk_that_answers_with_errors_goes(bus: Bus, name: str) -> None:
    """What it answers when it is gone is not asked for."""
    former = bus.sequence()
    mark = bus.device.mark()
    bus.device.rule("gone", {**ALL, "target": 1}, **FAILURES[name])
    bus.event(REMOVED)
    assert bus.settles(STAYS) < 5
    assert bus.reset(mark) == []
    if name == "not ready":
        # It stays away when it is looked at again. One that fails only may be found by that.
        time.sleep(3)
        assert bus.units() == {STAYS}
    bus.remove(event=False)
    bus.device("clear_rules")
    next_disk_appears(bus, former)


def test_a_disk_that_does_not_answer_goes(bus: Bus) -> None:
    """That costs nobody anything: no time, and no reset."""
    former = bus.sequence()
    mark = bus.device.mark()
    bus.device.rule("silent", {**ALL, "target": 1}, drop=True)
    bus.event(REMOVED)
    assert bus.settles(STAYS) < 5
    # Meanwhile it is looked at again, and others come.
    time.sleep(3)
    bus.add((2, 0))
    assert bus.settles(STAYS, (2, 0)) < 8
    bus.remove((2, 0))
    assert bus.settles(STAYS) < 8
    time.sleep(6)
    assert bus.reset(mark) == []
    bus.guest.run(f"dd if={bus.node(STAYS)} of=/dev/null bs=64k count=4 iflag=direct", check=True)
    bus.device("clear_rules")
    bus.remove(event=False)
    # What it was asked before is answered only when the device is reset.
    bus.guest.run(f"sg_reset -H {bus.node(STAYS)}")
    next_disk_appears(bus, former)


@pytest.mark.parametrize("later", [0.1, 1.0])
def test_a_disk_whose_removal_is_announced_early_stays_away(bus: Bus, later: float) -> None:
    """Some devices say that a unit is gone before it is: it goes, and does not come back in between."""
    former = bus.sequence()
    seen = []
    bus.event(REMOVED)
    ends = time.monotonic() + later
    while time.monotonic() < ends:
        seen.append(bus.units())
    bus.remove(event=False)
    bus.settles(STAYS)
    # Once it was gone it was never seen again.
    gone = [GOES not in units for units in seen]
    assert gone == sorted(gone)
    time.sleep(3)
    assert bus.units() == {STAYS}
    next_disk_appears(bus, former)


def test_a_disk_that_is_still_there_comes_back(bus: Bus) -> None:
    """By LUN 0 the device can mean another unit of the target. What is still there comes back, a new disk."""
    former = bus.sequence()
    bus.add((1, 1))
    bus.settles(STAYS, GOES, (1, 1))
    bus.remove((1, 1), event=False)
    bus.event(REMOVED)
    bus.device.wait_for(lambda: (1, 1) not in bus.units(), 10, "removal of LUN 1")
    bus.device.wait_for(lambda: bus.sequence() > former, why="no new disk")
    bus.settles(STAYS, GOES)


@pytest.mark.parametrize("later", [0.2, 2.0])
@pytest.mark.parametrize("lun", [0, 1])
def test_a_unit_that_is_announced_early_is_looked_for_again(bus: Bus, later: float, lun: int) -> None:
    """It is looked for again until it answers."""
    target = 3 if lun == 0 else 1
    bus.event(RESCAN, (target, lun))
    time.sleep(later)
    bus.add((target, lun), event=False)
    try:
        bus.settles(STAYS, GOES, (target, lun), timeout=15)
    finally:
        bus.remove((target, lun))
        bus.settles(STAYS, GOES)


OTHERS: dict[str, dict[str, Any]] = {
    "another serial": {"serial": "B"},
    "smaller": {"serial": "B", "size": "2M"},
    "cdrom": {"kind": "cdrom"},
}
WAYS = ("rescan", "rescan of LUN 0", "missed")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OTHERS)
def test_another_unit_in_its_place_is_a_new_disk(bus: Bus, name: str, way: str) -> None:
    """It is a new unit, with nothing of the former one: no name, no cache, no size."""
    place = (1, 1) if way == "rescan of LUN 0" else GOES
    other = OTHERS[name]
    if place != GOES:
        bus.add(place, serial="A")
        bus.settles(STAYS, GOES, place)
    former = bus.sequence(place)
    node = bus.node(place)
    bus.guest.run(f"dd if=/dev/zero bs=64k count=4 | tr '\\0' A | dd of={node} oflag=direct", check=True)
    # Now the blocks are in the page cache.
    assert bus.guest.out(f"dd if={node} bs=4k count=16 2>/dev/null | tr -d A | wc -c") == "0"

    if way == "missed":
        with bus.missed_events():
            bus.remove(place)
            bus.add(place, **other)
    else:
        bus.remove(place, event=False)
        bus.add(place, event=False, **other)
        bus.event(RESCAN)
    if "kind" in other:
        unit = f"/sys/bus/scsi/devices/*:{place[0]}:{place[1]}/type"
        bus.guest.wait_until(f"test $(cat {unit}) = 5", 20)
        return

    bus.device.wait_for(lambda: bus.sequence(place) > former, 20, "a new disk")
    node = bus.node(place)
    blocks = 4096 if name == "smaller" else BLOCKS
    assert int(bus.guest.out(f"blockdev --getsz {node}")) == blocks
    assert bus.guest.out(f"dd if={node} bs=4k count=16 2>/dev/null | tr -d '\\0' | wc -c") == "0"
    serial = bus.guest.out(f"cat /sys/block/{node[5:]}/device/vpd_pg80 | tail -c +5")
    assert serial.strip() == "B"


@pytest.mark.parametrize(
    ("name", "way"),
    [(name, "rescan") for name in ("failure", "busy", "not ready", "silent", "nothing written")]
    + [(name, "missed") for name in ("failure", "silent")],
)
def test_an_identity_that_cannot_be_read_changes_nothing(bus: Bus, name: str, way: str) -> None:
    """A disk whose INQUIRY fails for a while stays what it is, with what is mounted of it."""
    former = bus.sequence()
    action = {"silent": {"drop": True}, "nothing written": {"write": "nothing"}}.get(name) or FAILURES[name]
    mark = bus.device.mark()
    bus.device.rule("unreadable", {"opcode": "INQUIRY", "target": 1}, **action)
    if way == "rescan":
        bus.event(RESCAN)
    else:
        with bus.missed_events():
            bus.add((4, 0))
    asked = {"name": "INQUIRY", "lun": "0101400000000000"}
    bus.device.wait_for(lambda: bus.device.since(mark, "request", **asked), 20, "no INQUIRY")
    time.sleep(2)
    bus.device("clear_rules")
    assert bus.reset(mark) == []
    if way == "missed":
        bus.settles(STAYS, GOES, (4, 0))
        bus.remove((4, 0))
    bus.settles(STAYS, GOES)
    assert bus.sequence() == former
    bus.guest.run(f"dd if={bus.node()} of=/dev/null bs=64k count=4 iflag=direct", check=True)
    if name == "silent":
        # What was not answered is only given back when the device is reset.
        bus.guest.run(f"sg_reset -H {bus.node(STAYS)}")
