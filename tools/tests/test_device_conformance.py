# SPDX-License-Identifier: GPL-2.0
"""The driver keeps to the specification in all of its life, as the device sees it.

tools/device/src/conformance.rs has the rules, and shows that the device notices when one is broken.
"""

from collections.abc import Callable

import pytest

from guest import QemuGuest, fio
from guest.device import DOORS, TestDevice
from support.boots import OURS
from support.known_lines import OUR_DRIVER, UNIT

pytestmark = [pytest.mark.device, pytest.mark.compare]


UNITS = [
    {"size": "16M", "thin": True},
    {"lun": 1, "size": "8M", "block_size": 4096},
    {"target": 3, "lun": 300, "size": "8M"},
    {"target": 5, "kind": "cdrom", "size": "2M"},
]
LISTED = "ls -d /sys/bus/scsi/devices/*:0:*/block/* | wc -l"


@pytest.mark.parametrize("door", DOORS)
def test_a_whole_life_keeps_to_the_rules(
    door: str, serve: Callable[..., TestDevice], boot: Callable[..., QemuGuest]
) -> None:
    """Probe, scan, I/O, task management, events, reset, unbind and bind, unload."""
    device = serve({"device": {"async_events": 16}, "unit": UNITS})
    guest = boot(**device.door(door), parameters="recovery_step=1", allow=(OUR_DRIVER, UNIT))
    guest.wait_until(f"test $({LISTED}) -eq {len(UNITS)}")
    disk = guest.out("ls /sys/bus/scsi/devices/*:0:0:0/block")
    for number in range(3):
        node = guest.out(f"ls /sys/bus/scsi/devices/*:0:*/block | grep ^sd | sed -n {number + 1}p")
        fio.write_verified(guest, f"/dev/{node}", size="1M", iodepth=64, bsrange="4k-256k")
    guest.run(
        f"blkdiscard -o 0 -l 1048576 /dev/{disk}; sg_unmap --force --lba=0 --num=8 /dev/{disk}", check=True
    )
    guest.run("dd if=/dev/sr0 of=/dev/null bs=2k", check=True)

    # A command that hangs goes up the ladder, and others are reset by hand.
    guest.run(f"echo 2 >/sys/block/{disk}/device/timeout", check=True)
    if OURS:
        device.rule("denied", {"on": "tmf", "subtype": "query_task"}, response="ok")
        device.rule("held", {"opcode": "READ_10", "times": 2}, hold="x")
        guest.run(f"dd if=/dev/{disk} of=/dev/null bs=64k count=4 iflag=direct", check=True)
        device("remove_rule", name="held")
        device("remove_rule", name="denied")
    resets = "dtbH" if OURS else "d"
    for how in resets:
        guest.run(f"sg_reset -{how} /dev/{disk}", check=True)
    done = {line["name"] for line in device.lines("tmf")}
    assert done >= (
        {"abort_task", "logical_unit_reset", "i_t_nexus_reset"} if OURS else {"logical_unit_reset"}
    )

    device("add_unit", unit={"target": 7, "lun": 2, "size": "4M"})
    guest.wait_until("ls -d /sys/bus/scsi/devices/*:0:7:2")
    device("resize", blocks=16384)
    guest.wait_until(f"test $(blockdev --getsz /dev/{disk}) = 16384")
    device("event", event=0, missed=True, wait=True)
    device("remove_unit", target=7, lun=2)
    guest.wait_until("! ls -d /sys/bus/scsi/devices/*:0:7:2")

    name = guest.out("basename $(readlink -f /sys/class/scsi_host/host*/device/..)")
    for how in ("unbind", "bind"):
        guest.run(f"echo {name} >{guest.driver.sysfs}/{how}", check=True)
    guest.wait_until(f"test $({LISTED}) -eq {len(UNITS)}")
    guest.wait_until(f"rmmod {guest.driver.name}")
    assert device.lines("violation") == []
    # The kernel's memory has addresses in the upper half of 64 bits, which the C driver tells the device.
    addresses = [line["tag"] for line in device.lines("request") + device.lines("tmf") if line["tag"] >> 63]
    assert bool(addresses) == (not OURS)
    # It really was looked at.
    kinds = {line["ev"] for line in device.lines()}
    assert {"request", "tmf", "event_buffer", "event", "queue_start", "queue_stop"} <= kinds
    assert not device("waiting")["waiting"]
