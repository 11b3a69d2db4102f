# SPDX-License-Identifier: GPL-2.0
"""How long it takes until I/O goes on that a device does not answer, or answers wrongly.

`make compare` puts the times of the kernel's own driver beside ours.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from guest import QemuGuest, fio, numbered, sysfs
from guest.device import TestDevice
from support.boots import Boots
from support.known_lines import MISBEHAVING

pytestmark = [pytest.mark.device, pytest.mark.compare]


# Seconds: the time-out of a command, and what a driver that has such a bound waits for a function.
TIMEOUT, STEP = 2, 2
# Who has not come back by then does not.
PATIENCE = 60

Record = Callable[[str, Any], None]


@dataclass(frozen=True)
class Rule:
    """What a request suffers; `action` as a scenario has it."""

    action: dict[str, Any]
    on: str = "command"
    match: dict[str, Any] | None = None

    def fits(self) -> dict[str, Any]:
        # One command is enough: what is tried again shall succeed.
        usual: dict[str, Any] = {"opcode": "READ_10", "times": 1} if self.on == "command" else {}
        return {"on": self.on, **usual, **(self.match or {})}


@dataclass(frozen=True)
class Case:
    """Rules, and the seconds after the time-out in which the read has to be done."""

    rules: tuple[Rule, ...]
    bound: float


HELD = Rule({"hold": "held"})
DROPPED = Rule({"drop": True})
# The device's second for a command that it is notified of again, and some for a machine that is busy.
NOTICE, MARGIN = 1, 4


def functions(action: dict[str, Any], *names: str) -> Rule:
    """What task management functions suffer: those of these names, or all."""
    return Rule(action, "tmf", {"subtype": list(names)} if names else None)


CASES = {
    "command never answered": Case((HELD,), NOTICE + MARGIN),
    "command never answered, abort says it is done": Case((DROPPED,), NOTICE + 3 * STEP + MARGIN),
    "command and abort never answered": Case(
        (HELD, functions({"drop": True}, "abort_task")), NOTICE + STEP + MARGIN
    ),
    "no function ever answered": Case((HELD, functions({"drop": True})), NOTICE + 3 * STEP + MARGIN),
    "functions rejected, but for LUN reset": Case(
        (HELD, functions({"response": "function_rejected"}, "abort_task", "i_t_nexus_reset")), NOTICE + MARGIN
    ),
    "functions rejected": Case((HELD, functions({"response": "function_rejected"})), NOTICE + MARGIN),
    "functions completed without a response": Case((HELD, functions({"write": "nothing"})), NOTICE + MARGIN),
    "command completed without a response": Case((Rule({"write": "nothing"}),), MARGIN),
    "command completed with data but no response": Case((Rule({"write": "data"}),), MARGIN),
    "interrupt lost": Case((Rule({"interrupt": False}),), MARGIN),
    "id of another request": Case((Rule({"id": "not_head"}),), NOTICE + 3 * STEP + MARGIN),
}


@dataclass
class Shared:
    device: TestDevice
    guest: QemuGuest

    def node(self, lun: int) -> str:
        return sysfs.unit_node(self.guest, 0, lun)

    def read(self, block: int) -> str:
        return numbered.compare(self.node(0), block)


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Shared:
    device = serve_shared({"unit": [{"lun": lun, "size": "8M"} for lun in range(3)]})
    options = {"parameters": f"recovery_step={STEP}", "append": "hung_task_panic=0"}
    shared = Shared(device, boot_shared(**device.door("scsi"), allow=MISBEHAVING, **options))
    ready(shared)
    shared.guest.run(numbered.fill(shared.node(0), 32), check=True)
    return shared


def ready(shared: Shared) -> None:
    sysfs.wait_for_units(shared.guest, 3)
    times = f"echo {TIMEOUT} >$f/timeout; echo {TIMEOUT} >$f/eh_timeout"
    shared.guest.run(f"for f in /sys/block/sd*/device; do {times}; done", check=True)


@contextmanager
def measured(record: Record) -> Iterator[Callable[[], float]]:
    """Keeps the seconds of a block for the report, whether it ends well or not."""
    began = time.monotonic()
    try:
        yield lambda: time.monotonic() - began
    finally:
        record("seconds", f"{time.monotonic() - began:.1f}")


@pytest.mark.parametrize("name", CASES)
def test_a_read_ends_in_time(shared: Shared, name: str, record_property: Record) -> None:
    case = CASES[name]
    mark = shared.device.mark()
    names = [f"rule {number}" for number in range(len(case.rules))]
    for each, rule in zip(names, case.rules, strict=True):
        shared.device.rule(each, rule.fits(), **rule.action)
    # These are about answers that are lost: a driver waits for a command that the device says it has.
    shared.device.rule("denied", {"on": "tmf", "subtype": "query_task"}, response="ok")
    job = shared.guest.spawn(shared.read(7))
    with measured(record_property) as seconds:
        rc = job.wait(PATIENCE).rc
        took = seconds()
    acted = {line["rule"] for line in shared.device.since(mark, "answer", "wait") if "rule" in line}
    for each in [*names, "denied"]:
        shared.device("remove_rule", name=each)
    assert set(names) <= acted, "a rule did not act"
    assert rc == 0, "the read failed, or its data is wrong"
    assert took < TIMEOUT + case.bound, f"it took {took:.1f} s"
    for block in range(8, 11):
        assert shared.guest.run(shared.read(block)).rc == 0, "the next reads do not work"


def test_a_read_ends_after_a_lost_notification(shared: Shared, record_property: Record) -> None:
    mark = shared.device.mark()
    for queue in (2, 3):
        shared.device("ignore_kicks", queue=queue, count=1)
    job = shared.guest.spawn(shared.read(12))
    with measured(record_property) as seconds:
        rc = job.wait(PATIENCE).rc
        took = seconds()
    for queue in (2, 3):
        shared.device("ignore_kicks", queue=queue, count=0)
    assert shared.device.since(mark, "kick_ignored"), "no notification came"
    assert rc == 0
    assert took < TIMEOUT + NOTICE + MARGIN, f"it took {took:.1f} s"
    assert not shared.device.since(mark, "tmf"), "a function was needed"
    assert shared.guest.run(shared.read(13)).rc == 0


def hold_a_hundred(shared: Shared) -> None:
    """Has the device keep all commands of LUN 1 for ever, and no function answered."""
    shared.device.rule("held", {"lun": 1}, drop=True)
    shared.device.rule("functions", {"on": "tmf"}, drop=True)
    read = {"rw": "randread", "bs": "4k", "ioengine": "libaio", "iodepth": 100, "direct": 1}
    shared.guest.spawn(fio.command(shared.node(1), **read))
    shared.device.wait_for(lambda: len(shared.device("waiting")["waiting"]) >= 100, why="commands in flight")


def test_unbinding_ends_a_hundred_held_commands(shared: Shared, record_property: Record) -> None:
    guest = shared.guest
    guest.run("for f in /sys/block/sd*/device; do echo 60 >$f/timeout; done", check=True)
    name = guest.out("basename $(readlink -f /sys/class/scsi_host/host*/device/..)")
    hold_a_hundred(shared)
    job = guest.spawn(f"echo {name} >{guest.driver.sysfs}/unbind")
    with measured(record_property) as seconds:
        assert job.wait(PATIENCE).rc == 0
        took = seconds()
    shared.device("clear_rules")
    # It looks for answers that long, and then resets the device for good.
    assert took < STEP + 2 * MARGIN, f"it took {took:.1f} s"
    guest.run(f"echo {name} >{guest.driver.sysfs}/bind", check=True)
    ready(shared)
    assert guest.run(shared.read(14)).rc == 0


def test_a_unit_is_removed_under_a_hundred_held_commands(shared: Shared, record_property: Record) -> None:
    """Its own, and the removal and coming of others that are told of after it."""
    hold_a_hundred(shared)
    with measured(record_property) as seconds:
        shared.device("remove_unit", lun=1)
        shared.device("remove_unit", lun=2)
        shared.device("add_unit", unit={"lun": 5, "size": "8M"})
        luns = "ls -d /sys/bus/scsi/devices/*:0:0:"
        shared.guest.wait_until(f"{luns}5 && ! {luns}1 && ! {luns}2", PATIENCE)
        took = seconds()
    shared.device("clear_rules")
    assert took < NOTICE + STEP + 2 * MARGIN, f"it took {took:.1f} s"
    assert shared.guest.run(shared.read(15)).rc == 0
