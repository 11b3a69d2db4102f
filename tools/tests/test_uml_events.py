# SPDX-License-Identifier: GPL-2.0
"""Events in kernels with sanitizers: the cases of test_device_events that these kernels can show,
units that come and go in every order, floods, and a unit that is removed with commands that never end."""

import random
import time
from collections.abc import Iterator

import pytest

from guest import sysfs
from support import events, uml_bench
from support.events import START, Bus
from support.uml_bench import CI, Bench, long, only_in

pytestmark = [pytest.mark.main, pytest.mark.uml]


variant, bench_shared, bench = uml_bench.FIXTURES

SCENARIO = {
    "device": {"request_queues": 2},
    "unit": [
        {"size": "8M"},
        {"lun": 1, "size": "8M"},
        {"target": 1, "lun": 2, "size": "8M"},
        {"target": 2, "kind": "cdrom", "size": "2M"},
    ],
}


@pytest.fixture
def bus(bench: Bench) -> Iterator[Bus]:
    bus = Bus(bench.device, bench.guest)
    with bench.guest.misbehaving():
        bus.expect(START)
        yield bus
        bench.nobody_is_stuck()


test_units_come_and_go = events.test_units_come_and_go
test_addresses_in_both_formats_are_understood = events.test_addresses_in_both_formats_are_understood
test_removal_of_lun_0_is_about_the_target = events.test_removal_of_lun_0_is_about_the_target
test_a_new_capacity_is_seen = events.test_a_new_capacity_is_seen
test_a_hard_reset_is_expected = events.test_a_hard_reset_is_expected
test_any_event_leaves_the_bus_as_it_is = events.test_any_event_leaves_the_bus_as_it_is
test_missed_events_are_made_up_for = events.test_missed_events_are_made_up_for


