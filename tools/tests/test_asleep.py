# SPDX-License-Identifier: GPL-2.0
"""Logical units come, go and change while the guest sleeps: in memory (S3) or on disk (S4).

Nothing tells the guest of it, as the device has forgotten its events by the time the guest wakes up. QEMU's
guest agent does not survive the sleep, so what the guest sees comes over its console.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, images, logcheck
from support.boots import Boots, folder_of
from support.known_lines import DISK, IO_ERROR, OFFLINE
from support.machines import S3

pytestmark = [pytest.mark.main, pytest.mark.compare]


SAVED = "/sys/power"
# How often the guest says what it has, a second after the other: it may look for changes on its own time.
TIMES = 8

# Each case's disk, before and after; None: there is none.
KEPT = Disk(0, 0, 8 * MEGABYTE)
CASES: dict[str, tuple[Disk | None, Disk | None]] = {
    "kept": (KEPT, KEPT),
    "added to its target": (None, Disk(0, 5, 8 * MEGABYTE)),
    "added as LUN 0": (None, Disk(1, 0, 8 * MEGABYTE)),
    "removed from its target": (Disk(0, 3, 8 * MEGABYTE), None),
    "removed as LUN 0": (Disk(2, 0, 8 * MEGABYTE), None),
    "larger": (Disk(3, 0, 8 * MEGABYTE), Disk(3, 0, 16 * MEGABYTE)),
    "smaller": (Disk(3, 1, 16 * MEGABYTE), Disk(3, 1, 8 * MEGABYTE)),
    "swapped LUN 0": (Disk(4, 0, 8 * MEGABYTE), Disk(4, 0, 8 * MEGABYTE)),
    "swapped LUN 1": (Disk(5, 1, 8 * MEGABYTE), Disk(5, 1, 8 * MEGABYTE)),
}
SWAPPED = [case for case in CASES if case.startswith("swapped")]


@dataclass(frozen=True)
class Seen:
    """A logical unit as the guest has it."""

    serial: str
    size: int
    # Another number is another disk for whoever had it open.
    diskseq: int
    # How its first block begins, read through the page cache.
    first: str


def disks_of(folder: Path, after: bool) -> dict[str, Disk]:
    """The disks, by case. One that is swapped has another serial, and other contents, than the one before."""
    found = {}
    for number, (case, pair) in enumerate(CASES.items()):
        if disk := pair[after]:
            name = f"disk{number}" + ("-new" if after and case in SWAPPED else "")
            file = folder / f"{name}.img"
            if not file.exists():
                images.make(file, disk.size, f"This is {name}".encode())
            found[case] = replace(disk, file=file, props={"serial": name})
    return found


def table(text: str) -> dict[str, Seen]:
    """What the last whole table says that was printed."""
    tables = re.findall(r"table-begins\r?\n(.*?)table-ends", text, re.S)
    found = {}
    for line in tables[-1].splitlines() if tables else []:
        # The kernel's own messages come over the same console.
        if fit := re.match(r"unit \d+:\d+:(\d+:\d+)/(.*?)/(\d+)/(\d+)/(.*?) */", line):
            address, serial, sectors, diskseq, first = fit.groups()
            found[address] = Seen(serial, int(sectors) * 512, int(diskseq), first)
    return found


TABLE = """
    echo table-begins
    for d in /sys/bus/scsi/devices/*:*:*:*; do
        for b in $d/block/*; do
            [ -e $b/diskseq ] || continue
            serial=$(tail -c +5 $d/vpd_pg80 | tr -d '\\0 ')
            first=$(timeout -s KILL 5 dd if=/dev/${b##*/} bs=16 count=1 2>/dev/null | tr -cd 'A-Za-z0-9 -')
            echo "unit ${d##*/}/$serial/$(cat $b/size)/$(cat $b/diskseq)/$first/"
        done
    done
    echo table-ends
"""


def as_wanted(seen: dict[str, Seen], disks: Iterable[Disk]) -> bool:
    wanted = {
        f"{disk.target}:{disk.lun}": (disk.props["serial"], disk.size, f"This is {disk.props['serial']}")
        for disk in disks
    }
    return {unit: (each.serial, each.size, each.first) for unit, each in seen.items()} == wanted


@dataclass
class Night:
    """What the guest had before it slept and has after it, by target and LUN."""

    before: dict[str, Seen]
    after: dict[str, Seen]
    log: str


def fall_asleep(guest: QemuGuest, how: str) -> dict[str, Seen]:
    """What the guest has; each disk's first block is in the page cache, as somebody has its node open."""
    guest.run("for d in /dev/sd*; do setsid sleep 1000 <$d >/dev/null 2>&1 & done", check=True)
    seen = table(guest.out(TABLE))
    assert as_wanted(seen, guest.disks)
    guest.agent_may_be_lost()
    guest.spawn(f"""
        exec >/dev/ttyS0 2>&1
        {how} || echo "not slept"
        for i in $(seq {TIMES}); do
            {TABLE}
            dmesg -r -l emerg,alert,crit,err
            echo "all of look $i"
            sleep 1
        done
    """)
    return seen


