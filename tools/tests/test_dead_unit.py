# SPDX-License-Identifier: GPL-2.0
"""A unit of a device is dead: what is sent to it never comes back, while the others work.

To get its command back the device may have to be reset, which everybody notices. That is worth it once or
twice, and then the unit is given up.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from guest import QemuGuest, sysfs
from guest.device import Mark, TestDevice
from guest.pauses import Reader
from support.boots import OURS, Boots
from support.known_lines import MISBEHAVING

pytestmark = [pytest.mark.device, pytest.mark.compare]


# Seconds: the time-out of a command, and our driver's times. The same with all variants.
TIMEOUT, STEP, REFUSED = 2, 1, 3
# How long a read of the dead unit may take to fail, with two resets in it.
PATIENCE = 60
# How long all has to be quiet after it.
QUIET = 60 if os.environ.get("LONG") else 12
# The longest pause in another unit's reads, and how often the device may be reset.
GAP, RESETS = 2, 2
# How many commands compare a unit: INQUIRY, the list of pages, and the two that identify the unit.
COMPARED = 4
DEAD = {"lun": 1}
QUERY = {"on": "tmf", "subtype": "query_task"}
TMF = {"on": "tmf"}

Record = Callable[[str, Any], None]
Rules = list[tuple[dict[str, Any], dict[str, Any]]]

# The rules of the functions, the first that fits decides. Asked for a command that was dropped, the device
# itself says that it does not have it.
GIVEN_UP: dict[str, Rules] = {
    "functions refused": [(TMF, {"response": "function_rejected"})],
    "functions never answered": [(TMF, {"drop": True})],
    "the device does not have it": [(QUERY, {"response": "ok"})],
}


def start(serve: Callable[..., TestDevice], boot: Boots, rules: Rules) -> tuple[TestDevice, QemuGuest]:
    device = serve({"unit": [{"lun": lun, "size": "8M"} for lun in (0, 1)]})
    parameters = f"recovery_step={STEP} recovery_refused={REFUSED}"
    guest = boot(**device.door("scsi"), parameters=parameters, allow=MISBEHAVING, append="hung_task_panic=0")
    sysfs.wait_for_units(guest, 2)
    times = f"echo {TIMEOUT} >$f/timeout; echo {TIMEOUT} >$f/eh_timeout"
    guest.run(f"for f in /sys/block/sd*/device; do {times}; done", check=True)
    for number, (match, action) in enumerate(reversed(rules)):
        device.rule(f"function {number}", match, **action)
    device.rule("dead", DEAD, drop=True)
    return device, guest


def read_it(guest: QemuGuest) -> Any:
    return guest.spawn(f"dd if={sysfs.unit_node(guest, 0, 1)} of=/dev/null bs=4k count=1 iflag=direct")


def state(guest: QemuGuest) -> str:
    return guest.out("cat /sys/bus/scsi/devices/*:0:0:1/state")


def resets(device: TestDevice, mark: Mark) -> int:
    """How often the device was reset: each time its first request queue stops."""
    return len(device.since(mark, "queue_stop", queue=2))


@pytest.mark.parametrize("variant", GIVEN_UP)
def test_a_dead_unit_is_given_up(
    serve: Callable[..., TestDevice], boot: Boots, record_property: Record, variant: str
) -> None:
    device, guest = start(serve, boot, GIVEN_UP[variant])
    mark = device.mark()
    reader = Reader(guest, sysfs.unit_node(guest, 0, 0))
    began = time.monotonic()
    job = read_it(guest)
    while not job.done() and time.monotonic() < began + PATIENCE:
        time.sleep(0.2)
    record_property("seconds", f"{time.monotonic() - began:.1f}")
    ended, mark_ended = job.done(), device.mark()
    time.sleep(QUIET)
    reads = reader.stop()
    record_property("resets", resets(device, mark))
    record_property("longest pause", f"{reads.longest:.1f} s")
    assert ended, f"the read of the dead unit is not done after {PATIENCE} s"
    assert job.wait(1).rc != 0, "the dead unit was read"
    assert state(guest) == "offline"
    assert resets(device, mark) <= RESETS
    assert not resets(device, mark_ended), "the device was reset after the unit was given up"
    # After the reset all units are compared, which may begin before or after the read has ended.
    asked = [line["name"] for line in device.since(mark_ended, "request", unit="0:1")]
    assert set(asked) <= {"INQUIRY"} and len(asked) <= COMPARED, f"the dead unit is asked again: {asked}"
    assert len(reads.over(GAP)) <= resets(device, mark), f"pauses of the other unit's reads: {reads.pauses}"
    assert reads.count > QUIET
    if OURS:
        assert sysfs.counters(guest)["device_resets"] <= RESETS


def test_a_command_that_the_device_says_it_has_is_waited_for(
    serve: Callable[..., TestDevice], boot: Boots, record_property: Record
) -> None:
    """It may be as dead, but who says so is not: the read waits, and nobody else notices."""
    device, guest = start(serve, boot, [(QUERY, {"response": "function_succeeded"})])
    mark = device.mark()
    reader = Reader(guest, sysfs.unit_node(guest, 0, 0))
    job = read_it(guest)
    time.sleep(QUIET)
    waits = not job.done()
    reads = reader.stop()
    functions = {line["name"] for line in device.since(mark, "tmf")}
    record_property("longest pause", f"{reads.longest:.1f} s")
    record_property("functions", " ".join(sorted(functions)) or "none")
    assert waits, "the read is done"
    assert state(guest) == "running"
    assert functions <= {"query_task"}
    assert bool(functions) == OURS, "the kernel's own driver does not ask, and ours does"
    assert not resets(device, mark)
    assert not reads.over(GAP), f"pauses of the other unit's reads: {reads.pauses}"
