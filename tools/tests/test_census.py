# SPDX-License-Identifier: GPL-2.0
"""What disks that are read have to bear while the driver looks for units: reads per second before, during and
after it, and the longest read. 255 targets are empty, or nearly so.

LONG=1 also has 16 and 64 disks read at once.
"""

import os
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, sysfs
from guest.device import TestDevice
from support.boots import OURS, Boots
from support.known_lines import COMES_AND_GOES
from support.machines import S3
from support.workloads import RANDOM_READS

pytestmark = [pytest.mark.figures, pytest.mark.compare]


COUNTS = [1, *([16, 64] if os.environ.get("LONG") else [])]
# Seconds, and milliseconds of a window of fio's log.
BEFORE, AFTER, WINDOW = 3, 4, 100
LOG = "/tmp/reads"
TOLD = "told: "
MISSED = "events may have been missed, checking all logical units"
FOUND = r"scsi \d+:0:255:0: Direct-Access"
SLEEP = """
say() {{ sed "s/^/told: /" >/dev/console; }}
{reads} >/dev/null &
sleep {before}
echo "at ${{EPOCHREALTIME/./}}" | say
echo mem >/sys/power/state
echo "at ${{EPOCHREALTIME/./}}" | say
wait
say <{log}_iops.1.log
echo "all told" >/dev/console
"""


def clock(guest: QemuGuest) -> float:
    """The guest's milliseconds since the epoch."""
    return int(guest.out("echo ${EPOCHREALTIME/./}")) / 1000


@dataclass(frozen=True)
class Figures:
    """Reads per second, by median, and seconds."""

    before: float
    first_second: float
    later: float
    # 0: not known.
    longest: float
    took: float

    @classmethod
    def of(cls, log: str, began: float, over: float, longest: float) -> "Figures":
        """From fio's log, and the milliseconds at which something was done."""
        lines = [line.split(",")[:2] for line in log.splitlines()]
        windows = [(float(at), float(count)) for at, count in lines]

        def median(first: float, last: float) -> float:
            return statistics.median([count for at, count in windows if first <= at < last] or [0])

        before = median(began - BEFORE * 1000, began)
        first_second = median(over, over + 1000)
        later = median(over + 1000, over + 1000 + AFTER * 1000)
        return cls(before, first_second, later, longest, (over - began) / 1000)


@dataclass
class Bench:
    guest: QemuGuest
    # The disks that are read. A host with a single one is the hard case.
    nodes: list[str]

    def reads(self, runtime: int) -> str:
        """Reads of all disks, with a log of reads per second."""
        options = {**RANDOM_READS, "runtime": runtime, "iodepth": 32}
        # Else fio opens all disks again whenever it has read them once.
        endless = {"io_size": "1t", "norandommap": 1}
        logs = {"write_iops_log": LOG, "log_avg_msec": WINDOW, "log_unix_epoch": 1}
        # To find the statistics of 64 disks takes fio most of a minute before it reads.
        return fio.command(":".join(self.nodes), disk_util=0, **options, **endless, **logs)

    def has_read(self) -> int:
        """How many reads of the last disk have ended."""
        return int(self.guest.out(f"cat /sys/block/{Path(self.nodes[-1]).name}/stat").split()[0])

    def measure(self, act: Callable[["Bench"], None]) -> Figures:
        """Does something after a while."""
        guest = self.guest
        guest.run(f"rm -f {LOG}*", check=True)
        former = self.has_read()
        reads = guest.spawn(self.reads(600))
        deadline = time.monotonic() + 60
        while self.has_read() == former:
            assert not reads.done() and time.monotonic() < deadline, "fio does not read"
        time.sleep(BEFORE + 1)
        began = clock(guest)
        act(self)
        over = clock(guest)
        time.sleep(AFTER + 1)
        guest.run("killall -INT fio", check=True)
        job = fio.Job.of(reads.wait(60))
        assert job.error == 0, job.said
        log = guest.out(f"cat {LOG}_iops.1.log")
        return Figures.of(log, began, over, job.slowest_read)

    def sleep(self) -> Figures:
        """Suspends the guest to memory after a while, and wakes it at once. Its agent does not live
        through that, so the guest tells on its console."""
        guest = self.guest
        since = len(guest.console_log)
        guest.agent_may_be_lost()
        guest.spawn(SLEEP.format(reads=self.reads(BEFORE + AFTER + 6), before=BEFORE + 1, log=LOG))
        deadline = time.monotonic() + 60
        while guest.qmp("query-status")["status"] != "suspended":
            assert time.monotonic() < deadline, guest.console_log[-3000:]
            time.sleep(0.1)
        guest.qmp("system_wakeup")
        while "all told" not in (said := guest.console_log[since:]):
            assert time.monotonic() < deadline + 60, guest.console_log[-3000:]
            time.sleep(0.2)
        told = [line.partition(TOLD)[2] for line in said.splitlines() if TOLD in line]
        stamps = [int(line.split()[1]) / 1000 for line in told if line.startswith("at")]
        log = "\n".join(line for line in told if "," in line)
        return Figures.of(log, stamps[0], stamps[1], 0)


