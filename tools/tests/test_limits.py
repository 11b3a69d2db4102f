# SPDX-License-Identifier: GPL-2.0
"""Limits that the device sets are kept, and are those that the kernel's own driver makes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, images, sysfs

pytestmark = pytest.mark.main


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
def guest(boot_shared: Callable[..., QemuGuest], scratch_shared: Path) -> QemuGuest:
    return boot_shared(controllers(scratch_shared))


def disk(guest: QemuGuest, name: str) -> Disk:
    return next(each for each in guest.disks if each.bus == name)


def limits(guest: QemuGuest) -> dict[str, dict[str, str]]:
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


def test_cmd_per_lun_is_the_queue_depth(guest: QemuGuest) -> None:
    assert sysfs.host_limit(guest, "cmd_per_lun", "cmd_per_lun") == 7
    assert sysfs.device_attribute(guest, disk(guest, "cmd_per_lun"), "queue_depth") == "7"
    fio.write_verified(guest, guest.node(disk(guest, "cmd_per_lun")), size="4M")


def test_max_sectors_bounds_each_write(guest: QemuGuest) -> None:
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


def test_there_are_no_more_queues_than_cpus(guest: QemuGuest) -> None:
    assert sysfs.host_limit(guest, "nr_hw_queues", "num_queues") == 2
    fio.write_verified(guest, guest.node(disk(guest, "num_queues")), size="4M")


@pytest.mark.parametrize(("name", "segments"), [("defaults", 254), ("size", 62), ("seg_max", 126)])
def test_segments_are_those_of_the_device(guest: QemuGuest, name: str, segments: int) -> None:
    """With seg_max_adjust off QEMU says 126, whatever the queue could hold."""
    assert sysfs.host_limit(guest, "sg_tablesize", name) == segments
    assert sysfs.queue_limit(guest, disk(guest, name), "max_segments") == segments


@pytest.mark.parametrize(("asked", "given"), [(5, 5), (1, 1), (129, 128), (64, 64), (256, 128), (128, 128)])
def test_queue_depth_changes_up_to_what_the_device_takes(guest: QemuGuest, asked: int, given: int) -> None:
    """Through sysfs; more than the device takes is brought down to that."""
    each = disk(guest, "defaults")
    file = f"/sys/bus/scsi/devices/{guest.address(each)}/queue_depth"
    guest.run(f"echo {asked} >{file}", check=True)
    assert guest.out(f"cat {file}") == str(given)
    fio.write_verified(guest, guest.node(each), size="1M")


def test_impossible_queue_depth_is_refused(guest: QemuGuest) -> None:
    file = f"/sys/bus/scsi/devices/{guest.address(disk(guest, 'defaults'))}/queue_depth"
    before = guest.out(f"cat {file}")
    for value in ("0", "-3", "x", "257"):  # the midlayer knows that the whole host takes 256
        assert guest.run(f"echo {value} >{file}").rc != 0
    assert guest.out(f"cat {file}") == before


def test_queue_depth_holds_under_io(guest: QemuGuest, scratch_shared: Path) -> None:
    """Soon after a change at most as many commands are in flight as it says, and nearly as many: the disk is
    slower than fio."""
    guest.qmp("object-add", {"qom-type": "throttle-group", "id": "slow", "limits": {"iops-total": 200}})
    image = images.make(scratch_shared / "slow.img", 16 * MEGABYTE)
    file = {"driver": "file", "filename": str(image)}
    blockdev = {"driver": "throttle", "throttle-group": "slow", "file": file}
    slow = guest.add_disk(Disk(5, 0, blockdev=blockdev, bus="defaults"))
    guest.settle()
    endless = {
        "time_based": True,
        "runtime": 600,
        "iodepth": 16,
        "iodepth_batch_submit": 1,
        "verify_backlog": 32,
    }
    job = fio.start(guest, guest.node(slow), **fio.write_options("libaio", **endless))
    folder = f"/sys/bus/scsi/devices/{guest.address(slow)}"
    guest.wait_until(f"test $(cat {folder}/device_busy) -gt 3")
    # What was in flight before a change is done soon after it.
    look = (
        f"cd {folder}; for n in 1 8 3 12; do echo $n >queue_depth; sleep 0.5; "
        "echo $n $(for i in {1..20}; do cat device_busy; done | sort -n | tail -n 1); done"
    )
    most = {1: 0, 8: 0, 3: 0, 12: 0}
    for _ in range(10):
        for depth, busy in (map(int, line.split()) for line in guest.out(look).splitlines()):
            assert busy <= depth, "more are in flight"
            most[depth] = max(most[depth], busy)
        # Now and then fio waits for the last one of what it verifies.
        if all(busy > depth // 2 for depth, busy in most.items()):
            break
    else:
        raise AssertionError(f"few are in flight, whatever the depth: {most}")
    assert not job.done()
    guest.run("killall -INT fio", check=True)
    done = fio.Job.of(job.wait(60))
    assert done.error == 0 and done.result.rc in (0, 128), done.said
    assert done.writes > 0 < done.reads, done.said
    guest.remove_disk(slow)


def test_same_limits_as_the_c_driver(guest: QemuGuest, boot: Callable[..., QemuGuest], scratch: Path) -> None:
    reference = boot(controllers(scratch), module="c")
    changed = f"/sys/bus/scsi/devices/{guest.address(disk(guest, 'defaults'))}/queue_depth"
    guest.run(f"echo 128 >{changed}", check=True)
    assert limits(guest) == limits(reference)
