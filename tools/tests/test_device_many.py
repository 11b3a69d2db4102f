# SPDX-License-Identifier: GPL-2.0
"""Very many logical units that come and go by events, as fast as the device can send them.

`make compare` does it with a thousand, `make test` with fewer. LONG=1 in the environment asks for the
thousand, too.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from conftest import Boots
from guest import Guest, sysfs
from guest.device import TestDevice

TARGETS = 4
COUNT = 1000 if os.environ.get("LONG") else 160
# Events before those that find no buffer.
HEARD = COUNT * 3 // 4
# Seconds for each of them, on a machine that is emulated and busy.
EACH = 0.4

# What is said of units that go while they are looked at.
GOING = (r"I/O error,? (on )?dev sd", r"(sd|scsi) \d+:\d+:\d+:\d+: .*", r"device offline error")


def expect(guest: Guest, wanted: set[tuple[int, int]]) -> None:
    deadline = time.monotonic() + 30 + EACH * COUNT
    while (seen := sysfs.units(guest)) != wanted:
        if time.monotonic() > deadline:
            missing, left = wanted - seen, seen - wanted
            raise AssertionError(f"{len(missing)} units are missing, {len(left)} are left over")
        time.sleep(0.2)


def test_units_added_and_removed_by_events(
    serve: Callable[..., TestDevice], boot: Boots, record_property: Callable[[str, Any], None]
) -> None:
    """No unit is missing in the end, and none is left, though a quarter of the events finds no buffer; of the
    others, too, as many as the guest is slower than the device."""
    device = serve({"unit": [{"size": "1M"}]})
    guest = boot(**device.door("test", memory=2048), allow=GOING)
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
