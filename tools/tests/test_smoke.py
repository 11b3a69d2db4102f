# SPDX-License-Identifier: GPL-2.0
"""The shortest way through the whole: boot, load, see the disks, write and read, unload."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from guest import MEGABYTE, CommandFailed, Controller, Disk, LogNotClean, QemuGuest, logcheck, sysfs

pytestmark = [pytest.mark.main, pytest.mark.x86, pytest.mark.arm64, pytest.mark.ours("names our module")]


def test_load_write_read_unload(boot: Callable[..., QemuGuest], scratch: Path) -> None:
    disks = [Disk(0, lun, 16 * MEGABYTE, scratch / f"lun{lun}.img") for lun in (0, 1, 300)]
    disks.append(Disk(3, 0, 1 << 40))
    guest = boot([Controller(disks)])

    listed = guest.out("lsscsi")
    assert [line.split()[0] for line in listed.splitlines()] == [f"[{guest.address(d)}]" for d in disks]
    driver = guest.out("readlink /sys/bus/virtio/devices/virtio*/host*/../driver")
    assert Path(driver).name == "virtio_scsi_rs"

    data = os.urandom(4 * MEGABYTE)
    guest.push("/tmp/data", data)
    for disk in disks[:3]:
        node = guest.node(disk)
        guest.run(f"dd if=/tmp/data of={node} bs=128k oflag=direct conv=fsync", check=True)
        guest.run(f"dd if={node} bs=64k count=64 iflag=direct | cmp - /tmp/data", check=True)
        assert disk.file
        assert disk.file.read_bytes()[: len(data)] == data
    zeros = guest.run(f"dd if={guest.node(disks[3])} bs=1M count=4 iflag=direct | cmp -n 4194304 - /dev/zero")
    assert zeros.rc == 0, zeros.stderr

    # The driver has looked which units there are, and nothing else.
    counted = sysfs.counters(guest)
    assert {name for name in counted if counted[name]} <= {"own_commands"}
    guest.unload()
    assert guest.out("lsscsi | wc -l") == "0"
    guest.run("test ! -e /sys/kernel/debug/virtio_scsi_rs", check=True)
    guest.load()
    assert len(guest.out("lsscsi").splitlines()) == len(disks)
    guest.poweroff()


def test_a_warning_would_end_the_guest(boot: Callable[..., QemuGuest]) -> None:
    """So none of the tests with our driver has one, and it is as in guests that do not trust their host."""
    guest = boot()
    assert guest.out("cat /proc/sys/kernel/panic_on_warn") == "1"


def test_log_check_and_exit_codes_can_fail(boot: Callable[..., QemuGuest]) -> None:
    """What the other tests rely on: a bad line in the kernel log, or a failing command, is seen."""
    guest = boot(module=None)
    with pytest.raises(CommandFailed, match="code 3"):
        guest.run("exit 3", check=True)
    guest.assert_clean_log()
    guest.run("echo '<3>planted error' >/dev/kmsg", check=True)
    with pytest.raises(LogNotClean, match="planted error"):
        guest.assert_clean_log()
    with guest.allowing("planted again"):
        guest.run("echo '<3>planted again' >/dev/kmsg", check=True)
    with pytest.raises(LogNotClean, match="other"), guest.allowing("planted again"):
        guest.run("echo '<3>other' >/dev/kmsg", check=True)


@pytest.mark.parametrize(
    "line",
    [
        "<6>[    1.0] WARNING: CPU: 0 PID: 1",
        "<4>[    1.0] Call Trace:",
        "<3>[    1.0] anything",
        "[   9.1] BUG: x",
    ],
)
def test_log_check_finds(line: str) -> None:
    assert logcheck.trouble(f"<6>[    0.1] fine\n{line}\n") == [line]
