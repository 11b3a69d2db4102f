# SPDX-License-Identifier: GPL-2.0
"""Another kernel is booted from the running one, or from one that crashed, with commands in flight."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, images, initramfs, paths
from guest.device import TestDevice
from support.boots import OURS, Boots

pytestmark = [pytest.mark.main, pytest.mark.compare]


DATA = images.pattern("kexec", 1 << 20)
# What the device never answers.
HELD = 32 << 11
STARTING = "Starting new kernel"
# The crash kernel's own memory has to hold the guest's userland twice while it is unpacked.
CRASH_MEMORY = 768
IN_FLIGHT = 8
NOTHING = {"driver": "null-co", "size": 16 * MEGABYTE, "read-zeroes": True}


def statuses(trace: Path, since: int) -> list[tuple[str, int]]:
    """Devices whose status was set, and what to, since the trace had this size."""
    text = trace.read_bytes()[since:].decode()
    return [(name, int(bits)) for name, bits in re.findall(r"virtio_set_status vdev (\S+) val (\d+)", text)]


def boot_files(scratch: Path) -> dict[str, bytes | Path]:
    """What a guest needs to boot another kernel: the same one, with no module of ours."""
    program = scratch / "kexec"
    source = paths.TOOLS / "guest/kexec.c"
    subprocess.run(["cc", "-static", "-Wall", "-Werror", "-o", program, source], check=True)
    kernel = paths.Kernel.prepared()
    return {
        "/bin/kexec": program,
        "/boot/vmlinuz": kernel.image,
        "/boot/initrd": initramfs.base_image(kernel),
    }


def load_pushed(guest: QemuGuest) -> None:
    """Loads the driver in a kernel whose files are the base image's."""
    if OURS:
        guest.push(guest.driver.path, paths.our_module().read_bytes())
    guest.load()


def test_kexec_under_io_resets_the_device(
    serve: Callable[..., TestDevice], boot: Boots, scratch: Path
) -> None:
    """The device is reset before the new kernel is started, whose memory it could write to otherwise; nothing
    waits for what it does not answer. The new kernel finds all that was written."""
    trace = scratch / "trace"
    device = serve({"unit": [{"size": "64M"}]})
    door = device.door("scsi", memory=2048)
    guest = boot(
        **{**door, "args": [*door["args"], "-trace", "virtio_set_status", "-D", str(trace)]},
        files=boot_files(scratch),
    )
    said = trace.stat().st_size
    guest.unload()
    guest.load()
    controller, _ = statuses(trace, said)[-1]

    guest.push("/tmp/data", DATA)
    guest.run("dd if=/tmp/data of=/dev/sda bs=64k oflag=direct conv=fsync", check=True)
    device.rule("held", {"lba": [HELD, HELD + 100]}, drop=True)
    for number in range(4):
        # Of reads that are adjacent the block layer may make one command.
        skip = HELD // 8 + 2 * number
        guest.spawn(f"dd if=/dev/sda of=/dev/null bs=4k count=1 iflag=direct skip={skip}")
    device.wait_for(lambda: len(device.lines("wait", rule="held")) == 4, why="not in flight")

    said = trace.stat().st_size
    with guest.boots_again():
        began = time.monotonic()
        guest.spawn('kexec /boot/vmlinuz /boot/initrd "$(cat /proc/cmdline)" 2>/dev/ttyS0')
        device.wait_for(lambda: STARTING in guest.console_log, why="not started")
        took = time.monotonic() - began
        # QEMU stops the queues, too, when the kernel has the function's bus mastering disabled.
        assert (controller, 0) in statuses(trace, said), "the device was not reset"
    print(f"the new kernel was started after {took:.1f} s")
    device("clear_rules")
    load_pushed(guest)
    guest.push("/tmp/data", DATA)
    guest.run("dd if=/dev/sda bs=64k count=16 iflag=direct | cmp - /tmp/data", check=True)
    guest.run("dd if=/tmp/data of=/dev/sda bs=64k oflag=direct conv=fsync", check=True)
    assert device.lines("violation") == []


def test_a_crash_kernel_finds_the_disks(boot: Boots, scratch: Path) -> None:
    """Nobody shuts the device down, which still has commands of the kernel that crashed. The crash kernel
    finds the disks, reads what was written before, and writes the other's memory to one, as kdump does."""
    dump = Disk(0, 0, 64 * MEGABYTE, scratch / "dump.img")
    slow = Disk(1, 0, blockdev={"driver": "throttle", "throttle-group": "slow", "file": NOTHING})
    guest = boot(
        [Controller([dump, slow], {"num_queues": 2})],
        memory=2048,
        append=f"crashkernel={CRASH_MEMORY}M",
        # One command in a second, so that all but the first few stay with the device.
        args=["-object", "throttle-group,id=slow,x-iops-total=1"],
        files=boot_files(scratch),
        # An interrupt of the kernel that crashed may be pending.
        allow=[r"No irq handler for \d+\.\d+"],
    )
    guest.push("/tmp/data", DATA)
    guest.run(f"dd if=/tmp/data of={guest.node(dump)} bs=64k oflag=direct conv=fsync", check=True)
    line = "$(sed 's/crashkernel=[^ ]*//' /proc/cmdline) nr_cpus=1 reset_devices"
    guest.run(f'kexec -p /boot/vmlinuz /boot/initrd "{line}"', check=True)
    assert guest.out("cat /sys/kernel/kexec_crash_loaded") == "1"
    read = {"rw": "randread", "bs": "4k", "iodepth": IN_FLIGHT, "ioengine": "libaio", "direct": 1}
    for disk in (dump, slow):
        fio.start(guest, guest.node(disk), **read, offset=8 * MEGABYTE, time_based=True, runtime=600)
    busy = Path(guest.node(slow)).name
    guest.wait_until(f"test $(awk '{{ print $1 + $2 }}' /sys/block/{busy}/inflight) -eq {IN_FLIGHT}")

    with guest.boots_again():
        guest.spawn("echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger")
    assert "sysrq triggered crash" in guest.console_log
    guest.run("test -s /proc/vmcore", check=True)
    load_pushed(guest)
    guest.push("/tmp/data", DATA)
    node = guest.node(dump)
    guest.run(f"dd if={node} bs=64k count=16 iflag=direct | cmp - /tmp/data", check=True)
    core = f"bs={MEGABYTE} count=16 iflag=fullblock"
    guest.run(f"dd if=/proc/vmcore of={node} {core} oflag=direct seek=4 conv=fsync", check=True)
    guest.run(
        f"dd if=/proc/vmcore {core} of=/tmp/core && "
        f"dd if={node} bs={MEGABYTE} skip=4 count=16 iflag=direct | cmp - /tmp/core",
        check=True,
    )
    assert images.part(scratch / "dump.img", 4 * MEGABYTE // images.BLOCK, 1).startswith(b"\x7fELF")
    fio.write_verified(guest, node, size="4M")
    guest.run(f"dd if={guest.node(slow)} of=/dev/null bs=4k count=2 iflag=direct", check=True)
