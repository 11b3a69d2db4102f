# SPDX-License-Identifier: GPL-2.0
"""Events of the scripted device, and the effects that each has to have."""

import itertools
import random
import time
from dataclasses import dataclass

import pytest

from guest import Guest, sysfs
from guest.device import TestDevice

TRANSPORT_RESET, ASYNC_NOTIFY, PARAM_CHANGE = 1, 2, 3


HARD, RESCAN, REMOVED = 0, 1, 2

# Nobody has a unit of this target. Each call asks for another LUN: the driver looks for one again later.
NOBODY = 59
_luns_of_nobody = itertools.count(1)


def all_handled(device: TestDevice) -> None:
    """Waits until the driver has handled all events before this: what is reported next is handled next, and
    of a unit that is not there an INQUIRY is the trace. No scan of the host asks for that LUN."""
    mark = device.mark()
    lun = next(_luns_of_nobody)
    device("event", event=TRANSPORT_RESET, reason=RESCAN, target=NOBODY, lun=lun, wait=True)
    device.wait_for(
        lambda: device.since(mark, "request", unit=f"{NOBODY}:{lun}"), 60, "events were not handled"
    )


def quiet(device: TestDevice, apart_from: str = "") -> None:
    """Waits until the guest has sent nothing for a second, apart from commands of one name: until units that
    are read again have been read."""

    def sent() -> int:
        names = [line["name"] for line in device.since(mark, "request")]
        return len(names) - names.count(apart_from)

    mark = device.mark()
    former, now = -1, sent()
    deadline = time.monotonic() + 120
    while now != former:
        assert time.monotonic() < deadline, "the guest does not become quiet"
        time.sleep(1)
        former, now = now, sent()


