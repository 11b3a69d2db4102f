# SPDX-License-Identifier: GPL-2.0
"""A disk behind two controllers, and dm-multipath above it, when one of the two stalls.

With another path, a command that takes long should come back, and dm-multipath marks its commands so.
Without one, it should wait. multipathd finds the paths, makes the device and checks them, as on any machine.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from guest import QemuGuest, fio
from guest.device import Mark, TestDevice, doors
from guest.guest import Handle
from guest.pauses import Reader
from support.boots import Boots
from support.known_lines import IO_ERROR, OUR_DRIVER, UNIT

pytestmark = [pytest.mark.device, pytest.mark.compare]


Record = Callable[[str, Any], None]

# Seconds: the time-out of the disks, what the driver may wait longer, and some for a machine that is busy.
TIMEOUT, PATIENCE, MARGIN = 2, 5, 5
# The midlayer tries what was aborted again, as long as six time-outs are not over.
TRIES = 3
# How long nothing may happen where nothing is asked for.
QUIET = 8
# The kernel says what dm-multipath does, and which I/O of a path failed.
ALLOW = (OUR_DRIVER, UNIT, IO_ERROR, r"device-mapper: multipath")
CONFIGURATION = b"""
defaults {
    find_multipaths yes
    path_grouping_policy multibus
    path_selector "round-robin 0"
    rr_min_io_rq 1
    path_checker tur
    checker_timeout 2
    polling_interval 1
    detect_prio no
    prio const
    no_path_retry fail
    skip_kpartx yes
}
"""
WRITE = {
    "ioengine": "libaio",
    "rw": "randwrite",
    "bs": "16k",
    "iodepth": 8,
    "direct": 1,
    "size": "8m",
    # For it to be at work when the path stalls.
    "rate_iops": 100,
    "verify": "crc32c",
    "verify_fatal": 1,
    "do_verify": 1,
}
WRITES = 512
# All that is sent to the controller is kept, and released by this name.
STALL = {"hold": "stall"}


@dataclass
class Paths:
    """Two controllers with a disk that both of them have; the first also has one of its own."""

    first: TestDevice
    guest: QemuGuest
    # The nodes of the multipath device, and of the first controller's own disk.
    both: str
    own: str

    def stall(self) -> Mark:
        """From now on the first controller keeps all commands. Returns where its log is."""
        mark = self.first.mark()
        self.first.rule("stall", {}, **STALL)
        return mark

    def go_on(self) -> None:
        self.first("remove_rule", name="stall")
        self.first("release", name="stall")

    def acted(self, mark: Mark, unit: str) -> set[str]:
        """The functions for a unit of the first controller that are no mere question."""
        return {line["name"] for line in self.first.since(mark, "tmf", unit=unit)} - {"query_task"}

    def read_own(self) -> Handle:
        return self.guest.spawn(f"dd if={self.own} of=/dev/null bs=4k count=1 iflag=direct")


def set_times(guest: QemuGuest) -> None:
    times = f"echo {TIMEOUT} >$f/timeout; echo {TIMEOUT} >$f/eh_timeout"
    guest.run(f"for f in /sys/block/sd*/device; do {times}; done", check=True)


def start(serve: Callable[..., TestDevice], boot: Boots, scratch: Path, parameters: str) -> Paths:
    shared = {"lun": 0, "size": "16M", "file": scratch / "shared.img", "serial": "SHARED"}
    first = serve({"unit": [shared, {"lun": 1, "size": "16M", "serial": "OWN"}]}, name="first")
    second = serve({"unit": [shared]}, name="second")
    guest = boot(
        **doors("scsi", first, second),
        parameters=parameters,
        allow=ALLOW,
        append="hung_task_panic=0",
        files={"/etc/multipath.conf": CONFIGURATION},
    )
    guest.wait_until("test $(ls -d /sys/bus/scsi/devices/*:0:*/block/* | wc -l) -eq 3")
    set_times(guest)
    guest.run("mkdir -p /etc/multipath; modprobe -a dm-multipath dm-round-robin", check=True)
    guest.run("/usr/lib/systemd/systemd-udevd --daemon; udevadm trigger -w -s block --action=add", check=True)
    guest.spawn("multipathd -d -v2 >/run/multipathd.log 2>&1")
    # Two paths, and both are active.
    guest.wait_until("test $(dmsetup status --target multipath | grep -oE '[0-9]+:[0-9]+ A' | wc -l) -eq 2")
    name = guest.out("dmsetup info -c --noheadings -o name")
    own = guest.out("basename $(ls -d /sys/bus/scsi/devices/*:0:0:1/block/*)")
    return Paths(first, guest, f"/dev/mapper/{name}", f"/dev/{own}")


def test_a_path_that_stalls_is_waited_for(
    serve: Callable[..., TestDevice], boot: Boots, scratch: Path, record_property: Record
) -> None:
    """If nobody says how long, as with the kernel's own driver."""
    paths = start(serve, boot, scratch, "recovery_step=1")
    writer = fio.start(paths.guest, paths.both, **WRITE)
    time.sleep(1)
    mark = paths.stall()
    reader = paths.read_own()
    time.sleep(QUIET)
    assert paths.first.held("stall"), "nothing was sent to the path that stalls"
    assert not writer.done() and not reader.done(), "what the path keeps is done"
    acted = paths.acted(mark, "0:0") | paths.acted(mark, "0:1")
    paths.go_on()
    job = fio.Job.of(writer.wait(60))
    record_property("seconds", f"{job.result.seconds:.1f}")
    assert not acted, f"functions that act: {acted}"
    assert job.error == 0 and job.result.rc == 0, job.said
    assert job.writes == WRITES
    reader.wait(30, check=True)