def bench_of(count: int, boot: Boots, scratch: Path) -> Bench:
    disks = [Disk(target, 0, 2 * MEGABYTE, scratch / f"{count}-{target}.img") for target in range(count)]
    guest = boot([Controller(disks, {"num_queues": 2})], smp=2, **S3)
    return Bench(guest, [guest.node(disk) for disk in disks])


def name(count: int) -> str:
    return f"{count} disks"


@pytest.fixture(scope="module", params=COUNTS, ids=name)
def bench(request: pytest.FixtureRequest, boot_shared: Boots, scratch_shared: Path) -> Bench:
    return bench_of(request.param, boot_shared, scratch_shared)


def reset(bench: Bench) -> None:
    if not OURS:
        pytest.skip("the driver has no reset of the device")
    bench.guest.run("sg_reset -H /dev/sg0", check=True)


def reset_unit(bench: Bench) -> None:
    bench.guest.run("sg_reset -d /dev/sg0", check=True)


def miss_events(bench: Bench) -> None:
    """More events than the device has buffers for."""
    guest = bench.guest
    disk = guest.disks[0]
    guest.qmp("stop")
    for size in range(3, 80):
        guest.qmp("block_resize", {"node-name": disk.node, "size": size * MEGABYTE})
    guest.qmp("cont")
    guest.wait_until(f"test $(blockdev --getsize64 {bench.nodes[0]}) = {79 * MEGABYTE}")


def plug(bench: Bench) -> None:
    """A disk comes and goes."""
    guest = bench.guest
    disk = guest.add_disk(Disk(100, 0, MEGABYTE))
    guest.node(disk)
    guest.remove_disk(disk)
    guest.wait_until(f"! test -e /sys/bus/scsi/devices/{guest.address(disk)}")


def scan(bench: Bench) -> None:
    """The midlayer's own, which the driver has no part in."""
    bench.guest.run(f"echo '- - -' >/sys/class/scsi_host/host{bench.guest.host()}/scan", check=True)


ACTS = {
    "a reset of the device": reset,
    "a reset of a unit": reset_unit,
    "missed events": miss_events,
    "hot-plug": plug,
    "a scan by the user": scan,
}


def note(figures: Figures, record_property: Callable[[str, object], None]) -> None:
    record_property("reads/s before", f"{figures.before:.0f}")
    record_property("in the next second", f"{figures.first_second:.0f}")
    record_property("later", f"{figures.later:.0f}")
    record_property("longest read, s", f"{figures.longest:.2f}")
    record_property("took, s", f"{figures.took:.2f}")
    assert figures.before > 0


@pytest.mark.parametrize("act", ACTS)
def test_disks_are_read_while_units_are_looked_for(
    bench: Bench, act: str, record_property: Callable[[str, object], None]
) -> None:
    note(bench.measure(ACTS[act]), record_property)


@pytest.mark.parametrize("count", COUNTS, ids=name)
def test_disks_are_read_after_a_sleep(
    boot: Boots, scratch: Path, count: int, record_property: Callable[[str, object], None]
) -> None:
    note(bench_of(count, boot, scratch).sleep(), record_property)


def logged(guest: QemuGuest) -> float:
    """Seconds from the driver's line on missed events to the midlayer's on the new unit."""
    lines = guest.dmesg()
    began, found = (float(re.findall(rf"\[ *([\d.]+)\] .*{said}", lines)[-1]) for said in (MISSED, FOUND))
    return found - began


@pytest.mark.parametrize("count", [0, *([1000] if os.environ.get("LONG") else [])])
def test_one_new_target_is_found_among_many(
    serve: Callable[..., TestDevice], boot: Boots, count: int, record_property: Callable[[str, object], None]
) -> None:
    """After missed events, beside a disk that is read: 255 empty targets, or a thousand units of 250."""
    many = [(1 + number % 250, number // 250) for number in range(count)]
    disks = [{"target": target, "lun": lun, "size": "1M"} for target, lun in [(0, 0), *many]]
    device = serve({"unit": disks})
    began = time.monotonic()
    guest = boot(**device.door("test", memory=2048), allow=COMES_AND_GOES)
    sysfs.wait_for_units(guest, 1 + count)
    guest.settle(300)
    bench = Bench(guest, [sysfs.unit_node(guest, 0, 0)])
    record_property("booted in, s", f"{time.monotonic() - began:.1f}")
    found: list[float] = []

    def look(bench: Bench) -> None:
        device("add_unit", unit={"target": 255, "lun": 0, "size": "1M"}, event=False)
        device("event", event=0, missed=True, wait=True)
        began = time.monotonic()
        device.wait_for(lambda: guest.run("test -e /sys/bus/scsi/devices/*:255:0").rc == 0, 200)
        found.append(time.monotonic() - began)

    figures = bench.measure(look)
    record_property("found in, s", f"{found[0]:.2f}")
    if OURS:
        record_property("by the guest's log, s", f"{logged(guest):.2f}")
    note(figures, record_property)