@dataclass
class Bus:
    device: TestDevice
    guest: Guest

    def addresses(self) -> set[tuple[int, int]]:
        """Target and LUN of all logical units that the guest has, LUNs as the device numbers them."""
        return sysfs.units(self.guest)

    def expect(self, wanted: set[tuple[int, int]], timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while (seen := self.addresses()) != wanted:
            if time.monotonic() > deadline:
                raise AssertionError(f"missing {wanted - seen}, too many {seen - wanted}")
            time.sleep(0.1)

    def event(self, event: int, reason: int, target: int = 0, lun: int = 0, **fields: object) -> None:
        self.device("event", event=event, reason=reason, target=target, lun=lun, wait=True, **fields)

    def node(self, target: int, lun: int) -> str:
        return sysfs.unit_node(self.guest, target, lun)

    def works(self) -> None:
        node = self.node(0, 0)
        self.guest.run(f"dd if={node} of=/dev/null bs=64k count=4 iflag=direct", timeout=60, check=True)


START = {(0, 0), (0, 1), (1, 2), (2, 0)}


def test_units_come_and_go(bus: Bus) -> None:
    for target, lun in ((0, 9), (5, 0), (5, 300), (255, 16383)):
        bus.device("add_unit", unit={"target": target, "lun": lun, "size": "4M"})
        bus.expect(START | {(target, lun)})
        bus.device("remove_unit", target=target, lun=lun)
        bus.expect(START)


def test_addresses_in_both_formats_are_understood(bus: Bus) -> None:
    """A device may write a LUN below 256 in the peripheral or in the flat format."""
    for field in ("0103000700000000", "0103400700000000"):
        bus.device("add_unit", unit={"target": 3, "lun": 7, "size": "4M"}, event=False)
        bus.device("event", event=TRANSPORT_RESET, reason=RESCAN, lun_bytes=field, wait=True)
        bus.expect(START | {(3, 7)})
        bus.device("remove_unit", target=3, lun=7, event=False)
        bus.device("event", event=TRANSPORT_RESET, reason=REMOVED, lun_bytes=field, wait=True)
        bus.expect(START)


def test_removal_of_lun_0_is_about_the_target(bus: Bus) -> None:
    for lun in (0, 3, 4):
        bus.device("add_unit", unit={"target": 8, "lun": lun, "size": "4M"})
    bus.expect(START | {(8, 0), (8, 3), (8, 4)})
    for lun in (0, 3, 4):
        bus.device("remove_unit", target=8, lun=lun, event=False)
    bus.event(TRANSPORT_RESET, REMOVED, target=8)
    bus.expect(START)


def test_a_new_capacity_is_seen(bus: Bus) -> None:
    node = bus.node(1, 2)
    for blocks in (1 << 15, 1 << 14):
        bus.device("resize", target=1, lun=2, blocks=blocks)
        bus.guest.wait_until(f"test $(blockdev --getsz {node}) = {blocks}", 20)


def test_a_hard_reset_is_expected(bus: Bus) -> None:
    """After it the unit attention is no surprise: a read is tried again. Else that of a medium which can be
    changed fails, as it may have been."""
    node = bus.node(2, 0)
    device = bus.device

    def read() -> int:
        """Reads a block, and finds the unit attention. Opening and polling send other commands, which would
        find it first if the unit had it."""
        mark = device.mark()
        attention = {"status": "check_condition", "sense": {"key": 6, "asc": 0x29}}
        device.rule("attention", {"target": 2, "opcode": "READ_10", "times": 1}, **attention)
        rc = bus.guest.run(f"dd if={node} of=/dev/null bs=2k count=1 iflag=direct").rc
        assert device.since(mark, "answer", rule="attention"), "the rule did not act"
        device("remove_rule", name="attention")
        return rc

    # Of resets before this test one may still be expected.
    read()
    assert read() != 0, "it is no surprise without the event"
    bus.event(TRANSPORT_RESET, HARD, target=2)
    all_handled(device)
    assert read() == 0
    bus.works()


EVENTS = [0, 1, 2, 3, 4, 99, 0x7FFFFFFF]


REASONS = [0, 1, 2, 3, 16, 0x092A, 0xFFFFFFFF]


FIELDS = [
    "0100000000000000",  # a unit that is there
    "0100400100000000",
    "0109000500000000",  # one that is not
    "01ff7fff00000000",
    "0200000000000000",  # no addresses
    "0100c10100000000",
    "c101000000000000",
    "ffffffffffffffff",
    "0000000000000000",
]


@pytest.mark.parametrize("missed", [False, True])
def test_any_event_leaves_the_bus_as_it_is(bus: Bus, missed: bool) -> None:
    """Every event with every reason about every kind of address: the bus stays as the device has it."""
    for event, reason, field in itertools.product(EVENTS, REASONS, FIELDS):
        bus.device("event", event=event, reason=reason, lun_bytes=field, missed=missed, wait=True)
    bus.device("event", event=0, missed=True, wait=True)
    bus.expect(START, 120)
    bus.works()


@pytest.mark.parametrize("used_len", [0, 4, 15, 0xFFFFFFFF])
def test_claimed_lengths_do_not_matter(bus: Bus, used_len: int) -> None:
    bus.device("add_unit", unit={"target": 6, "lun": 1, "size": "4M"}, event=False)
    bus.event(TRANSPORT_RESET, RESCAN, target=6, lun=1, used_len=used_len)
    bus.device("event", event=0, missed=True, wait=True)
    bus.expect(START | {(6, 1)}, 60)
    bus.device("remove_unit", target=6, lun=1)
    bus.expect(START)


@pytest.mark.parametrize("fields", [{"event": 1, "reason": 1}, {"event": 3, "reason": 0x092A, "lun": 1}])
def test_a_flood_does_not_stop_io(bus: Bus, fields: dict[str, int]) -> None:
    """A hundred thousand events: they are coalesced, the log is not flooded, and I/O goes on."""
    lines = int(bus.guest.out("dmesg | wc -l"))
    mark = bus.device.mark()
    began = time.monotonic()
    bus.device("event", times=100_000, **fields)
    while bus.device("waiting") and time.monotonic() - began < 5:
        bus.works()
    bus.expect(START, 120)
    bus.works()
    assert int(bus.guest.out("dmesg | wc -l")) - lines < 200
    # Far fewer looks than events.
    assert len(bus.device.since(mark, "request")) < 50_000


def test_missed_events_are_made_up_for(bus: Bus) -> None:
    """The device says only that it had no buffers: units are found, removed and read again."""
    bus.device("add_unit", unit={"target": 10, "lun": 0, "size": "4M"}, event=False)
    bus.device("add_unit", unit={"target": 0, "lun": 40, "size": "4M"}, event=False)
    bus.device("remove_unit", target=0, lun=1, event=False)
    bus.device("resize", target=1, lun=2, blocks=1 << 13, event=False)
    bus.device("event", event=0, missed=True, wait=True)
    bus.expect({(0, 0), (0, 40), (1, 2), (2, 0), (10, 0)}, 90)
    bus.guest.wait_until(f"test $(blockdev --getsz {bus.node(1, 2)}) = {1 << 13}", 20)
    bus.device("remove_unit", target=10, lun=0, event=False)
    bus.device("remove_unit", target=0, lun=40, event=False)
    bus.device("add_unit", unit={"target": 0, "lun": 1, "size": "8M"}, event=False)
    bus.device("event", event=0, missed=True, wait=True)
    bus.expect(START, 90)


def test_reconciling_is_bounded_when_a_unit_does_not_answer(bus: Bus) -> None:
    bus.device("add_unit", unit={"target": 11, "lun": 3, "size": "4M"}, event=False)
    bus.device.rule("silent", {"target": 1, "lun": 2, "opcode": "INQUIRY", "times": 3}, drop=True)
    began = time.monotonic()
    bus.device("event", event=0, missed=True, wait=True)
    bus.expect(START | {(11, 3)}, 120)
    assert time.monotonic() - began < 100
    bus.device("remove_rule", name="silent")
    bus.device("remove_unit", target=11, lun=3)
    bus.expect(START)


@pytest.mark.parametrize("seed", range(4))
def test_the_bus_follows_any_order_of_plug_and_unplug(bus: Bus, seed: int) -> None:
    """Whatever comes and goes, and however often, in the end the bus is as the device has it."""
    chance = random.Random(seed)
    there: set[tuple[int, int]] = set()
    for _ in range(150):
        address = (chance.choice((20, 21, 22)), chance.choice((0, 1, 2, 300)))
        target, lun = address
        if address in there:
            there.remove(address)
            bus.device("remove_unit", target=target, lun=lun)
        else:
            there.add(address)
            bus.device("add_unit", unit={"target": target, "lun": lun, "size": "4M"})
        if chance.random() < 0.1:
            time.sleep(chance.random() / 4)
    bus.expect(START | there, 120)
    for target, lun in there:
        bus.device("remove_unit", target=target, lun=lun)
    bus.expect(START, 120)