def wake_up(guest: QemuGuest, disks: Iterable[Disk], since: int = 0) -> tuple[dict[str, Seen], str]:
    """What the guest has as soon as it is as it should be, or after TIMES looks, and what it logged."""
    deadline = time.monotonic() + 180
    while True:
        said, _, _ = guest.console_log[since:].rpartition("all of look ")
        seen = table(said)
        if as_wanted(seen, disks) or said.count("all of look ") == TIMES - 1:
            return seen, said
        assert time.monotonic() < deadline and "not slept" not in said, said[-3000:]
        time.sleep(0.2)


def change(guest: QemuGuest, before: dict[str, Disk], after: dict[str, Disk]) -> None:
    """Does to a machine that runs, or is suspended, what the cases say."""
    for case in CASES:
        old, new = before.get(case), after.get(case)
        if old and new and old.file == new.file:
            if old.size != new.size:
                guest.qmp("block_resize", {"node-name": old.node, "size": new.size})
            continue
        if old:
            guest.remove_disk(old)
        if new:
            guest.add_disk(new)


def in_memory(boot: Boots, scratch: Path) -> Night:
    old, new = (disks_of(scratch, after) for after in (False, True))
    guest = boot(
        [Controller(list(old.values()), {"num_queues": 2})],
        **S3,
    )
    before = fall_asleep(guest, "echo mem >/sys/power/state")
    deadline = time.monotonic() + 60
    while guest.qmp("query-status")["status"] != "suspended":
        assert time.monotonic() < deadline, guest.console_log[-3000:]
        time.sleep(0.1)
    change(guest, old, new)
    since = len(guest.console_log)
    guest.qmp("system_wakeup")
    return Night(before, *wake_up(guest, new.values(), since))


def on_disk(boot: Boots, scratch: Path) -> Night:
    """The machine is switched off, and another one with other disks goes on where it stopped."""
    images.make(scratch / "swap.img", 768 * MEGABYTE)
    old, new = (disks_of(scratch, after) for after in (False, True))

    def machine(disks: Iterable[Disk], **options: Any) -> QemuGuest:
        return boot(
            [Controller(list(disks), {"num_queues": 2})],
            memory=512,
            devices=[{"driver": "virtio-blk-pci", "drive": "swap", "id": "swap0"}],
            args=["-drive", f"if=none,id=swap,format=raw,file={scratch / 'swap.img'}"],
            append="no_console_suspend",
            **options,
        )

    first = machine(old.values())
    first.run("modprobe virtio_blk && mkswap /dev/vda && swapon /dev/vda", check=True)
    number = first.out("cat /sys/block/vda/dev")
    first.run(f"echo {number} >{SAVED}/resume; echo shutdown >{SAVED}/disk; echo 0 >{SAVED}/image_size")
    before = fall_asleep(first, f"echo disk >{SAVED}/state")
    try:
        first.machine.process.wait(120)
    except subprocess.TimeoutExpired:
        pytest.fail(f"not switched off: {first.console_log[-3000:]}")
    for disk in new.values():
        assert disk.file
        os.truncate(disk.file, disk.size)
    second = machine(new.values(), module=None)
    second.agent_may_be_lost()
    second.spawn(f"modprobe virtio_blk; echo {number} >{SAVED}/resume")
    return Night(before, *wake_up(second, new.values()))


SLEEPS = {"S3": in_memory, "S4": on_disk}


# A guest is of no use after its sleep, and each case looks at what came of the same one.
NIGHTS: dict[str, Night] = {}


@pytest.fixture(scope="module", params=SLEEPS)
def night(request: pytest.FixtureRequest, module: Path) -> Night:
    kind = request.param
    if kind not in NIGHTS:
        folder = folder_of(request.node) / kind
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "scratch").mkdir(parents=True)
        boots = Boots(folder / "guest")
        with boots.stack:
            NIGHTS[kind] = SLEEPS[kind](boots, folder / "scratch")
        shutil.rmtree(folder / "scratch")
    return NIGHTS[kind]


@pytest.mark.parametrize("case", CASES)
def test_what_changed_in_sleep_is_seen(night: Night, case: str) -> None:
    old, new = CASES[case]
    disk = old or new
    assert disk
    address = f"{disk.target}:{disk.lun}"
    before, after = night.before.get(address), night.after.get(address)
    if new is None:
        assert before and after is None, f"{address} is still there: {after}"
        return
    assert after, f"{address} is not there"
    assert after.size == new.size
    if old is None:
        assert before is None
        return
    assert before
    same = case not in SWAPPED
    assert (after.serial == before.serial) == same, f"serial {after.serial}, before {before.serial}"
    assert (after.first == before.first) == same, f"contents '{after.first}', before '{before.first}'"
    assert (after.diskseq == before.diskseq) == same, f"diskseq {after.diskseq}, before {before.diskseq}"


def test_the_log_is_clean(night: Night) -> None:
    logcheck.assert_clean(night.log, (DISK, IO_ERROR, OFFLINE), "the console")
