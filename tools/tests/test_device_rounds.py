# SPDX-License-Identifier: GPL-2.0
"""The driver's own commands go out many at a time, and units are compared in rounds: what one does not answer
costs the others its time once. That the midlayer reads the units again is spread over some seconds."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from guest import QemuGuest, sysfs
from guest.device import Mark, TestDevice
from support.boots import Boots
from support.events import PARAM_CHANGE, all_handled, quiet
from support.known_lines import COMES_AND_GOES, OUR_DRIVER

pytestmark = [
    pytest.mark.device,
    pytest.mark.ours("it is about commands of the driver's own"),
]


TARGETS = 256
DISKS = 72
# A quarter of a ring of 128, of which a quarter stays free.
AT_ONCE = 24
# How many units are compared together.
GROUP = 64
# What the driver waits for an answer to a command of its own, and for the abort of that. Seconds.
TIMEOUT, ABORT = 5, 1
LISTS, ASKS, SYNC, STANDARD_DATA = "REPORT_LUNS", "INQUIRY", "SYNCHRONIZE_CACHE_10", 256
CAPACITY = "READ_CAPACITY_16"
# The share of the time in which units are read again: a tenth, and what a busy machine makes of it.
SHARE = 0.3
# Seconds for each unit without a rest, on such a machine.
EACH = 0.15
FIRST_QUEUE = 2
CAPACITY_CHANGED = 0x092A
# A new unit's place, which is behind those of all disks.
NEW = 200


@dataclass
class Bench:
    device: TestDevice
    guest: QemuGuest

    def miss(self) -> Mark:
        """Has the device say that events were missed, and returns where its log was before."""
        mark = self.device.mark()
        self.device("event", event=0, missed=True, wait=True)
        return mark

    def wait_held(self, name: str, count: int) -> None:
        """Waits until so many requests are held, and sees that no more come."""
        self.device.wait_for(lambda: len(self.device.held(name)) >= count, why=f"{count} in flight")
        time.sleep(0.5)
        assert len(self.device.held(name)) == count

    def release(self, name: str) -> None:
        self.device("remove_rule", name=name)
        self.device("release", name=name)

    def kicks(self) -> int:
        """How many times the device was notified of the queue that has the driver's own commands."""
        count: int = self.device("stats")["stats"]["kicks"][str(FIRST_QUEUE)]
        return count

    def has(self, target: int) -> bool:
        return (target, 0) in sysfs.units(self.guest)

    def has_read_again(self, mark: Mark, count: int) -> bool:
        return len(self.read_again(mark)) >= count

    def settle(self) -> None:
        """Waits until nothing is left to be done about an event."""
        all_handled(self.device)
        quiet(self.device)

    def read_again(self, mark: Mark) -> list[dict[str, Any]]:
        """The commands by which the midlayer began to read a disk again, of all disks."""
        return self.device.since(mark, "request", name=CAPACITY)


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Bench:
    # Without EVENT_IDX the driver notifies the device whenever it would.
    settings = {
        "config": {"max_target": TARGETS - 1},
        "features": ["hotplug", "change", "indirect_desc", "version_1"],
    }
    disks = [{"target": target, "size": "1M", "serial": f"S{target}"} for target in range(DISKS)]
    device = serve_shared({"device": settings, "unit": disks})
    guest = boot_shared(**device.door("test"), allow=(OUR_DRIVER, *COMES_AND_GOES))
    sysfs.wait_for_units(guest, DISKS)
    return Bench(device, guest)


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    shared.settle()
    yield shared
    shared.device("clear_rules")
    shared.settle()


@contextmanager
def new_unit(bench: Bench) -> Iterator[None]:
    """A unit that comes and goes without an event."""
    bench.device("add_unit", unit={"target": NEW, "size": "1M"}, event=False)
    yield
    bench.device.wait_for(lambda: bench.has(NEW), 60, "the new unit")
    bench.guest.settle()
    bench.device("remove_unit", target=NEW, event=False)
    bench.miss()
    bench.device.wait_for(lambda: not bench.has(NEW), 60, "the unit that went")


def test_many_targets_are_asked_at_once_with_one_notification(bench: Bench) -> None:
    """The last answer of the comparison is held, so that nothing else is sent."""
    bench.device.rule("last", {"page": 0x83, "target": DISKS - 1}, hold="last")
    bench.device.rule("lists", {"opcode": LISTS}, hold="lists")
    with new_unit(bench):
        bench.miss()
        bench.wait_held("last", 1)
        before = bench.kicks()
        bench.release("last")
        bench.wait_held("lists", AT_ONCE)
        assert bench.kicks() - before == 1
        bench.release("lists")


def page(line: dict[str, Any]) -> int:
    """The page of vital product data that INQUIRY is for, or that it is for the standard data."""
    cdb = bytes.fromhex(line["cdb"])
    return cdb[2] if cdb[1] & 1 else STANDARD_DATA


