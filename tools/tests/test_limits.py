# SPDX-License-Identifier: GPL-2.0
"""Limits that the device sets are kept, and are those that the kernel's own driver makes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guest import Controller, Disk, Guest, fio, sysfs

MEGABYTE = 1 << 20
HOST = "cmd_per_lun can_queue sg_tablesize nr_hw_queues sg_prot_tablesize unique_id".split()
QUEUE = "max_hw_sectors_kb max_segments max_segment_size nr_requests dma_alignment virt_boundary_mask".split()

OFFERS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "cmd_per_lun": {"cmd_per_lun": 7},
    "max_sectors": {"max_sectors": 128},
    "num_queues": {"num_queues": 16},
    "size": {"virtqueue_size": 64},
    "seg_max": {"virtqueue_size": 512, "seg_max_adjust": False},
}


def controllers(folder: Path) -> list[Controller]:
    return [
        Controller([Disk(0, 0, 16 * MEGABYTE, folder / f"{name}.img")], {"num_queues": 2, **props}, id=name)
        for name, props in OFFERS.items()
    ]


@pytest.fixture(scope="module")
def guest(boot_shared: Callable[..., Guest], scratch_shared: Path) -> Guest:
    return boot_shared(controllers(scratch_shared))


def disk(guest: Guest, name: str) -> Disk:
    return next(each for each in guest.disks if each.bus == name)


def limits(guest: Guest) -> dict[str, dict[str, str]]:
    """All limits of each controller and its disk."""
    found = {}
    for each in guest.disks:
        host = f"/sys/class/scsi_host/host{guest.host(each.bus)}"
        queue = f"/sys/block/{guest.node(each).removeprefix('/dev/')}/queue"
        values = guest.out(
            f"cd {host} && cat {' '.join(HOST)} && cd {queue} && cat {' '.join(QUEUE)}"
        ).split()
        found[each.bus] = dict(zip([*HOST, *QUEUE], values, strict=True))
        found[each.bus]["queue_depth"] = sysfs.device_attribute(guest, each, "queue_depth")
    return found


def test_cmd_per_lun(guest: Guest) -> None:
    assert sysfs.host_limit(guest, "cmd_per_lun", "cmd_per_lun") == 7
    assert sysfs.device_attribute(guest, disk(guest, "cmd_per_lun"), "queue_depth") == "7"
    fio.write_verified(guest, guest.node(disk(guest, "cmd_per_lun")), size="4M")


def test_max_sectors(guest: Guest) -> None:
    """128 sectors are 64 KiB, so a megabyte takes 16 commands."""
    small = disk(guest, "max_sectors")

    def writes() -> int:
        stats = guest.qmp("query-blockstats")
        return next(s["stats"]["wr_operations"] for s in stats if s.get("node-name") == small.node)

    assert sysfs.queue_limit(guest, small, "max_hw_sectors_kb") == 64
    before = writes()
    guest.run(f"dd if=/dev/zero of={guest.node(small)} bs=1M count=1 oflag=direct", check=True)
    assert writes() - before == 16
    fio.write_verified(guest, guest.node(small), size="4M")


def test_more_queues_than_cpus(guest: Guest) -> None:
    assert sysfs.host_limit(guest, "nr_hw_queues", "num_queues") == 2
    fio.write_verified(guest, guest.node(disk(guest, "num_queues")), size="4M")


@pytest.mark.parametrize(("name", "segments"), [("defaults", 254), ("size", 62), ("seg_max", 126)])
def test_segments(guest: Guest, name: str, segments: int) -> None:
    """With seg_max_adjust off QEMU says 126, whatever the queue could hold."""
    assert sysfs.host_limit(guest, "sg_tablesize", name) == segments
    assert sysfs.queue_limit(guest, disk(guest, name), "max_segments") == segments


@pytest.mark.parametrize(("asked", "given"), [(5, 5), (1, 1), (129, 128), (64, 64), (256, 128), (128, 128)])
def test_change_of_queue_depth(guest: Guest, asked: int, given: int) -> None:
    """Through sysfs; more than the device takes is brought down to that."""
    each = disk(guest, "defaults")
    file = f"/sys/bus/scsi/devices/{guest.address(each)}/queue_depth"
    guest.run(f"echo {asked} >{file}", check=True)
    assert guest.out(f"cat {file}") == str(given)
    fio.write_verified(guest, guest.node(each), size="1M")


def test_impossible_queue_depth_is_refused(guest: Guest) -> None:
    file = f"/sys/bus/scsi/devices/{guest.address(disk(guest, 'defaults'))}/queue_depth"
    before = guest.out(f"cat {file}")
    for value in ("0", "-3", "x", "257"):  # the midlayer knows that the whole host takes 256
        assert guest.run(f"echo {value} >{file}").rc != 0
    assert guest.out(f"cat {file}") == before


def test_change_of_queue_depth_under_io(guest: Guest) -> None:
    each = disk(guest, "defaults")
    file = f"/sys/bus/scsi/devices/{guest.address(each)}/queue_depth"
    job = fio.start(guest, guest.node(each), **fio.write_options(size="8M", loops=3))
    changes = 0
    while not job.done():
        guest.run(f"for n in 1 128 3 64; do echo $n >{file}; done", check=True)
        changes += 1
    done = fio.Job.of(job.wait())
    assert (done.error, done.result.rc) == (0, 0), done.said
    assert changes >= 3


def test_same_limits_as_the_c_driver(guest: Guest, boot: Callable[..., Guest], scratch: Path) -> None:
    reference = boot(controllers(scratch), module="c")
    changed = f"/sys/bus/scsi/devices/{guest.address(disk(guest, 'defaults'))}/queue_depth"
    guest.run(f"echo 128 >{changed}", check=True)
    assert limits(guest) == limits(reference)
