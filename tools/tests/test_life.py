# SPDX-License-Identifier: GPL-2.0
"""The life of a device behind QEMU's PCI: resets of its function and suspend that go wrong, or that find the
driver resetting it. test_uml_life has the rest."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, sysfs
from guest.device import TestDevice
from guest.faults import TransportFaults
from support.boots import Boots
from support.known_lines import MISBEHAVING
from support.machines import S3, root_port

pytestmark = pytest.mark.main


ALLOW = [
    *MISBEHAVING,
    r"virtio-pci \S+: (virtio_reset_device|.*reset)",
    r"PM: .*(failed|error)",
    r"virtio-pci \S+: PM: ",
    r"device refuses features",
]
# Seconds.
SOON = 10
# How long a resumed system may take to set a device up, and how long a reset of its function may take.
BACK, FUNCTION = 5, 90


def pci(guest: QemuGuest) -> str:
    return guest.out("readlink -f /sys/class/scsi_host/host*/device/../..")


@pytest.fixture
def guest(boot: Boots) -> QemuGuest:
    controller = Controller([Disk(0, 0), Disk(0, 1)], {"bus": "port0"})
    return boot([controller], devices=[root_port()], allow=ALLOW, parameters="recovery_step=2")


def read(guest: QemuGuest) -> str:
    return f"dd if={guest.node(guest.disks[0])} of=/dev/null bs=4k count=1 iflag=direct"


def test_a_function_reset_waits_for_a_reset_by_the_driver(guest: QemuGuest) -> None:
    """Neither gets in the way of the other: the device works after both. (L18)"""
    name = sysfs.virtio_name(guest)
    with TransportFaults(guest, name, slow_reset_ms=2000):
        ours = guest.spawn(f"sg_reset -H {guest.node(guest.disks[0], 'scsi_generic')}")
        time.sleep(1)
        began = time.monotonic()
        guest.run(f"echo 1 >{pci(guest)}/reset", timeout=60, check=True)
        assert time.monotonic() - began > 2
        assert ours.wait(60).rc == 0
    guest.run(read(guest), timeout=SOON, check=True)
    said = guest.dmesg()
    assert "given up" not in said
    assert "reset_prepare failed" not in said and "failed to disable" not in said


@pytest.mark.parametrize("end", ["unbinding", *(["time"] if os.environ.get("LONG") else [])])
def test_a_device_that_is_not_back_from_a_function_reset_ends_its_commands(
    guest: QemuGuest, end: str
) -> None:
    """The virtio core does not call the driver back. Nobody waits for it for ever. (H2)"""
    name = sysfs.virtio_name(guest)
    with TransportFaults(guest, name, fail_finalize=1) as faults:
        guest.run(f"echo 1 >{pci(guest)}/reset", timeout=60)
        assert faults.get("fail_finalize") == 0, "the negotiation did not fail"
        job = guest.spawn(read(guest))
        if end == "time":
            assert job.wait(FUNCTION + SOON).rc != 0
        began = time.monotonic()
        guest.run(f"echo {name} >{guest.driver.sysfs}/unbind", timeout=60, check=True)
        assert time.monotonic() - began < SOON
        assert job.wait(SOON).rc != 0
        guest.run(f"echo {name} >{guest.driver.sysfs}/bind", timeout=60, check=True)
    guest.settle()
    guest.run(read(guest), timeout=SOON, check=True)


def slept(guest: QemuGuest, then: str) -> list[str]:
    """Suspends the guest to memory, wakes it, and runs commands, whose output is returned. The guest's agent
    does not survive that, so it comes over the console."""
    guest.agent_may_be_lost()
    guest.spawn(
        f"echo mem >/sys/power/state; {{ {then}; dmesg -r | tail -n 40; echo all-said; }} >/dev/ttyS0 2>&1"
    )
    deadline = time.monotonic() + 180
    before = len(guest.console_log)
    while "all-said" not in guest.console_log[before:]:
        assert time.monotonic() < deadline, guest.console_log[-3000:]
        if guest.qmp("query-status")["status"] == "suspended":
            guest.qmp("system_wakeup")
        time.sleep(0.2)
    return guest.console_log[before:].splitlines()


def test_a_device_that_is_not_back_from_suspend_is_given_up(boot: Boots) -> None:
    """It is given up soon after tasks run again: commands end with an error, and it can be unbound. (H2)"""
    guest = boot([Controller([Disk(0, 0)])], allow=ALLOW, **S3)
    name = sysfs.virtio_name(guest)
    node = guest.node(guest.disks[0])
    # It stays, as nobody can take it away after that.
    faults = TransportFaults(guest, name).__enter__()
    faults.set("fail_finalize", 1)
    said = slept(
        guest,
        f"date +begin-%s; timeout -s KILL 60 dd if={node} of=/dev/null bs=4k count=1 iflag=direct && "
        f"echo read; date +end-%s; "
        f"timeout -s KILL 60 sh -c 'echo {name} >{guest.driver.sysfs}/unbind' && echo unbound",
    )
    stamps = {k: int(v) for k, _, v in (line.partition("-") for line in said) if k in ("begin", "end")}
    assert stamps["end"] - stamps["begin"] < BACK + SOON
    assert "read" not in said and "unbound" in said, said
    assert any("did not come back from suspend" in line for line in said), said


def test_disks_work_after_a_ring_broke_on_the_way_to_suspend(
    serve: Callable[..., TestDevice], boot: Boots
) -> None:
    """SYNCHRONIZE CACHE of one disk breaks it after all tasks were stopped, and that of the other is sent
    once the device was reset for it. (M12)"""
    device = serve({"unit": [{"lun": lun, "size": "16M", "write_cache": True} for lun in (0, 1)]})
    door = device.door("scsi")
    guest = boot(**{**door, "args": [*door["args"], *S3["args"]]}, append=S3["append"], allow=ALLOW)
    sysfs.wait_for_units(guest, 2)
    for lun in (0, 1):
        guest.run(
            f"dd if=/dev/zero of={sysfs.unit_node(guest, 0, lun)} bs=4k count=1 oflag=direct", check=True
        )
    device.rule("twice", {"opcode": "SYNCHRONIZE_CACHE_10", "times": 1}, repeat=2)
    node = sysfs.unit_node(guest, 0, 1)
    said = slept(
        guest, f"timeout -s KILL 60 dd if={node} of=/dev/null bs=4k count=1 iflag=direct && echo read"
    )
    assert device.lines("answer", rule="twice"), "the ring did not break"
    assert "read" in said, said


def test_much_at_a_time_is_left_to_softirq_context(boot: Boots, scratch: Path) -> None:
    """An interrupt does a bounded part of what others let the device use meanwhile. (M7)"""
    disk = Disk(0, 0, 64 * MEGABYTE)
    guest = boot([Controller([disk], {"num_queues": 1})], smp=4)
    options = {
        "rw": "randread",
        "bs": "4k",
        "ioengine": "libaio",
        "direct": 1,
        "time_based": True,
        "runtime": 8,
    }
    command = fio.command(guest.node(disk), iodepth=32, numjobs=4, **options)
    # It takes a device that runs while the interrupt does, which is rare on a machine that is busy.
    for _ in range(6):
        job = guest.run(command, timeout=60, check=True)
        assert fio.Job.of(job).error == 0
        if sysfs.counters(guest)["continued"] > 0:
            return
    raise AssertionError("nothing was left to softirq context")