def test_units_are_compared_in_rounds(bench: Bench) -> None:
    """Each round has all units of a group, and comes when the one before has been answered."""
    mark = bench.miss()
    bench.device.wait_for(lambda: bench.device.since(mark, "request", name=LISTS), why="the census")
    sent = list(itertools.takewhile(lambda line: line["name"] != LISTS, bench.device.since(mark, "request")))
    assert {line["name"] for line in sent} == {ASKS}
    rounds = [(number, page) for page, number in counted(map(page, sent))]
    pages = (STANDARD_DATA, 0x00, 0x80, 0x83)
    assert rounds == [(count, page) for count in (GROUP, DISKS - GROUP) for page in pages]


def counted(values: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Each value, and how many times it follows itself."""
    return ((value, len(list(same))) for value, same in itertools.groupby(values))


def test_a_group_is_asked_at_once(bench: Bench) -> None:
    bench.device.rule("ask", {"page": STANDARD_DATA}, hold="ask")
    bench.miss()
    bench.wait_held("ask", AT_ONCE)
    bench.release("ask")


def test_silent_units_delay_others_once(bench: Bench) -> None:
    """After the time of a single one, a unit of their group is found to be gone, and another to be new. They
    stay."""
    silent = (3, 4, 5, 6)
    gone = 7
    for target in silent:
        bench.device.rule(f"silent {target}", {"opcode": ASKS, "target": target}, hold="silent")
    with new_unit(bench):
        bench.device("remove_unit", target=gone, event=False)
        began = time.monotonic()
        bench.miss()
        bench.device.wait_for(lambda: not bench.has(gone), 60, "the unit that is gone stays")
        bench.device.wait_for(lambda: bench.has(NEW), 60, "the unit that is new")
        assert time.monotonic() - began < 2 * TIMEOUT + ABORT
        assert all(bench.has(target) for target in silent)
    bench.device("clear_rules")
    come_back(bench, gone)


def come_back(bench: Bench, target: int) -> None:
    """A disk that was gone is plugged again."""
    bench.device("add_unit", unit={"target": target, "size": "1M", "serial": f"S{target}"})
    bench.device.wait_for(lambda: bench.has(target), 60, "the unit that came back")


def test_units_that_were_not_asked_are_compared_later(bench: Bench) -> None:
    """The device stands still for longer than the driver waits, so that most units are not asked."""
    gone = DISKS - 1
    bench.device.rule("ask", {"page": STANDARD_DATA}, hold="ask")
    bench.device.rule("aborts", {"on": "tmf"}, hold="aborts")
    bench.device("remove_unit", target=gone, event=False)
    bench.miss()
    bench.wait_held("ask", AT_ONCE)
    time.sleep(TIMEOUT + 2 * ABORT)
    assert bench.has(gone)
    bench.device("clear_rules")
    for name in ("ask", "aborts"):
        bench.device("release", name=name)
    bench.device.wait_for(lambda: not bench.has(gone), 30, "the unit that is gone stays")
    come_back(bench, gone)


def test_a_unit_that_is_back_when_its_turn_comes_stays(bench: Bench) -> None:
    """It was gone when its group was compared, and the removal of another takes a while."""
    gone, back = 1, 2
    kept = f"/sys/bus/scsi/devices/*:0:{back}:0/timeout"
    bench.guest.run(f"echo 77 >$(echo {kept})", check=True)
    bench.device.rule("read", {"opcode": "READ_10", "target": gone}, hold="read")
    node = sysfs.unit_node(bench.guest, gone, 0)
    reading = bench.guest.spawn(f"dd if={node} of=/dev/null bs=4k count=1 iflag=direct")
    bench.device.wait_for(lambda: bench.device.held("read"), why="a read")
    bench.device.rule("away", {"page": STANDARD_DATA, "target": back}, response="bad_target")
    bench.device.rule("reset", {"on": "tmf"}, response="ok", delay_ms=3000)
    bench.device("remove_unit", target=gone, event=False)
    mark = bench.miss()
    bench.device.wait_for(lambda: bench.device.since(mark, "tmf"), 30, "no reset of the unit")
    bench.device("remove_rule", name="away")
    bench.release("read")
    bench.device.wait_for(lambda: not bench.has(gone), 60, "the unit that is gone stays")
    reading.wait(30)
    bench.device("clear_rules")
    bench.settle()
    assert bench.guest.out(f"cat {kept}") == "77"
    come_back(bench, gone)


def test_a_busy_host_reads_its_units_again_with_rests(bench: Bench) -> None:
    """Of the time from the first unit to the tenth, little is spent with reading."""
    count = 10
    node = sysfs.unit_node(bench.guest, DISKS - 1, 0)
    bench.device.rule("read", {"opcode": "READ_10", "target": DISKS - 1}, hold="read")
    reading = bench.guest.spawn(f"dd if={node} of=/dev/null bs=4k count=1 iflag=direct")
    bench.device.wait_for(lambda: bench.device.held("read"), why="a read")
    mark = bench.miss()
    bench.device.wait_for(lambda: bench.has_read_again(mark, count), 60, "not all are read again")
    bench.release("read")
    reading.wait(30, check=True)
    first, *_, last = (line["t"] for line in bench.read_again(mark)[:count])
    sent = [line["t"] for line in bench.device.since(mark, "request") if first <= line["t"] <= last]
    gaps = sorted(later - former for former, later in itertools.pairwise(sent))
    rests = sum(gaps[-(count - 1) :])
    assert 1 - rests / sum(gaps) < SHARE, f"{sum(gaps):.2f} s, of which {rests:.2f} s are rests"


def test_an_idle_host_reads_all_its_units_again_without_rests(bench: Bench) -> None:
    mark = bench.miss()
    bench.device.wait_for(lambda: bench.has_read_again(mark, DISKS), 60, "not all are read again")
    times = [line["t"] for line in bench.read_again(mark)]
    assert {line["unit"] for line in bench.read_again(mark)} == {f"{target}:0" for target in range(DISKS)}
    assert times[-1] - times[0] < DISKS * EACH


def test_an_event_does_not_wait_until_all_units_were_read_again(bench: Bench) -> None:
    mark = bench.miss()
    bench.device.wait_for(lambda: bench.read_again(mark), why="the first is read again")
    all_handled(bench.device)
    assert len(bench.read_again(mark)) < DISKS / 2


def test_events_without_end_do_not_keep_units_from_being_read_again(bench: Bench) -> None:
    """The device reports a change of a unit as soon as the driver has handled the one before."""
    seconds, count = 120, 3
    mark = bench.miss()
    change = {"event": PARAM_CHANGE, "reason": CAPACITY_CHANGED, "target": 0, "wait": True}
    bench.device("event", times=1000 * seconds, interval_ms=1, **change)
    # What is sent for an event is sent for the first unit.
    others = {f"{target}:0" for target in range(1, count + 1)}

    def units_read() -> list[str]:
        return [line["unit"] for line in bench.read_again(mark)]

    bench.device.wait_for(lambda: others <= set(units_read()), seconds / 2, "others are not read")
    bench.device("end_events")
    assert units_read().count("0:0") > count, "there were no events in between"


def test_events_that_are_missed_again_and_again_leave_no_unit_out(bench: Bench) -> None:
    """The units that were not read when all begins again are the next ones."""
    first = bench.device.mark()
    for _ in range(DISKS):
        bench.device.wait_for(partial(bench.has_read_again, bench.miss(), 6), why="some are read again")
        if len({line["unit"] for line in bench.read_again(first)}) == DISKS:
            return
    raise AssertionError(f"of {DISKS} disks {len(bench.read_again(first))} were read")


def test_a_lost_notification_of_many_commands_is_repeated(bench: Bench) -> None:
    with new_unit(bench):
        bench.device.rule("lists", {"opcode": LISTS}, hold="lists")
        bench.miss()
        bench.wait_held("lists", AT_ONCE)
        mark = bench.device.mark()
        bench.device("ignore_kicks", queue=FIRST_QUEUE, count=1000)
        bench.release("lists")
        bench.device.wait_for(lambda: bench.device.since(mark, "kick_ignored"), why="a notification")
        time.sleep(0.5)
        assert not bench.has(NEW)
        bench.device("ignore_kicks", queue=FIRST_QUEUE, count=0)
        bench.device.wait_for(lambda: bench.has(NEW), TIMEOUT, "the new unit")


@pytest.mark.parametrize("what", ["lists", "ask"])
def test_a_reset_of_the_device_meanwhile_loses_nothing(bench: Bench, what: str) -> None:
    """Commands that it has ended are sent again, or all begins again."""
    match = {"opcode": LISTS} if what == "lists" else {"page": STANDARD_DATA}
    with new_unit(bench):
        bench.device.rule(what, match, hold=what)
        bench.miss()
        bench.wait_held(what, AT_ONCE)
        bench.device("remove_rule", name=what)
        bench.guest.run("sg_reset -H /dev/sg0", check=True)
        bench.device.wait_for(lambda: bench.has(NEW), 60, "the new unit")
        assert all(bench.has(target) for target in range(DISKS))


@pytest.mark.parametrize("what", ["lists", "ask"])
def test_an_unbinding_meanwhile_does_not_wait(bench: Bench, what: str) -> None:
    match = {"opcode": LISTS} if what == "lists" else {"page": STANDARD_DATA}
    guest = bench.guest
    name = sysfs.virtio_name(guest)
    bench.device.rule(what, match, hold=what)
    bench.miss()
    bench.wait_held(what, AT_ONCE)
    mark = bench.device.mark()
    began = time.monotonic()
    unbinding = guest.spawn(f"echo {name} >{guest.driver.sysfs}/unbind")
    # The removal of the disks, which takes its time, begins when the handler has ended.
    bench.device.wait_for(lambda: bench.device.since(mark, "request", name=SYNC), why="the removal")
    took = time.monotonic() - began
    unbinding.wait(60, check=True)
    bench.device("clear_rules")
    guest.run(f"echo {name} >{guest.driver.sysfs}/bind", timeout=60, check=True)
    sysfs.wait_for_units(guest, DISKS)
    assert took < TIMEOUT / 2
