# SPDX-License-Identifier: GPL-2.0
"""What operators do to disks and controllers of a guest at work, from both sides of it.

They prepare a detach, or do not; they remove a disk in the guest and on the host at the same time; they have
QEMU stop the machine when its storage fails; they plug in dozens of controllers.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, sysfs
from support.boots import OURS, Boots, unplugs

pytestmark = [pytest.mark.main, pytest.mark.compare]


# Seconds until the guest has noticed what was plugged in or out.
SOON = 10
# Functions of a slot, and slots: forty controllers.
FUNCTIONS, PORTS = 8, 5

Record = Callable[[str, Any], None]


@dataclass
class Bench:
    guest: QemuGuest
    trace: Path
    host: int

    def path(self, disk: Disk) -> str:
        return f"/sys/bus/scsi/devices/{self.host}:0:{disk.target}:{disk.lun}"

    def resets(self) -> tuple[int, int]:
        """How often QEMU was sent a task management function, and had a device's status set to 0."""
        said = self.trace.read_text()
        return said.count("virtio_scsi_tmf_req"), len(re.findall(r"virtio_set_status vdev \S+ val 0\b", said))

    def wait_for(self, disks: list[Disk], there: bool) -> None:
        """Waits until each address has a disk of that serial number, or nothing at all."""
        each = [
            f"grep -qs {disk.props['serial']} {self.path(disk)}/vpd_pg80 && test -e {self.path(disk)}/block/*"
            if there
            else f"! test -e {self.path(disk)}"
            for disk in disks
        ]
        self.guest.wait_until(" && ".join(each), SOON)


@pytest.fixture(scope="module")
def bench(boot_shared: Boots, scratch_shared: Path) -> Bench:
    trace = scratch_shared / "trace"
    ports = [
        {"driver": "pcie-root-port", "id": f"port{number}", "chassis": number + 1, "addr": f"{8 + number:x}"}
        for number in range(PORTS)
    ]
    args = ["-trace", "virtio_scsi_tmf_req", "-trace", "virtio_set_status", "-D", str(trace)]
    guest = boot_shared([Controller([Disk(0, 0)], {"num_queues": 2})], devices=ports, args=args)
    return Bench(guest, trace, guest.host())


def numbered(disk: Disk, number: int) -> Disk:
    """The same disk with a serial number and a name of its own."""
    name = 0x5000000000000000 | number << 16 | disk.target << 8 | disk.lun
    return replace(disk, props={"serial": f"S{number}-{disk.target}-{disk.lun}", "wwn": name})


# A prepared detach

OFFLINE = r"sd \S+ .*rejecting I/O to offline device"


@pytest.mark.parametrize("lun", [0, 1])
def test_a_prepared_detach_loses_nothing(bench: Bench, scratch_shared: Path, lun: int) -> None:
    """The disk is not used any more, is flushed and taken offline: nothing reaches it, the guest still knows
    which one it is, and it goes when it is detached. The next one at its address shows up. LUN 1 stays while
    LUN 0 goes, and was not prepared."""
    guest = bench.guest
    disk = numbered(Disk(10 + lun, lun, 16 * MEGABYTE, scratch_shared / f"detached{lun}.img"), 1)
    other = numbered(Disk(10 + lun, 1 - lun, 8 * MEGABYTE), 1)
    for each in (disk, other):
        guest.add_disk(each)
    bench.wait_for([disk, other], True)
    node, device = guest.node(disk), bench.path(disk)
    guest.run(f"mkfs.ext4 -qF {node} && mount {node} /mnt && echo kept >/mnt/file && umount /mnt", check=True)
    sg = guest.node(disk, "scsi_generic")
    wwid = guest.out(f"cat {device}/wwid")
    guest.run(f"blockdev --flushbufs {node} && sg_sync {sg} && echo offline >{device}/state", check=True)
    assert disk.props["serial"] in guest.out(f"tail -c +5 {device}/vpd_pg80")
    assert wwid and guest.out(f"cat {device}/wwid") == wwid
    with guest.allowing(OFFLINE):
        assert guest.run(f"dd if={node} of=/dev/null bs=4k count=1 iflag=direct").rc != 0
    guest.remove_disk(disk)
    bench.wait_for([disk], False)
    # The bus lists it no more a moment before its node goes.
    guest.wait_until(f"! test -e {node}", SOON)
    bench.wait_for([other], True)
    new = numbered(disk, 2)
    guest.add_disk(new)
    bench.wait_for([new], True)
    guest.run(f"mount {guest.node(new)} /mnt && grep -qx kept /mnt/file && umount /mnt", check=True)
    for each in (other, new):
        guest.remove_disk(each)
    bench.wait_for([other, new], False)


# A removal from both sides

# Who comes second finds no such file any more, or has the shell try to make one.
SECOND = re.compile("No such (file|device)|Permission denied")


