# SPDX-License-Identifier: GPL-2.0
"""CPUs go offline and come back under I/O that is polled for and under I/O that interrupts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guest import MEGABYTE, Controller, Disk, QemuGuest, fio, sysfs
from guest.pauses import Reader
from support.boots import OURS, Boots

pytestmark = [pytest.mark.main, pytest.mark.compare]


CPUS = 3
ROUNDS = 3
# Seconds that a read may take longer than one that needs no disk, which waits for its CPU, too.
STALL = 4
# What each disk has to do while all CPUs but one are away.
LEAST = 20
ONLINE = "/sys/devices/system/cpu/online"
# Each write is read back and checked soon after, until somebody ends it all.
ENDLESS = {"ioengine": "io_uring", "time_based": True, "runtime": 600, "size": "8m", "bsrange": "4k-32k"}
ENDLESS |= {"iodepth": 8, "verify_backlog": 32}


def goes_on(guest: QemuGuest, node: str) -> None:
    """Waits until more of a disk's reads and writes have been completed."""
    done = f"awk '{{ print $1 + $5 }}' /sys/block/{node[5:]}/stat"
    guest.run(
        f"wanted=$(($({done}) + {LEAST})); for i in $(seq 100); do "
        f"[ $({done}) -lt $wanted ] || exit 0; sleep 0.2; done; exit 1",
        check=True,
    )


def test_cpus_go_and_come_under_io(
    boot: Boots, scratch: Path, record_property: Callable[[str, Any], None]
) -> None:
    """All but one, several times. A queue whose CPUs are all gone gets its commands completed, and others
    serve who used it: no error, no data lost and no stall."""
    disks = [Disk(target, 0, 32 * MEGABYTE, scratch / f"disk{target}.img") for target in range(3)]
    guest = boot([Controller(disks, {"num_queues": CPUS})], module=None, smp=CPUS)
    # Both drivers can poll; the parameter's name is each one's own.
    guest.load(parameters=("" if OURS else "virtscsi_") + "poll_queues=1")
    kinds = [kind for kind, _ in sysfs.hardware_queues(guest, disks[0])]
    assert kinds == ["default", "default", "poll"]

    guest.run("head -c 1M /dev/zero >/dev/shm/no-disk", check=True)
    polled, woken, read = (guest.node(disk) for disk in disks)
    jobs = [
        fio.start(guest, node, **fio.write_options(**{**ENDLESS, **how}))
        for node, how in ((polled, {"hipri": True}), (woken, {}))
    ]
    reader, control = Reader(guest, read), Reader(guest, "/dev/shm/no-disk")
    for number in range(ROUNDS):
        # Now the last goes first, and then the first.
        order = list(range(1, CPUS))[:: 1 if number % 2 else -1]
        for state, left in ((0, "0"), (1, f"0-{CPUS - 1}")):
            each = (f"echo {state} >/sys/devices/system/cpu/cpu{cpu}/online" for cpu in order)
            guest.run(" && ".join(each), check=True)
            assert guest.out(f"cat {ONLINE}") == left
            for node in (polled, woken):
                goes_on(guest, node)
    assert not any(job.done() for job in jobs), "not under I/O to the end"
    reads, bare = reader.stop(), control.stop()
    record_property("longest pause", f"{reads.longest:.2f} s")
    record_property("longest pause without a disk", f"{bare.longest:.2f} s")
    guest.run("killall -INT fio", check=True)
    bound = STALL + bare.longest
    assert reads.count > ROUNDS and reads.longest < bound, f"pauses: {reads.pauses}"
    for name, job in zip(("polled", "woken"), jobs, strict=True):
        done = fio.Job.of(job.wait(60))
        record_property(f"slowest read, {name}", f"{done.slowest_read:.2f} s")
        assert done.error == 0 and done.result.rc in (0, 128), done.said
        assert done.reads > LEAST and done.writes > LEAST, done.said
        assert done.slowest_read < bound, f"{name}: a read took {done.slowest_read:.1f} s"
