# SPDX-License-Identifier: GPL-2.0
"""The driver looks for units by itself: it finds what the device has, whatever targets say of themselves, and
the disks that are there have no part in it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from guest import QemuGuest, sysfs
from guest.device import Mark, TestDevice
from guest.pauses import Reader
from support.boots import OURS, Boots
from support.events import quiet
from support.known_lines import OUR_DRIVER, UNIT
from support.probes import Probes

pytestmark = [pytest.mark.device, pytest.mark.compare]


TARGETS = 256
# Seconds. The goal is a tenth on a machine that has nothing else to do; the old way took fourteen.
SOON = 2
# What the driver waits for an answer to a command of its own.
TIMEOUT = 5
# Longer than a busy machine makes any read, and shorter than a command's time-out.
PAUSE = 3
MADE, DESTROYED, FROZEN = "blk_mq_alloc_queue", "blk_mq_destroy_queue", "blk_mq_freeze_queue_wait"
LISTS, ASKS = "REPORT_LUNS", "INQUIRY"
QUALIFIER_NONE = 0x7F


@dataclass
class Bench:
    device: TestDevice
    guest: QemuGuest
    probes: Probes

    def has(self, *units: tuple[int, int]) -> bool:
        return sysfs.units(self.guest) == {(0, 0), *units}

    def until(self, *units: tuple[int, int]) -> float:
        """Seconds until the guest has the first disk, these units, and no others."""
        began = time.monotonic()
        self.device.wait_for(lambda: self.has(*units), 60, f"units {units}, not {sysfs.units(self.guest)}")
        took = time.monotonic() - began
        # A disk that goes before its partitions were looked for gets errors in the log.
        sysfs.wait_for_units(self.guest, len(units) + 1)
        self.guest.run(
            "for disk in /sys/bus/scsi/devices/*/block/*; do : </dev/${disk##*/}; done", check=True
        )
        return took

    def miss(self) -> None:
        """Has the device say that events were missed."""
        self.device("event", event=0, missed=True, wait=True)

    def looks(self, look: Callable[[], Any]) -> tuple[dict[str, int], Mark]:
        """What was called meanwhile, and where the log of the device began."""
        quiet(self.device, "READ_10")
        mark, before = self.device.mark(), self.probes.counts()
        look()
        quiet(self.device, "READ_10")
        after = self.probes.counts()
        return {name: after[name] - before[name] for name in after}, mark

    def sent(self, mark: Mark, name: str) -> list[dict[str, Any]]:
        """Commands that are not for the first disk."""
        return [line for line in self.device.since(mark, "request", name=name) if line["unit"] != "0:0"]


@pytest.fixture(scope="module")
def bench(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Bench:
    device = serve_shared({"device": {"config": {"max_target": TARGETS - 1}}, "unit": [{"size": "8M"}]})
    guest = boot_shared(**device.door("test"), allow=(OUR_DRIVER, UNIT))
    sysfs.wait_for_units(guest, 1)
    return Bench(device, guest, Probes(guest, MADE, DESTROYED, FROZEN))


@contextmanager
def units(bench: Bench, *addresses: tuple[int, int], **fields: Any) -> Iterator[None]:
    """Units that come without an event, and go at the end."""
    for target, lun in addresses:
        bench.device("add_unit", unit={"target": target, "lun": lun, "size": "1M", **fields}, event=False)
    try:
        yield
    finally:
        for target, lun in addresses:
            bench.device("remove_unit", target=target, lun=lun, event=False)
        bench.device("clear_rules")
        bench.miss()
        bench.until()


@contextmanager
def read_meanwhile(bench: Bench) -> Iterator[None]:
    reader = Reader(bench.guest, sysfs.unit_node(bench.guest, 0, 0))
    yield
    assert reader.stop().longest < PAUSE


LOOKS = {
    "missed events": lambda bench: bench.miss(),
    "a reset": lambda bench: bench.guest.run("sg_reset -H /dev/sg0", check=True),
    "a rescan": lambda bench: bench.device(
        "event", event="transport_reset", reason="rescan", target=0, lun=0, wait=True
    ),
}


@pytest.mark.parametrize("way", LOOKS)
def test_targets_that_are_empty_stop_no_disk(
    bench: Bench, way: str, record_property: Callable[[str, object], None]
) -> None:
    """No request queue is made, and none frozen but by what is read of the disk itself."""
    if way == "a reset" and not OURS:
        pytest.skip("the driver has no reset of the device")
    with read_meanwhile(bench):
        calls, mark = bench.looks(lambda: LOOKS[way](bench))
    record_property("queues made", calls[MADE])
    record_property("queues frozen", calls[FROZEN])
    record_property("commands", len(bench.device.since(mark, "request")))
    assert (calls[MADE], calls[DESTROYED]) == (0, 0)
    assert calls[FROZEN] <= 4
    lists = [line["unit"] for line in bench.device.since(mark, "request", name=LISTS)]
    assert len(lists) == len(set(lists)) == (1 if way == "a rescan" else TARGETS)
    assert bench.sent(mark, ASKS) == []


def test_one_new_target_among_empty_ones_is_found_at_once(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    took = []

    def look() -> None:
        bench.miss()
        took.append(bench.until((200, 0)))

    with units(bench, (200, 0)):
        with read_meanwhile(bench):
            calls, mark = bench.looks(look)
        record_property("seconds until it is there", f"{took[0]:.2f}")
        record_property("queues made", calls[MADE])
        record_property("queues frozen", calls[FROZEN])
        assert took[0] < SOON
        assert (calls[MADE], calls[DESTROYED]) == (1, 0)
        # The driver asks once, and then it is the midlayer's turn.
        assert {line["unit"] for line in bench.sent(mark, ASKS)} == {"200:0"}


def luns(*numbers: int, claimed: int | None = None) -> str:
    """The data of REPORT LUNS."""
    count = len(numbers) if claimed is None else claimed
    entries = b"".join(number.to_bytes(2) + bytes(6) for number in numbers)
    return ((8 * count).to_bytes(4) + bytes(4) + entries).hex()


@dataclass(frozen=True)
class Target:
    """A target, what it says of itself, and which of its units the guest gets."""

    has: tuple[int, ...]
    gets: tuple[int, ...]
    says: dict[str, Any] | None = None


REFUSED = {"status": "check_condition", "sense": {"key": 5, "asc": 0x20}}
ODD = {
    "no LUN 0": Target((5, 9), (5, 9)),
    "no list": Target((0, 1, 3), (0, 1), REFUSED),
    "no list and no LUN 0": Target((1, 2, 4), (1, 2), REFUSED),
    "above 255 without a format": Target((0, 300), (0, 300), {"execute": False, "data": luns(0, 300)}),
    "an empty list": Target((0, 1), (0,), {"execute": False, "data": luns()}),
    "a list of nobody": Target((0, 1), (0, 1), {"execute": False, "data": luns(0, 1, 7, 8, 9, 1)}),
    "a list without LUN 0": Target((0, 1), (0, 1), {"execute": False, "data": luns(1)}),
    "less than it says": Target((0, 1, 2), (0, 1), {"execute": False, "data": luns(0, 1, claimed=3)}),
}


@pytest.mark.parametrize("name", ODD)
def test_what_a_target_says_of_itself_is_understood(bench: Bench, name: str) -> None:
    """As the midlayer would have understood it, and no queue is made for a unit that is not there."""
    target = ODD[name]
    if target.says:
        bench.device.rule("odd", {"opcode": LISTS, "target": 7}, **target.says)
    with units(bench, *((7, lun) for lun in target.has)):
        calls, _ = bench.looks(bench.miss)
        bench.until(*((7, lun) for lun in target.gets))
        assert (calls[MADE], calls[DESTROYED]) == (len(target.gets), 0) or not OURS
        # It has nothing new to say.
        calls, _ = bench.looks(bench.miss)
        assert (calls[MADE], calls[DESTROYED]) == (0, 0) or not OURS


def test_a_unit_that_says_that_it_is_none_is_none(bench: Bench) -> None:
    none = bytes([QUALIFIER_NONE, 0, 6, 2, 31, *bytes(31)]).hex()
    bench.device.rule("none", {"opcode": ASKS, "target": 7, "lun": 1}, execute=False, data=none)
    with units(bench, (7, 0), (7, 1)):
        calls, mark = bench.looks(bench.miss)
        assert bench.has((7, 0))
        assert {line["unit"] for line in bench.sent(mark, ASKS)} == {"7:0", "7:1"}
        assert (calls[MADE], calls[DESTROYED]) == (1, 0) or not OURS


def test_more_units_than_the_driver_reads_of_a_list_are_found(bench: Bench) -> None:
    every = [(7, lun) for lun in range(129)]
    with units(bench, *every):
        bench.miss()
        bench.until(*every)


def test_a_unit_that_is_busy_for_a_while_is_found_later(bench: Bench) -> None:
    """Longer than it is asked, so that it is looked for once more."""
    bench.device.rule("busy", {"opcode": ASKS, "target": 7, "lun": 1}, status="busy")
    with units(bench, (7, 0), (7, 1)):
        bench.miss()
        bench.until((7, 0))
        time.sleep(TIMEOUT + 1)
        assert bench.has((7, 0)) or not OURS
        bench.device("clear_rules")
        bench.until((7, 0), (7, 1))


@pytest.mark.skipif(not OURS, reason="the midlayer's own commands time out and are recovered")
def test_targets_that_do_not_answer_cost_no_unit(bench: Bench) -> None:
    """The others are found at once, what was there stays, and the time is bounded."""
    late = [(8, 0), (9, 0)]
    said = "looked for logical units: 2 of the targets have not answered"
    with units(bench, (7, 0)), bench.guest.allowing(said):
        bench.miss()
        bench.until((7, 0))
        for target, lun in late:
            bench.device("add_unit", unit={"target": target, "lun": lun, "size": "1M"}, event=False)
        for target in (7, 9):
            bench.device.rule(f"silent {target}", {"opcode": LISTS, "target": target}, drop=True)
        with read_meanwhile(bench):
            bench.miss()
            assert bench.until((7, 0), (8, 0)) < 2 * TIMEOUT
        bench.guest.wait_until(f"dmesg | grep -q '{said}'")
        bench.device("clear_rules")
        # What was not answered is only given back when the device is reset.
        bench.guest.run("sg_reset -H /dev/sg0", check=True)
        bench.until((7, 0), *late)
        for target, lun in late:
            bench.device("remove_unit", target=target, lun=lun, event=False)
