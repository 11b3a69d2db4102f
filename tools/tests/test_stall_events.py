# SPDX-License-Identifier: GPL-2.0
"""While one unit stalls, with a command in flight, others come to its controller, and the guest sees them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from guest import QemuGuest, sysfs
from guest.device import TestDevice
from support.boots import Boots
from support.known_lines import OUR_DRIVER, UNIT

pytestmark = [pytest.mark.device, pytest.mark.compare]


# Seconds: the time-out of the disks, and the longest that another unit's event may take.
TIMEOUT, BOUND = 2, 15


@dataclass
class Shared:
    device: TestDevice
    guest: QemuGuest

    def until(self, unit: tuple[int, int]) -> float | None:
        """Seconds until the guest has a unit; None if that takes far too long."""
        began = time.monotonic()
        while unit not in sysfs.units(self.guest):
            if time.monotonic() > began + 3 * BOUND:
                return None
            time.sleep(0.2)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def shared(serve_shared: Callable[..., TestDevice], boot_shared: Boots) -> Shared:
    device = serve_shared({"unit": [{"lun": lun, "size": "8M"} for lun in (0, 1)]})
    guest = boot_shared(**device.door("test"), allow=(OUR_DRIVER, UNIT), append="hung_task_panic=0")
    sysfs.wait_for_units(guest, 2)
    times = f"echo {TIMEOUT} >$f/timeout; echo {TIMEOUT} >$f/eh_timeout"
    guest.run(f"for f in /sys/block/sd*/device; do {times}; done", check=True)
    return Shared(device, guest)


@contextmanager
def stalled(shared: Shared) -> Iterator[None]:
    """A read of LUN 1 has been in flight for longer than its time-out, and has to succeed at the end."""
    device, guest = shared.device, shared.guest
    device.rule("stall", {"lun": 1}, hold="stall")
    read = guest.spawn(f"dd if={sysfs.unit_node(guest, 0, 1)} of=/dev/null bs=4k count=1 iflag=direct")
    device.wait_for(lambda: device.held("stall"), why="a read of the unit that stalls")
    time.sleep(3 * TIMEOUT)
    try:
        yield
        assert not read.done(), "the unit does not stall"
    finally:
        device("remove_rule", name="stall")
        device("release", name="stall")
    read.wait(30, check=True)


def add(shared: Shared, target: int, *luns: int, event: bool = True) -> None:
    for lun in luns:
        shared.device("add_unit", unit={"target": target, "lun": lun, "size": "4M"}, event=event)


def tell(shared: Shared) -> tuple[int, int]:
    add(shared, 3, 5)
    return 3, 5


def scan(shared: Shared) -> tuple[int, int]:
    add(shared, 4, 0, 5, event=False)
    shared.guest.spawn(f"echo '- - -' >/sys/class/scsi_host/host{shared.guest.host()}/scan")
    return 4, 5


def miss(shared: Shared) -> tuple[int, int]:
    """The device finds no buffers for the events; it says later that some were missed."""
    shared.device("eventq", consume=False)
    add(shared, 5, 0, 5)
    shared.device("eventq", consume=True)
    return 5, 5


@pytest.mark.parametrize("how", [tell, scan, miss], ids=["told of", "scanned for", "missed"])
def test_a_unit_that_comes_is_seen_while_another_stalls(
    shared: Shared,
    record_property: Callable[[str, Any], None],
    how: Callable[[Shared], tuple[int, int]],
) -> None:
    mark = shared.device.mark()
    with stalled(shared):
        unit = how(shared)
        took = shared.until(unit)
        record_property("seconds", f"{took or 3 * BOUND:.1f}")
        # An event that comes after it is not stuck behind it.
        add(shared, 10 + unit[0], 2)
        took_next = shared.until((10 + unit[0], 2))
        record_property("the next one", "never" if took_next is None else f"{took_next:.1f} s")
        functions = {line["name"] for line in shared.device.since(mark, "tmf")}
        assert took is not None and took < BOUND, "the guest does not see the unit in time"
        assert took_next is not None and took_next < BOUND, "the guest does not see the next one in time"
        assert not functions - {"query_task"}, f"functions that act: {functions}"