def test_removals_from_both_sides_do_not_collide(bench: Bench) -> None:
    """Ten times the host is first, and ten times the guest: neither gets in the other's way, nothing hangs,
    and each time the next disk at the address shows up."""
    guest = bench.guest
    disks = [numbered(Disk(20 + number, number % 2, 8 * MEGABYTE), 0) for number in range(10)]
    for disk in disks:
        guest.add_disk(disk)
    bench.wait_for(disks, True)
    for number, host_first in enumerate((True, False), 1):
        deletions = []
        for disk in disks:
            if host_first:
                guest.remove_disk(disk)
            deletions.append(guest.spawn(f"echo 1 >{bench.path(disk)}/delete"))
            if not host_first:
                guest.remove_disk(disk)
        bench.wait_for(disks, False)
        for deletion in deletions:
            result = deletion.wait(SOON)
            assert result.rc == 0 or SECOND.search(result.stderr), result.stderr
        disks = [numbered(disk, number) for disk in disks]
        for disk in disks:
            guest.add_disk(disk)
        bench.wait_for(disks, True)
        for disk in disks:
            guest.run(f"dd if={guest.node(disk)} of=/dev/null bs=4k count=1 iflag=direct", check=True)
    for disk in disks:
        guest.remove_disk(disk)
    bench.wait_for(disks, False)


# Storage that fails, and a machine that is stopped for it


def failed_commands(guest: QemuGuest, kind: str) -> int:
    """How many commands of the disk that was plugged in QEMU's storage has failed."""
    name = {"write": "failed_wr_operations", "read": "failed_rd_operations"}[kind]
    return sum(device["stats"][name] for device in guest.qmp("query-blockstats"))


@pytest.mark.parametrize("kind", ["write", "read"])
def test_a_machine_stopped_by_failing_storage_goes_on_without_an_error(
    bench: Bench, scratch_shared: Path, kind: str
) -> None:
    """QEMU stops the machine when its storage is full or broken, and does what failed again when an operator
    has it go on: no error for who writes or reads, and nothing reset."""
    guest = bench.guest
    image = scratch_shared / f"fails-{kind}.img"
    failures = [
        {"event": "none", "iotype": kind, "errno": errno, "once": True, "sector": 16384 + 512 * number}
        for number, errno in enumerate((28, 5, 5))
    ]
    file = {"driver": "file", "filename": str(image)}
    disk = Disk(
        30,
        0,
        blockdev={"driver": "blkdebug", "image": file, "inject-error": failures},
        props={"werror": "stop", "rerror": "stop"},
    )
    image.touch()
    image.write_bytes(bytes(16 * MEGABYTE))
    guest.add_disk(disk)
    guest.wait_until(f"test -e {bench.path(disk)}/block/*")
    guest.run(f"echo 2 >{bench.path(disk)}/timeout", check=True)
    before = bench.resets()
    assert before[1], "QEMU traces nothing"
    counted = sysfs.counters(guest) if OURS else {}
    options = fio.write_options(engine="libaio", offset="8M", size="2M", bsrange="4k-64k")
    failed = 0
    with guest.qmp.listen("STOP") as stops:
        job = fio.start(guest, guest.node(disk), **options)
        # Two commands may fail before the machine stops.
        while failed < len(failures):
            stops.wait(30)
            assert guest.qmp("query-status")["status"] == "io-error"
            # Once for longer than the commands' time-out, had the guest's clock gone on.
            time.sleep(0 if failed else 3)
            failed = failed_commands(guest, kind)
            guest.qmp("cont")
        done = fio.Job.of(job.wait(60))
    assert done.error == 0 and done.result.rc == 0, done.said
    assert 0 < done.written <= done.read, done.said
    assert bench.resets() == before, "the device was reset, or asked to do something about its commands"
    if OURS:
        # The driver looks which units there are at any time. In some runs QEMU keeps a command for seconds
        # after the machine goes on; the driver asks for it, is told so, and waits.
        grown = {name for name, count in sysfs.counters(guest).items() if count != counted[name]}
        assert grown <= {"own_commands", "censuses", "continued"}
    guest.remove_disk(disk)


# Many controllers


@unplugs
def test_forty_controllers_come_and_go(bench: Bench, record_property: Record) -> None:
    """Each with a disk, which works; none is left when they have gone, and the driver can be unloaded."""
    guest = bench.guest
    hosts = "ls /sys/class/scsi_host | wc -l"
    before = guest.out(hosts)
    began = time.monotonic()
    for port in range(PORTS):
        # The slot is plugged in with its first function.
        for function in reversed(range(FUNCTIONS)):
            name = f"c{port}-{function}"
            options = {"bus": f"port{port}", "addr": f"0.{function}", "num_queues": 1}
            disk = Disk(1, function % 2, 8 * MEGABYTE, bus=name)
            guest.qmp("blockdev-add", disk.blockdev_options())
            controller = Controller([], {**options, "multifunction": True}, name)
            guest.qmp("device_add", controller.device_options("q35"))
            guest.qmp("device_add", disk.device_options())
    count = PORTS * FUNCTIONS
    guest.wait_until(f"test $(ls -d /sys/bus/scsi/devices/*:0:1:*/block/* | wc -l) -eq {count}", 60)
    record_property("seconds to come", f"{time.monotonic() - began:.1f}")
    read = "dd if=/dev/${d##*/} of=/dev/null bs=64k count=8 iflag=direct status=none"
    guest.run(f"for d in /sys/bus/scsi/devices/*:0:1:*/block/*; do {read} || exit 1; done", check=True)
    began = time.monotonic()
    with guest.qmp.listen("DEVICE_DELETED") as events:
        for port in range(PORTS):
            guest.qmp("device_del", {"id": f"c{port}-0"})
        gone: set[str] = set()
        while len(gone) < count:
            gone.add(events.wait(60, lambda event: "-" in event["data"].get("device", ""))["data"]["device"])
        guest.wait_until(f"test $({hosts}) -eq {before}", 30)
    record_property("seconds to go", f"{time.monotonic() - began:.1f}")
    guest.unload()
    guest.load()