@pytest.mark.parametrize("fields", [{"event": 1, "reason": 1}, {"event": 3, "reason": 0x092A, "lun": 1}])
def test_a_flood_does_not_stop_io(bus: Bus, variant: str, fields: dict[str, int]) -> None:
    only_in(variant, fields["event"] // 2)
    events.test_a_flood_does_not_stop_io(bus, fields)


@long
@pytest.mark.parametrize("used_len", [0, 4, 15, 0xFFFFFFFF])
def test_claimed_lengths_do_not_matter(bus: Bus, used_len: int) -> None:
    events.test_claimed_lengths_do_not_matter(bus, used_len)


@long
def test_reconciling_is_bounded_when_a_unit_does_not_answer(bus: Bus) -> None:
    events.test_reconciling_is_bounded_when_a_unit_does_not_answer(bus)


@pytest.mark.parametrize("seed", range(2 if CI else 20))
def test_the_bus_follows_any_order_of_plug_and_unplug(bus: Bus, seed: int) -> None:
    events.test_the_bus_follows_any_order_of_plug_and_unplug(bus, seed)


@pytest.mark.parametrize("seed", range(1 if CI else 10))
def test_the_bus_follows_any_order_with_events_missed(bus: Bus, seed: int) -> None:
    """The device has no buffers for some of the events, and says only that."""
    chance = random.Random(seed)
    there: set[tuple[int, int]] = set()
    for _ in range(60):
        target, lun = chance.choice((20, 21, 22)), chance.choice((0, 1, 2, 300))
        told = chance.random() < 0.5
        if (target, lun) in there:
            bus.device("remove_unit", target=target, lun=lun, event=told)
        else:
            bus.device("add_unit", unit={"target": target, "lun": lun, "size": "4M"}, event=told)
        there ^= {(target, lun)}
        if chance.random() < 0.1:
            bus.device("event", event=0, missed=True)
    bus.device("event", event=0, missed=True, wait=True)
    bus.expect(START | there, 60)
    for target, lun in there:
        bus.device("remove_unit", target=target, lun=lun)
    bus.expect(START, 60)


@pytest.mark.parametrize("answers", [True, False], ids=["functions work", "nothing works"])
def test_events_go_on_while_a_unit_is_removed(bus: Bus, bench: Bench, variant: str, answers: bool) -> None:
    """One that keeps its commands. Another's I/O goes on as well."""
    only_in(variant, int(answers))
    hold = {"hold": "held"} if answers else {"drop": True}
    with bench.io((0, 0), threads=2) as done:
        bus.device.rule("held", {"target": 1, "lun": 2}, **hold)
        if not answers:
            bus.device.rule("functions", {"on": "tmf"}, drop=True)
        node = bus.node(1, 2)
        bus.guest.run(f"echo 60 >/sys/block/{node.removeprefix('/dev/')}/device/timeout", check=True)
        for number in range(8):
            # Of reads that are adjacent the block layer may make one command.
            bus.guest.spawn(f"dd if={node} of=/dev/null bs=4k count=1 skip={2 * number} iflag=direct")
        bus.device.wait_for(lambda: len(bus.device("waiting")["waiting"]) >= 8, why="no commands in flight")
        began = time.monotonic()
        bus.device("remove_unit", target=1, lun=2)
        for lun in range(10, 20):
            bus.device("add_unit", unit={"target": 4, "lun": lun, "size": "1M"})
            if lun % 2:
                bus.device("remove_unit", target=4, lun=lun)
        bus.expect(START - {(1, 2)} | {(4, lun) for lun in range(10, 20, 2)}, 20)
        assert time.monotonic() - began < 20
    assert (done.errors, done.unread) == (0, 0)
    for lun in range(10, 20, 2):
        bus.device("remove_unit", target=4, lun=lun)
    bus.device("add_unit", unit={"target": 1, "lun": 2, "size": "8M"})
    bus.expect(START)
    bench.hurry()


def test_unbinding_ends_a_flood(bus: Bus, bench: Bench) -> None:
    bus.device("event", event=1, reason=1, times=100_000)
    bus.device("event", event=3, reason=0x092A, lun=1, times=100_000)
    assert bench.unbind() < 6
    bench.bind()
    bus.expect(START, 60)
    bus.works()


def test_the_driver_kept_to_the_rules(bench: Bench) -> None:
    assert bench.device.lines("violation") == []


@pytest.mark.ours("counts what our driver has replaced")
def test_units_are_replaced_only_so_often(bus: Bus, bench: Bench, variant: str) -> None:
    """A device whose units have another identity each time they are asked keeps the guest busy for a while,
    and not for ever. It keeps the disks that it has then."""
    only_in(variant, 1)
    target, luns, most = 40, range(130), 256
    there = START | {(target, lun) for lun in luns}

    def swap(prefix: str) -> None:
        for lun in luns:
            if prefix != "A":
                bus.device("remove_unit", target=target, lun=lun, event=False)
            unit = {"target": target, "lun": lun, "size": "1M", "serial": f"{prefix}{lun}"}
            bus.device("add_unit", unit=unit, event=False)
        bus.event(events.TRANSPORT_RESET, events.RESCAN, target)

    def replaced() -> int:
        return sysfs.counters(bus.guest)["replaced_units"]

    # Limit and counter are those of a device, which is found anew.
    bench.unbind()
    bench.bind()
    assert replaced() == 0
    swap("A")
    bus.expect(there)
    for prefix, wanted in (("B", len(luns)), ("C", most)):
        swap(prefix)
        bus.device.wait_for(lambda wanted=wanted: replaced() >= wanted, 60, f"{wanted} replacements")
        bus.expect(there)
    disks = bus.guest.out("cat /sys/block/sd*/diskseq")
    swap("D")
    events.all_handled(bus.device)
    events.quiet(bus.device)
    assert (replaced(), bus.guest.out("cat /sys/block/sd*/diskseq")) == (most, disks)
    for lun in luns:
        bus.device("remove_unit", target=target, lun=lun)
    bus.expect(START)
    bench.unbind()
    bench.bind()
