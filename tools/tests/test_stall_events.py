# SPDX-License-Identifier: GPL-2.0
"""While one unit stalls, with a command in flight, others come to its controller, and the guest sees them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from conftest import Boots
from guest import Guest, sysfs
from guest.device import TestDevice

# What the driver and the midlayer say of commands that take long.
ALLOW = [r"virtio_scsi_rs virtio\d+: ", r"(sd|scsi) \d+:\d+:\d+:\d+: "]
# Seconds: the time-out of the disks, and the longest that another unit's event may take.
TIMEOUT, BOUND = 2, 15


@contextmanager
def stalled(serve: Callable[..., TestDevice], boot: Boots) -> Iterator[tuple[TestDevice, Guest]]:
    """A read of LUN 1 has been in flight for longer than its time-out, and has to succeed at the end."""
    device = serve({"unit": [{"lun": lun, "size": "8M"} for lun in (0, 1)]})
    guest = boot(**device.door("test"), allow=ALLOW, append="hung_task_panic=0")
    sysfs.wait_for_units(guest, 2)
    times = f"echo {TIMEOUT} >$f/timeout; echo {TIMEOUT} >$f/eh_timeout"
    guest.run(f"for f in /sys/block/sd*/device; do {times}; done", check=True)
    device.rule("stall", {"lun": 1}, hold="stall")
    read = guest.spawn(f"dd if={sysfs.unit_node(guest, 0, 1)} of=/dev/null bs=4k count=1 iflag=direct")
    device.wait_for(lambda: device.held("stall"), why="a read of the unit that stalls")
    time.sleep(2 * TIMEOUT)
    try:
        yield device, guest
        assert not read.done(), "the unit does not stall"
    finally:
        device("remove_rule", name="stall")
        device("release", name="stall")
    read.wait(30, check=True)


def plug(device: TestDevice, guest: Guest) -> None:
    device("add_unit", unit={"target": 3, "lun": 5, "size": "4M"})


def scan(device: TestDevice, guest: Guest) -> None:
    device("add_unit", unit={"target": 3, "lun": 0, "size": "4M"}, event=False)
    device("add_unit", unit={"target": 3, "lun": 5, "size": "4M"}, event=False)
    guest.spawn(f"echo '- - -' >/sys/class/scsi_host/host{guest.host()}/scan")


def miss(device: TestDevice, guest: Guest) -> None:
    """A unit comes while the device finds no buffers for events; it says later that some were missed."""
    device("eventq", consume=False)
    device("add_unit", unit={"target": 3, "lun": 0, "size": "4M"})
    device("add_unit", unit={"target": 3, "lun": 5, "size": "4M"})
    device("eventq", consume=True)


@pytest.mark.parametrize("how", [plug, scan, miss], ids=["told of", "scanned for", "missed"])
def test_a_unit_that_comes(
    serve: Callable[..., TestDevice],
    boot: Boots,
    record_property: Callable[[str, Any], None],
    how: Callable[[TestDevice, Guest], None],
) -> None:
    with stalled(serve, boot) as (device, guest):
        began = time.monotonic()
        how(device, guest)
        while not (seen := (3, 5) in sysfs.units(guest)) and time.monotonic() < began + 3 * BOUND:
            time.sleep(0.2)
        took = time.monotonic() - began
        record_property("seconds", f"{took:.1f}")
        if seen:
            # The next event is not stuck behind the first.
            device("add_unit", unit={"target": 4, "lun": 2, "size": "4M"})
            began = time.monotonic()
            while not (next_seen := (4, 2) in sysfs.units(guest)) and time.monotonic() < began + 3 * BOUND:
                time.sleep(0.2)
            record_property("the next one", f"{time.monotonic() - began:.1f} s")
        assert seen and took < BOUND, f"the unit is not there after {took:.1f} s"
        assert next_seen, "the unit that came after it is not there"
        assert not {line["name"] for line in device.lines("tmf")} - {"query_task"}, "a function acted"
