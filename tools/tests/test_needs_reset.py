# SPDX-License-Identifier: GPL-2.0
"""A device that asks to be reset (DEVICE_NEEDS_RESET), which QEMU's own does when a ring makes no sense.

Some of the guest's memory is spoilt from outside: the descriptors of the event buffers get the length 0. The
next event has QEMU look at them, set the bit, and do nothing more until it is reset.
"""

import mmap
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from guest import Controller, Disk, QemuGuest, fio, sysfs
from support.boots import Boots
from support.known_lines import TWO_SCANS
from support.workloads import VERIFIED

pytestmark = [pytest.mark.main, pytest.mark.x86]


MEMORY = 1024
EVENTQ = 1
DEVICE = "/machine/peripheral/scsi0/virtio-backend"
SAID = "the device does not work: resetting it"
# A descriptor: address, length, flags, next.
DESCRIPTOR = struct.Struct("<QIHH")


@dataclass
class Bench:
    guest: QemuGuest
    memory: mmap.mmap
    size: int = 0

    @property
    def disk(self) -> Disk:
        return self.guest.disks[0]

    def queue(self) -> dict[str, int]:
        return dict(self.guest.qmp("x-query-virtio-queue-status", {"path": DEVICE, "queue": EVENTQ}))

    def spoil(self) -> None:
        """Has the device ask for a reset, now. The memory is that of the rings that are there now."""
        queue = self.queue()
        for index in range(queue["vring-num"]):
            at = queue["vring-desc"] + index * DESCRIPTOR.size
            address, _, flags, following = DESCRIPTOR.unpack_from(self.memory, at)
            DESCRIPTOR.pack_into(self.memory, at, address, 0, flags, following)
        # Any event will do: the other disk grows a little.
        self.size += 1 << 20
        other = self.guest.disks[1]
        self.guest.qmp("block_resize", {"node-name": other.node, "size": other.size + self.size})

    def healed(self) -> bool:
        """Whether the rings are new, which takes a reset."""
        ring = self.queue()["vring-desc"]
        return ring != 0 and DESCRIPTOR.unpack_from(self.memory, ring)[1] != 0

    def heals(self) -> None:
        """The device that has asked is reset, and works."""
        deadline = time.monotonic() + 20
        while not self.healed():
            assert time.monotonic() < deadline, "the device was not reset"
            time.sleep(0.02)
        fio.write_verified(self.guest, self.guest.node(self.disk), size="1M", offset="24M")


@pytest.fixture(scope="module")
def bench(boot_shared: Boots, scratch_shared: Path) -> Iterator[Bench]:
    file = scratch_shared / "memory"
    backend = f"memory-backend-file,id=ram,size={MEMORY}M,mem-path={file},share=on"
    disks = [Disk(0, 0, 32 << 20, scratch_shared / "a.img"), Disk(0, 1, 8 << 20, scratch_shared / "b.img")]
    guest = boot_shared(
        [Controller(disks)],
        memory=MEMORY,
        args=("-object", backend, "-machine", "memory-backend=ram"),
        allow=[TWO_SCANS],
    )
    with open(file, "r+b") as opened, mmap.mmap(opened.fileno(), 0) as memory:
        yield Bench(guest, memory)


def test_an_idle_device_is_reset(bench: Bench) -> None:
    bench.spoil()
    bench.heals()
    assert SAID in bench.guest.dmesg()


def test_a_reset_under_io_loses_no_data(bench: Bench) -> None:
    """Commands in flight are tried again, and no data is lost."""
    job = bench.guest.spawn(fio.command(bench.guest.node(bench.disk), **{**VERIFIED, "loops": 2}))
    for _ in range(3):
        bench.spoil()
        bench.heals()
    assert fio.Job.of(job.wait(180, check=True)).error == 0


@pytest.mark.parametrize(
    "activity",
    [
        "echo - - - >/sys/class/scsi_host/host0/scan",
        "sg_reset -d {sg}",
        "sg_reset -H {sg}",
        "echo 1 >/sys/block/{disk}/device/rescan",
    ],
    ids=["scan", "function", "reset", "revalidation"],
)
def test_a_device_that_asks_meanwhile_is_reset(bench: Bench, activity: str) -> None:
    """Whatever the driver and the midlayer are about to do."""
    guest = bench.guest
    node, sg = guest.node(bench.disk), guest.node(bench.disk, "scsi_generic")
    once = activity.format(sg=sg, disk=node.rpartition("/")[2])
    guest.run("rm -f /tmp/stop", check=True)
    busy = guest.spawn(f"n=0; until test -e /tmp/stop; do {once} && n=$((n + 1)); done; echo did-$n")
    for _ in range(3):
        bench.spoil()
        bench.heals()
    assert not busy.done()
    guest.run("touch /tmp/stop", check=True)
    assert int(busy.wait(90).stdout.rpartition("did-")[2]) > 3


def test_a_device_that_asks_at_removal_works_when_it_is_back(bench: Bench) -> None:
    """The driver may be gone before it has healed the device, which then is healed when it comes back."""
    guest = bench.guest
    name = guest.out(f"basename {guest.driver.sysfs}/virtio*")
    for pause in (0, 0.01, 0.1):
        bench.spoil()
        time.sleep(pause)
        guest.run(f"echo {name} >{guest.driver.sysfs}/unbind", timeout=60, check=True)
        guest.run(f"echo {name} >{guest.driver.sysfs}/bind", timeout=60, check=True)
        guest.settle()
        fio.write_verified(guest, guest.node(bench.disk), size="1M")


def test_a_device_that_asks_at_probe_is_reset(bench: Bench) -> None:
    """A device that asks for it as soon as it is bound."""
    guest = bench.guest
    name = guest.out(f"basename {guest.driver.sysfs}/virtio*")
    for _ in range(3):
        guest.run(f"echo {name} >{guest.driver.sysfs}/unbind", timeout=60, check=True)
        guest.run(f"echo {name} >{guest.driver.sysfs}/bind", timeout=60, check=True)
        bench.spoil()
        guest.settle()
        bench.heals()


def test_a_device_that_asks_without_end_is_reset_once_in_a_second(bench: Bench) -> None:
    """So the guest has its processors for itself, and when the device has calmed down, all is as before."""
    guest = bench.guest
    before = sysfs.counters(guest)["device_resets"]
    began = time.monotonic()
    asked = 0
    while time.monotonic() < began + 12:
        if bench.healed():
            bench.spoil()
            asked += 1
        time.sleep(0.01)
    bench.heals()
    resets = sysfs.counters(guest)["device_resets"] - before
    assert asked > 3
    assert asked <= resets <= time.monotonic() - began + 1