def test_a_path_that_stalls_is_left_in_time(
    serve: Callable[..., TestDevice], boot: Boots, scratch: Path, record_property: Record
) -> None:
    """The other path takes over, and a disk that has no other path is waited for all the same."""
    paths = start(serve, boot, scratch, f"recovery_step=1 recovery_failfast={PATIENCE}")
    writer = fio.start(paths.guest, paths.both, **WRITE)
    reads = Reader(paths.guest, paths.both)
    time.sleep(1)
    mark = paths.stall()
    own = paths.read_own()
    bound = TIMEOUT + PATIENCE + MARGIN
    began = time.monotonic()
    while not writer.done() and time.monotonic() < began + 3 * bound:
        time.sleep(0.2)
    record_property("seconds", f"{time.monotonic() - began:.1f}")
    left, waits = writer.done(), not own.done()
    stalled, own_acted = paths.acted(mark, "0:0"), paths.acted(mark, "0:1")
    paths.go_on()
    job = fio.Job.of(writer.wait(60))
    pauses = reads.stop()
    record_property("longest pause", f"{pauses.longest:.1f} s")
    assert left, f"the writes are not done {3 * bound} s after one path stalled"
    assert job.error == 0 and job.result.rc == 0, job.said
    assert job.writes == WRITES
    assert not pauses.over(bound), f"pauses of the reads: {pauses.pauses}"
    assert stalled == {"abort_task"}
    assert waits and not own_acted, f"the disk without another path was not waited for: {own_acted}"
    own.wait(30, check=True)


def test_patience_ends_any_command(
    serve: Callable[..., TestDevice], boot: Boots, record_property: Record
) -> None:
    """It also holds for who has no other path, and can be set while a command waits."""
    first = serve({"unit": [{"size": "16M"}]})
    guest = boot(
        **first.door("scsi"),
        parameters=f"recovery_step=1 recovery_patience={PATIENCE}",
        allow=ALLOW,
        append="hung_task_panic=0",
    )
    set_times(guest)
    paths = Paths(first, guest, "", "/dev/sda")
    mark = paths.stall()
    bound = TRIES * (TIMEOUT + PATIENCE + MARGIN)
    result = paths.read_own().wait(bound)
    record_property("seconds", f"{result.seconds:.1f}")
    assert result.rc != 0, "the disk that stalls was read"
    assert result.seconds > TIMEOUT + PATIENCE - 1, f"it ended after {result.seconds:.1f} s"
    assert "abort_task" in paths.acted(mark, "0:0")

    parameter = f"/sys/module/{guest.driver.name}/parameters/recovery_patience"
    guest.run(f"echo 0 >{parameter}", check=True)
    mark = paths.first.mark()
    reader = paths.read_own()
    time.sleep(QUIET)
    assert not reader.done() and not paths.acted(mark, "0:0"), "it is not waited for"
    guest.run(f"echo {PATIENCE} >{parameter}", check=True)
    assert reader.wait(bound).rc != 0
