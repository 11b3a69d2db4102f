# SPDX-License-Identifier: GPL-2.0
"""All data goes through a bounce pool that is too small, as it may be in a confidential guest.

A pool that is full is no fault of the device's: what finds no place is tried again. What can never find
one is not sent, or ends.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, sysfs
from support.boots import OURS, Boots
from support.known_lines import OUR_DRIVER

pytestmark = [pytest.mark.main, pytest.mark.compare]


Record = Callable[[str, Any], None]
RINGS = {"split": {}, "packed": {"packed": True}}
# What the kernel and the driver say of a pool that is full.
FULL = [r"swiotlb buffer is full", OUR_DRIVER]
# And of a request that has no place at all.
NO_PLACE = [r"I/O error, dev sd"]
JOBS = 4
MIXED = {
    "ioengine": "libaio",
    "rw": "randwrite",
    "bs": "64k",
    "iodepth": 64,
    "numjobs": JOBS,
    "size": "6m",
    "offset_increment": "8m",
    "direct": 1,
    "loops": 2,
    "verify": "crc32c",
    "verify_fatal": 1,
    "do_verify": 1,
    "group_reporting": True,
}
# Seconds after which a request that fits nowhere has ended.
BOUND = 90


def start(boot: Boots, disks: list[Disk], ring: str, slots: int, allow: list[str]) -> QemuGuest:
    """`slots` of 2 KiB each are the pool."""
    properties = {"num_queues": 2, "iommu_platform": True, "disable-legacy": "on", **RINGS[ring]}
    return boot(
        [Controller(disks, properties)],
        append=f"swiotlb={slots},1,force hung_task_panic=0",
        allow=allow,
    )


def pool(guest: QemuGuest, what: str) -> int:
    return int(guest.out(f"cat /sys/kernel/debug/swiotlb/io_tlb_{what}"))


@pytest.mark.parametrize("ring", RINGS)
def test_requests_wait_while_the_pool_is_full(
    boot: Boots, scratch: Path, record_property: Record, ring: str
) -> None:
    """Requests for sixteen times the pool's size are in flight at once."""
    disk = Disk(0, 0, 64 * MEGABYTE, scratch / "disk.img")
    guest = start(boot, [disk], ring, 512, FULL)
    job = fio.Job.of(guest.run(fio.command(guest.node(disk), **MIXED), timeout=240))
    record_property("seconds", f"{job.result.seconds:.1f}")
    record_property("error", job.error)
    said = guest.out("dmesg | grep -c 'swiotlb buffer is full' || :")
    record_property("the log says full", f"{said} times")
    assert said != "0", "the pool was never full"
    assert job.error == 0 and job.result.rc == 0, job.said
    assert job.writes == JOBS * 2 * 6 * MEGABYTE // 65536
    if OURS:
        counters = sysfs.counters(guest)
        assert counters["failures"] == 0 and counters["device_resets"] == 0, counters


@pytest.mark.parametrize("ring", RINGS)
def test_a_request_larger_than_the_pool_is_split_or_ends(
    boot: Boots, scratch: Path, record_property: Record, ring: str
) -> None:
    """It is made smaller, or ends with an error in time; another disk works, and all can be ended."""
    disks = [Disk(0, lun, 64 * MEGABYTE, scratch / f"lun{lun}.img") for lun in (0, 1)]
    guest = start(boot, disks, ring, 128, [*FULL, *NO_PLACE])
    size = pool(guest, "nslabs") * 2048
    assert size < 512 * 1024, "the request fits"
    # As large as the driver lets them be, where the block layer would make smaller ones of its own.
    guest.run(
        f"cd /sys/block/{guest.node(disks[0])[5:]}/queue; cat max_hw_sectors_kb >max_sectors_kb", check=True
    )
    largest = sysfs.queue_limit(guest, disks[0], "max_sectors_kb") * 1024
    record_property("largest request", f"{largest} bytes, pool {size} bytes")
    dd = "dd of=/dev/null iflag=direct"
    large = guest.spawn(f"{dd} if={guest.node(disks[0])} bs=512k count=8")
    small = guest.spawn(f"{dd} if={guest.node(disks[1])} bs=4k count=500")
    began = time.monotonic()
    while not (large.done() and small.done()) and time.monotonic() < began + BOUND:
        time.sleep(0.2)
    record_property("seconds", f"{time.monotonic() - began:.1f}")
    small_ended, large_ended = small.done(), large.done()
    if not large_ended:
        large.kill()
    assert small_ended, "another disk's reads do not end"
    assert small.wait(1).rc == 0, small.wait(1).stderr
    assert large_ended, f"the large request is not done after {BOUND} s"
    record_property("large request", "done" if large.wait(1).rc == 0 else "error")
    assert large.wait(1).rc == 0 or largest > size, large.wait(1).stderr
    for disk in disks:
        guest.run(f"{dd} if={guest.node(disk)} bs=4k count=4", timeout=30, check=True)
    if OURS:
        counters = sysfs.counters(guest)
        assert counters["failures"] == 0 and counters["device_resets"] == 0, counters
    guest.run(f"timeout -s KILL 30 rmmod {guest.driver.name}", timeout=40, check=True)
