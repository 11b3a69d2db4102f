# SPDX-License-Identifier: GPL-2.0
"""Very many logical units that come and go by events, as fast as the device can send them.

`make compare` does it with a thousand, `make test` with fewer. LONG=1 in the environment asks for the
thousand, too.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from guest import QemuGuest, sysfs
from guest.device import TestDevice
from support.boots import Boots
from support.known_lines import COMES_AND_GOES, OUR_DRIVER

pytestmark = [pytest.mark.main, pytest.mark.compare]


TARGETS = 4
COUNT = 1000 if os.environ.get("LONG") else 160
# Events before those that find no buffer.
HEARD = COUNT * 3 // 4
# Seconds for each of them, on a machine that is emulated and busy.
EACH = 0.4
# What the midlayer says of a target of which it did not get all units.
UNANSWERED = r"scsi .*: Unexpected response from lun \d+ while scanning"


def expect(guest: QemuGuest, wanted: set[tuple[int, int]]) -> None:
    deadline = time.monotonic() + 30 + EACH * COUNT
    while (seen := sysfs.units(guest)) != wanted:
        if time.monotonic() > deadline:
            missing, left = wanted - seen, seen - wanted
            raise AssertionError(f"{len(missing)} units are missing, {len(left)} are left over")
        time.sleep(0.2)


def test_no_unit_is_missing_or_left_over(
    serve: Callable[..., TestDevice], boot: Boots, record_property: Callable[[str, Any], None]
) -> None:
    """No unit is missing in the end, and none is left, though a quarter of the events finds no buffer; of the
    others, too, as many as the guest is slower than the device."""
    device = serve({"unit": [{"size": "1M"}]})
    guest = boot(**device.door("test", memory=2048), allow=COMES_AND_GOES)
    expect(guest, {(0, 0)})
    many = {(number % TARGETS, 1 + number // TARGETS) for number in range(COUNT)}

    def timed(what: str, change: Callable[[int, int], Any], wanted: set[tuple[int, int]]) -> float:
        missed = device("stats")["stats"]["events_missed"]
        began = time.monotonic()
        for number, (target, lun) in enumerate(sorted(many)):
            if number == HEARD:
                device("eventq", consume=False)
            change(target, lun)
        device("eventq", consume=True)
        sent = time.monotonic() - began
        expect(guest, wanted)
        took = time.monotonic() - began
        missed = device("stats")["stats"]["events_missed"] - missed
        print(f"{COUNT} units {what}: sent in {sent:.1f} s, {missed} events missed, done in {took:.1f} s")
        assert missed >= COUNT - HEARD
        record_property(what, f"in {took:.1f} s")
        return took

    began = time.monotonic()
    try:
        timed(
            "added",
            lambda target, lun: device("add_unit", unit={"target": target, "lun": lun, "size": "1M"}),
            {(0, 0)} | many,
        )
        timed("removed", lambda target, lun: device("remove_unit", target=target, lun=lun), {(0, 0)})
    finally:
        record_property("seconds", f"{time.monotonic() - began:.1f}")
    guest.run("dd if=/dev/sda of=/dev/null bs=64k count=4 iflag=direct", check=True)
    assert device.lines("violation") == []


@pytest.mark.ours("is about a parameter of our module")
def test_units_beyond_the_limit_are_left_out(serve: Callable[..., TestDevice], boot: Boots) -> None:
    """They are found when there is room for them again, and those that are served work meanwhile."""
    most = 4
    device = serve({"unit": [{"lun": lun, "size": "1M"} for lun in range(most + 2)]})
    guest = boot(
        **device.door("test"), parameters=f"max_units={most}", allow=(OUR_DRIVER, *COMES_AND_GOES, UNANSWERED)
    )
    first = {(0, lun) for lun in range(most)}
    expect(guest, first)
    said = f"target 0 lun {most}: left out, as the device has {most} logical units (max_units)"
    assert said in guest.dmesg()
    assert sysfs.counters(guest)["units_left_out"] > 0

    # Nor are they found by other ways.
    device("add_unit", unit={"target": 3, "size": "1M"})
    device("event", event=0, missed=True, wait=True)
    guest.run("echo '- - -' >/sys/class/scsi_host/host*/scan", timeout=60, check=True)
    device.wait_for(lambda: sysfs.counters(guest)["missed_events"] > 0, 30, "the event was not handled")
    assert sysfs.units(guest) == first
    for target, lun in first:
        node = sysfs.unit_node(guest, target, lun)
        guest.run(f"dd if={node} of=/dev/null bs=64k iflag=direct", check=True)

    for lun in (1, 2):
        device("remove_unit", target=0, lun=lun)
    expect(guest, {(0, 0), (0, 3)})
    guest.run("echo '- - -' >/sys/class/scsi_host/host*/scan", timeout=60, check=True)
    expect(guest, {(0, 0), (0, 3), (0, 4), (0, 5)})
