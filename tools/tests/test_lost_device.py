# SPDX-License-Identifier: GPL-2.0
"""Devices that are pulled out without notice: no task waits for an answer that never comes."""

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import Controller, Disk, QemuGuest, fio, paths, sysfs
from guest.device import TestDevice
from guest.qemu import NATIVE_HOTPLUG
from support.boots import Boots, unplugs
from support.known_lines import GOING, OUR_DRIVER
from support.machines import root_port
from support.workloads import RANDOM_READS, nobody_is_stuck

pytestmark = [pytest.mark.main, pytest.mark.x86]


# Offsets and bits of include/uapi/linux/pci_regs.h.
CAPABILITY_LIST, EXPRESS, SLOT_CONTROL = 0x34, 0x10, 0x18
INTERRUPT, INDICATOR_OFF, POWER_OFF = 0x20, 0x300, 0x400


def pull_out(guest: QemuGuest) -> None:
    """Takes the power from the slot behind the kernel's back.

    The slot says nothing of it before the power is on again: the kernel believes that it has nothing to do
    with a slot that it finds without power.
    """
    host = guest.host("scsi0")
    port = guest.out(f"readlink -f /sys/class/scsi_host/host{host}/device/../../..")
    config = guest.pull(f"{port}/config")
    at = config[CAPABILITY_LIST]
    while config[at] != EXPRESS:
        at = config[at + 1]
        assert at, "the port has no PCI Express capability"
    at += SLOT_CONTROL
    (control,) = struct.unpack_from("<H", config, at)
    off = (control | INDICATOR_OFF | POWER_OFF) & ~INTERRUPT
    writes = "; ".join(
        f"printf '\\x{value & 255:02x}\\x{value >> 8:02x}' | dd of={port}/config bs=2 seek={at // 2}"
        for value in (off, control)
    )
    with guest.qmp.listen("DEVICE_DELETED") as events:
        guest.run(writes, check=True)
        events.wait(20, lambda event: event["data"].get("device") == "scsi0")


@unplugs
@pytest.mark.parametrize("depth", [1, 64])
def test_surprise_removal_ends_io_at_once(boot: Boots, scratch: Path, depth: int) -> None:
    """Commands in flight end at once, and so does the removal; another device does not notice."""
    controllers = [
        Controller([Disk(0, 0), Disk(0, 1)], {"bus": "port0"}),
        Controller([Disk(0, 0, 8 << 20, scratch / "disk.img")], {"bus": "port1"}, id="scsi1"),
    ]
    guest = boot(
        controllers, devices=[root_port(number) for number in range(2)], args=NATIVE_HOTPLUG, allow=GOING
    )
    jobs = [
        guest.spawn(fio.command(guest.node(disk), iodepth=depth, **RANDOM_READS)) for disk in guest.disks[:2]
    ]
    guest.wait_until("test $(awk '{ print $1 }' /sys/block/sda/stat) -gt 50")
    began = time.monotonic()
    pull_out(guest)
    for job in jobs:
        assert job.wait(30).rc != 0
    guest.wait_until("test $(lsscsi | wc -l) -eq 1", 30)
    nobody_is_stuck(guest, 30)
    # The ladder, and the time that an unplugged controller gets to finish, are longer.
    assert time.monotonic() - began < 8 * paths.SLOWNESS
    fio.write_verified(guest, guest.out("ls -d /dev/sd*"), size="1M")
    guest.unload()


def test_unbinding_from_a_silent_device_takes_one_step(serve: Callable[..., TestDevice], boot: Boots) -> None:
    """Looking for changes sends commands to each logical unit, none of which is answered any more."""
    device = serve({"unit": [{"lun": lun} for lun in range(4)]})
    guest = boot(**device.door("scsi"), parameters="recovery_step=4", allow=[*GOING, OUR_DRIVER])
    guest.wait_until("test $(ls -d /sys/block/sd* | wc -l) -eq 4")
    name = guest.out("basename $(readlink -f /sys/class/scsi_host/host*/device/..)")
    device.rule("functions", {"on": "tmf"}, drop=True)
    device.rule("commands", {}, drop=True)
    device("event", event=0, missed=True)
    device.wait_for(lambda: device.lines("wait", rule="commands"), why="commands in flight")
    took = guest.run(f"echo {name} >{guest.driver.sysfs}/unbind", timeout=90, check=True).seconds
    # The time of one step, and not that of a ladder for each command.
    assert took < 4 + 5 * paths.SLOWNESS, took
    guest.unload()


def test_recovery_ends_within_its_bound(serve: Callable[..., TestDevice], boot: Boots) -> None:
    """A device falls silent with many commands in flight: all are back when docs/operations.md says so."""
    step, timeout, depth = 2, 3, 32
    device = serve({"unit": [{"size": "8M"}, {"lun": 1, "size": "8M"}]})
    guest = boot(**device.door("scsi"), parameters=f"recovery_step={step}", allow=[*GOING, OUR_DRIVER])
    guest.wait_until("test $(ls -d /sys/block/sd* | wc -l) -eq 2")
    guest.run(f"for f in /sys/block/sd*/device/timeout; do echo {timeout} >$f; done", check=True)
    device.rule("commands", {"opcode": "READ_10", "times": 2 * depth}, drop=True)
    device.rule("functions", {"on": "tmf"}, drop=True)
    read = {
        "rw": "read",
        "bs": "4k",
        "ioengine": "libaio",
        "direct": 1,
        "iodepth": depth,
        "number_ios": depth,
    }
    mark = device.mark()
    jobs = [guest.spawn(fio.command(sysfs.unit_node(guest, 0, lun), **read)) for lun in (0, 1)]
    for job in jobs:
        assert fio.Job.of(job.wait(60, check=True)).error == 0
    lost = device.since(mark, "wait", rule="commands")
    assert len(lost) == 2 * depth
    took = device.since(mark, "queue_start")[-1]["t"] - lost[0]["t"]
    # Its time-out, of which the block layer makes up to two seconds more, and what docs/operations.md says.
    bound = timeout + 2 + 1 + 3 * step
    # An emulated reset takes its time.
    assert bound - 3 < took < bound + paths.SLOWNESS, took
