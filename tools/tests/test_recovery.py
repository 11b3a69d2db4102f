# SPDX-License-Identifier: GPL-2.0
"""Recovery with QEMU's own device, which behaves: resets of all kinds under I/O that is verified."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, logcheck
from support.boots import unplugs
from support.known_lines import GOING, TWO_SCANS
from support.machines import S3, root_port, suspends
from support.workloads import VERIFIED

pytestmark = [pytest.mark.main, pytest.mark.x86, pytest.mark.arm64]


@pytest.fixture(scope="module")
def shared(boot_shared: Callable[..., QemuGuest], scratch_shared: Path) -> Iterator[QemuGuest]:
    """A controller in a PCI Express slot of its own, so that its function can be reset."""
    controller = Controller(
        [Disk(0, lun, 32 * MEGABYTE, scratch_shared / f"lun{lun}.img") for lun in (0, 1)], {"bus": "port0"}
    )
    yield boot_shared(
        [controller],
        devices=[root_port()],
        allow=[TWO_SCANS],
    )


@pytest.mark.parametrize("option", ["-d", "-t", "-b", "-H"])
def test_sg_reset_loses_no_data(shared: QemuGuest, option: str) -> None:
    """Each kind of reset ends in time, says so, and costs no data."""
    disk, other = shared.disks
    said = {"-d": "LOGICAL UNIT RESET", "-t": "I_T NEXUS RESET"}.get(option, "the device was reset")
    before = int(shared.out(f"dmesg | grep -c '{said}' || :"))
    jobs = [shared.spawn(fio.command(shared.node(each), **VERIFIED)) for each in (disk, other)]
    count = 5
    for _ in range(count):
        shared.run(f"sg_reset {option} {shared.node(disk, 'scsi_generic')}", timeout=30, check=True)
    for job in jobs:
        assert fio.Job.of(job.wait(180, check=True)).error == 0
    # What a device can bring about is rate-limited, so not every one of them need be told.
    assert int(shared.out(f"dmesg | grep -c '{said}'")) > before


def test_function_resets_lose_no_data(shared: QemuGuest) -> None:
    """Function level resets through sysfs: the driver builds its queues anew each time."""
    reset = shared.out("readlink -f /sys/class/scsi_host/host*/device/../..") + "/reset"
    jobs = [shared.spawn(fio.command(shared.node(disk), **VERIFIED)) for disk in shared.disks]
    for _ in range(10):
        shared.run(f"echo 1 >{reset}", timeout=60, check=True)
    for job in jobs:
        assert fio.Job.of(job.wait(240, check=True)).error == 0


def test_a_stopped_guest_loses_nothing(shared: QemuGuest) -> None:
    """A guest that was stopped for longer than its commands' time-out recovers them or finds them done."""
    disk = shared.disks[0]
    shared.run(f"echo 2 >/sys/bus/scsi/devices/{shared.address(disk)}/timeout", check=True)
    job = shared.spawn(fio.command(shared.node(disk), **VERIFIED))
    for _ in range(3):
        shared.qmp("stop")
        time.sleep(4)
        shared.qmp("cont")
    assert fio.Job.of(job.wait(240, check=True)).error == 0
    shared.run(f"echo 30 >/sys/bus/scsi/devices/{shared.address(disk)}/timeout", check=True)


@unplugs
def test_hot_unplug_of_the_controller_ends_io(boot: Callable[..., QemuGuest]) -> None:
    controller = Controller([Disk(0, 0), Disk(0, 1)], {"bus": "port0"})
    guest = boot([controller], devices=[root_port()])
    # A disk that is gone has the size 0 and reads as empty, which ends fio with this engine only.
    options = {"rw": "randread", "bs": "4k", "ioengine": "psync", "direct": 1, "numjobs": 16, "thread": True}
    jobs = [
        guest.spawn(fio.command(guest.node(disk), time_based=True, runtime=120, **options))
        for disk in guest.disks
    ]
    guest.wait_until("test $(awk '{ print $1 }' /sys/block/sda/stat) -gt 50")
    with guest.allowing(*GOING):
        with guest.qmp.listen("DEVICE_DELETED") as events:
            guest.qmp("device_del", {"id": "scsi0"})
            events.wait(90, lambda event: event["data"].get("device") == "scsi0")
        for job in jobs:
            assert job.wait(60).rc != 0
    assert guest.out("lsscsi | wc -l") == "0"
    guest.unload()


@suspends
def test_suspend_to_memory_loses_no_data(boot: Callable[..., QemuGuest], scratch: Path) -> None:
    """S3 ten times while data is written, which is verified in the end.

    QEMU's guest agent does not survive a suspend, so what the guest has to say comes over its console.
    """
    guest = boot(
        [Controller([Disk(0, 0, 32 * MEGABYTE, scratch / "disk.img")])],
        **S3,
    )
    job = fio.command(guest.node(guest.disks[0]), **{**VERIFIED, "loops": 6})
    script = f"""
        {job} >/tmp/fio.json & fio=$!
        for i in $(seq 10); do echo mem >/sys/power/state || break; sleep 0.5; done
        wait $fio; rc=$?
        dmesg -r >/dev/ttyS0
        echo "slept $i times, fio ended with $rc" >/dev/ttyS0
    """
    guest.agent_may_be_lost()
    guest.spawn(script)
    deadline = time.monotonic() + 240
    while "fio ended with" not in guest.console_log:
        assert time.monotonic() < deadline, guest.console_log[-3000:]
        if guest.qmp("query-status")["status"] == "suspended":
            guest.qmp("system_wakeup")
        time.sleep(0.2)
    assert "slept 10 times, fio ended with 0" in guest.console_log
    logcheck.assert_clean(guest.console_log, [], str(guest.log_dir))
