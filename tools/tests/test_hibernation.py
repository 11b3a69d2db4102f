# SPDX-License-Identifier: GPL-2.0
"""Suspend to disk (S4): the machine is switched off under I/O, and another one goes on where it stopped.

That one need not offer the same.
"""

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, logcheck
from support.boots import Boots
from support.workloads import VERIFIED

pytestmark = pytest.mark.main


BEFORE: dict[str, Any] = {"num_queues": 4, "cmd_per_lun": 64, "virtqueue_size": 256}
SAVED = "/sys/power"


def machine(boot: Boots, scratch: Path, properties: dict[str, Any], module: str | None) -> QemuGuest:
    """The same machine each time, but for what the controller offers."""
    disk = Disk(0, 0, 32 * MEGABYTE, scratch / "disk.img")
    swap = {"driver": "virtio-blk-pci", "drive": "swap", "id": "swap0"}
    (scratch / "swap.img").touch()
    return boot(
        [Controller([disk], {**BEFORE, **properties})],
        module=module,
        smp=4,
        memory=512,
        devices=[swap],
        args=["-drive", f"if=none,id=swap,format=raw,file={scratch / 'swap.img'}"],
        append="no_console_suspend",
    )


def sleep_and_wake(boot: Boots, scratch: Path, properties: dict[str, Any]) -> tuple[str, QemuGuest]:
    """What the console says after the guest has woken up in a machine with these properties."""
    with open(scratch / "swap.img", "wb") as swap:
        swap.truncate(768 * MEGABYTE)
    first = machine(boot, scratch, {}, "ours")
    first.run("modprobe virtio_blk && mkswap /dev/vda && swapon /dev/vda", check=True)
    number = first.out("cat /sys/block/vda/dev")
    first.run(f"echo {number} >{SAVED}/resume; echo shutdown >{SAVED}/disk; echo 0 >{SAVED}/image_size")
    job = fio.command(first.node(first.disks[0]), **{**VERIFIED, "loops": 8})
    first.spawn(f"""
        {job} >/tmp/fio.json & fio=$!
        sleep 1
        echo disk >{SAVED}/state; slept=$?
        wait $fio; rc=$?
        lsscsi >/dev/ttyS0
        cat /sys/block/sda/device/queue_depth >/dev/ttyS0
        dmesg -r >/dev/ttyS0
        echo "slept: $slept, fio ended with $rc" >/dev/ttyS0
    """)
    first.agent_may_be_lost()
    try:
        first.machine.process.wait(120)
    except subprocess.TimeoutExpired:
        pytest.fail(f"not switched off: {first.console_log[-3000:]}")
    assert "fio ended" not in first.console_log

    second = machine(boot, scratch, properties, None)
    second.agent_may_be_lost()
    second.spawn(f"modprobe virtio_blk; echo {number} >{SAVED}/resume")
    deadline = time.monotonic() + 150
    while "fio ended with" not in second.console_log:
        assert time.monotonic() < deadline, second.console_log[-3000:]
        time.sleep(0.5)
    return second.console_log, second


def test_a_machine_with_less_is_adapted_to(boot: Boots, scratch: Path) -> None:
    """Fewer request queues and commands than before: said, adapted to, and no data lost."""
    said, guest = sleep_and_wake(boot, scratch, {"num_queues": 2, "cmd_per_lun": 8})
    assert "slept: 0, fio ended with 0" in said
    assert "the device has come back with 2 request queues, of 4" in said
    assert re.search(r"^8\r?$", said, flags=re.MULTILINE), "the queue depth"
    logcheck.assert_clean(said, [], str(guest.log_dir))


def test_a_machine_with_too_little_is_refused(boot: Boots, scratch: Path) -> None:
    """Rings that cannot hold what the midlayer was promised: refused with the reason, and nothing hangs."""
    said, _ = sleep_and_wake(boot, scratch, {"virtqueue_size": 16})
    assert "fio ended with 1" in said
    assert "the device cannot be served" in said
    assert "could not be set up again and is given up" in said
