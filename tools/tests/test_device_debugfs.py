# SPDX-License-Identifier: GPL-2.0
"""The driver's files in debugfs: what is in flight, what the device said of it, and what recovery did."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from guest import QemuGuest, sysfs
from guest.device import TestDevice
from guest.guest import Handle
from support.boots import Boots
from support.known_lines import MISBEHAVING

pytestmark = [
    pytest.mark.device,
    pytest.mark.ours("it is about files of our driver"),
]


TIMEOUT, STEP = 2, 2
# How many steps of recovery are kept.
KEPT = 32


@dataclass
class Bench:
    device: TestDevice
    guest: QemuGuest

    def lines(self, file: str) -> list[dict[str, str]]:
        return sysfs.report(self.guest, file)

    def state(self) -> dict[str, str]:
        return {name: value for line in self.lines("state") for name, value in line.items()}

    def steps(self, since: int = 0) -> list[tuple[str, ...]]:
        """The steps of recovery after some: unit, name and outcome."""
        lines = self.lines("recovery")[since:]
        kept = ("target", "lun", "step", "outcome")
        return [tuple(value for name, value in line.items() if name in kept) for line in lines]

    def read(self, lun: int) -> Handle:
        node = sysfs.unit_node(self.guest, 0, lun)
        return self.guest.spawn(f"dd if={node} of=/dev/null bs=4k count=1 skip=5 iflag=direct")

    def stage(self, lun: int) -> str:
        return next((line["stage"] for line in self.lines("in_flight") if line["lun"] == str(lun)), "")


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Bench:
    device = serve_shared({"unit": [{"lun": lun, "size": "1M"} for lun in range(2)]})
    guest = boot_shared(**device.door("test"), parameters=f"recovery_step={STEP}", allow=MISBEHAVING, smp=2)
    sysfs.wait_for_units(guest, 2)
    guest.settle()
    return Bench(device, guest)


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    yield shared
    shared.device("clear_rules")


def test_a_command_in_flight_is_shown_with_what_the_device_said_of_it(bench: Bench) -> None:
    """From when it is sent until it ends: after its time-out the device is asked, and has it."""
    guest, device = bench.guest, bench.device
    assert bench.lines("in_flight") == []
    device.rule("held", {"lun": 1, "opcode": "READ_10"}, hold="held")
    guest.run(f"echo {TIMEOUT} >$(echo /sys/bus/scsi/devices/*:0:0:1/timeout)", check=True)
    mark = device.mark()
    job = bench.read(1)
    device.wait_for(lambda: device.held("held"), why="a read")
    (line,) = bench.lines("in_flight")
    (sent,) = device.since(mark, "request", name="READ_10")
    assert (line["target"], line["lun"]) == ("0", "1")
    assert (line["place"], line["stage"], line["retries"]) == ("device", "sent", "0")
    assert line["timeout_ms"] == str(TIMEOUT * 1000)
    assert sent["cdb"].startswith(line["cdb"]) and len(line["cdb"]) == 20
    queues = bench.lines("queues")
    assert [queue["in_flight"] for queue in queues].count("1") == 1
    assert queues[int(line["queue"])]["in_flight"] == "1"
    time.sleep(0.5)
    (later,) = bench.lines("in_flight")
    for name in ("age_ms", "sent_ms"):
        assert 400 < int(later[name]) - int(line[name]) < 10_000
    assert int(later["sent_ms"]) <= int(later["age_ms"])
    device.wait_for(lambda: bench.stage(1) == "held", 2 * (TIMEOUT + STEP), "the device was not asked")
    (held,) = bench.lines("in_flight")
    assert int(held["sent_ms"]) >= TIMEOUT * 1000
    device("remove_rule", name="held")
    device("release", name="held")
    job.wait(20, check=True)
    assert bench.lines("in_flight") == []
    assert all(
        queue["sent"] == queue["completed"] and queue["ring"] == "works" for queue in bench.lines("queues")
    )


def test_queues_count_what_is_sent(bench: Bench) -> None:
    def sent() -> int:
        return sum(int(queue["sent"]) for queue in bench.lines("queues"))

    bench.guest.settle()
    mark, before = bench.device.mark(), sent()
    node = sysfs.unit_node(bench.guest, 0, 0)
    bench.guest.run(f"dd if={node} of=/dev/null bs=4k count=50 iflag=direct", check=True)
    assert sent() - before == len(bench.device.since(mark, "request")) >= 50


def test_the_steps_of_recovery_are_listed_in_their_order(bench: Bench) -> None:
    """The device says that it has a command no more, and takes it back after ABORT TASK."""
    guest, device = bench.guest, bench.device
    former = len(bench.lines("recovery"))
    device.rule("held", {"lun": 1, "opcode": "READ_10", "times": 1}, drop=True)
    device.rule("lost", {"on": "tmf", "subtype": "query_task"}, response="ok", execute=False)
    guest.run(f"echo {TIMEOUT} >$(echo /sys/bus/scsi/devices/*:0:0:1/timeout)", check=True)
    bench.read(1).wait(60, check=True)
    assert bench.steps(former)[:3] == [
        ("0", "1", "time_out", "notified_again"),
        ("0", "1", "query_task", "not_held"),
        ("0", "1", "abort_task", "done"),
    ]
    ages = [int(line["ago_ms"]) for line in bench.lines("recovery")[former:]]
    assert ages == sorted(ages, reverse=True)
    # The grace period after the notification.
    assert ages[0] - ages[1] >= 900


def test_a_reset_of_the_device_is_a_step_and_counts(bench: Bench) -> None:
    before = int(bench.state()["resets"])
    bench.guest.run("sg_reset -H /dev/sg0", check=True)
    assert bench.steps()[-2:] == [("take_down", "driver"), ("bring_up", "done")]
    state = bench.state()
    assert (state["state"], int(state["resets"])) == ("live", before + 1)


def test_the_policy_is_shown_as_it_is_now(bench: Bench) -> None:
    parameters = "/sys/module/virtio_scsi_rs/parameters"
    state = bench.state()
    assert (state["recovery_wait"], state["step_ms"]) == ("0", str(STEP * 1000))
    for seconds in (7, 0):
        bench.guest.run(f"echo {seconds} >{parameters}/recovery_patience", check=True)
        assert bench.state()["patience_ms"] == str(seconds * 1000)


def test_only_the_last_steps_are_kept(bench: Bench) -> None:
    both = "sg_reset -d -N /dev/sg0; sg_reset -d -N /dev/sg1"
    bench.guest.run(f"for n in $(seq {KEPT // 2 + 4}); do {both}; done", timeout=60, check=True)
    assert bench.steps() == KEPT // 2 * [
        ("0", "0", "logical_unit_reset", "done"),
        ("0", "1", "logical_unit_reset", "done"),
    ]


def test_the_same_step_is_one_line_however_often_it_comes(bench: Bench) -> None:
    bench.guest.run("sg_reset -d -N /dev/sg0; for n in 1 2 3; do sg_reset -d -N /dev/sg1; done", check=True)
    assert bench.steps()[-2:] == [
        ("0", "0", "logical_unit_reset", "done"),
        ("0", "1", "logical_unit_reset", "done"),
    ]
    assert [line["times"] for line in bench.lines("recovery")[-2:]] == ["1", "3"]
