# SPDX-License-Identifier: GPL-2.0
"""Another kernel is booted from the running one, with commands in flight."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from conftest import OURS, Boots
from guest import images, initramfs, paths
from guest.device import TestDevice

DATA = images.pattern("kexec", 1 << 20)
# What the device never answers.
HELD = 32 << 11
STARTING = "Starting new kernel"


def statuses(trace: Path, since: int) -> list[tuple[str, int]]:
    """Devices whose status was set, and what to, since the trace had this size."""
    text = trace.read_bytes()[since:].decode()
    return [(name, int(bits)) for name, bits in re.findall(r"virtio_set_status vdev (\S+) val (\d+)", text)]


def test_kexec_under_io(serve: Callable[..., TestDevice], boot: Boots, scratch: Path) -> None:
    """The device is reset before the new kernel is started, whose memory it could write to otherwise; nothing
    waits for what it does not answer. The new kernel finds all that was written."""
    program = scratch / "kexec"
    subprocess.run(
        ["cc", "-static", "-Wall", "-Werror", "-o", program, paths.TOOLS / "guest/kexec.c"], check=True
    )
    trace = scratch / "trace"
    device = serve({"unit": [{"size": "64M"}]})
    door = device.door("scsi", memory=2048)
    guest = boot(
        **{**door, "args": [*door["args"], "-trace", "virtio_set_status", "-D", str(trace)]},
        files={
            "/bin/kexec": program,
            "/boot/vmlinuz": paths.Kernel.prepared().image,
            "/boot/initrd": initramfs.base_image(paths.Kernel.prepared()),
        },
    )
    said = trace.stat().st_size
    guest.unload()
    guest.load()
    controller, _ = statuses(trace, said)[-1]

    guest.push("/tmp/data", DATA)
    guest.run("dd if=/tmp/data of=/dev/sda bs=64k oflag=direct conv=fsync", check=True)
    device.rule("held", {"lba": [HELD, HELD + 100]}, drop=True)
    for number in range(4):
        guest.spawn(f"dd if=/dev/sda of=/dev/null bs=4k count=1 iflag=direct skip={HELD // 8 + number}")
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
    if OURS:
        guest.push(guest.driver.path, paths.our_module().read_bytes())
    guest.load()
    guest.push("/tmp/data", DATA)
    guest.run("dd if=/dev/sda bs=64k count=16 iflag=direct | cmp - /tmp/data", check=True)
    guest.run("dd if=/tmp/data of=/dev/sda bs=64k oflag=direct conv=fsync", check=True)
    assert device.lines("violation") == []
