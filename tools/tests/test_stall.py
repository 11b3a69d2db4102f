# SPDX-License-Identifier: GPL-2.0
"""The storage of two disks stalls, as a network's does now and then, and comes back.

A slow device is no broken one: the commands wait, the driver sends no function that acts (LOGICAL UNIT RESET
has QEMU stand still until the storage is back), and neither the application nor another disk notices.

LONG=1 also has it stall for ten minutes.
"""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from guest import MEGABYTE, ChannelError, Controller, Disk, QemuGuest, fio, images
from guest.pauses import Reader
from support.boots import OURS, Boots
from support.known_lines import OUR_DRIVER

pytestmark = [pytest.mark.device, pytest.mark.compare]


STALLS = [60, *([600] if os.environ.get("LONG") else [])]
LASTS = [pytest.param(stall, marks=pytest.mark.waits(stall)) for stall in STALLS]
# Seconds: the longest that anybody but the stalled disks may wait. A busy machine delays a read by a second;
# error handling stops a host for ten or more.
GAP = 3
QUERY_TASK = 6
WRITE = {
    "ioengine": "libaio",
    "rw": "randwrite",
    "bs": "16k",
    "size": "16m",
    "iodepth": 8,
    "direct": 1,
    # For it to be at work when the storage stalls, and done soon after.
    "rate_iops": 150,
    "verify": "crc32c",
    "verify_fatal": 1,
    "do_verify": 1,
}


class Server:
    """A network block device whose server can stop."""

    def __init__(self, image: Path, socket: Path) -> None:
        images.make(image, 64 * MEGABYTE)
        self.socket = socket
        command = ["qemu-nbd", "-k", str(socket), "-t", "-f", "raw", str(image)]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 20
        while not socket.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, "qemu-nbd does not serve"
            time.sleep(0.05)

    def disk(self, target: int) -> Disk:
        return Disk(target, blockdev={"driver": "nbd", "server": {"type": "unix", "path": str(self.socket)}})

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.go_on()
        self.process.kill()
        self.process.wait()
        self.socket.unlink(missing_ok=True)


@pytest.fixture
def servers(scratch: Path) -> Iterator[list[Server]]:
    """To be named after `boot`: QEMU can end only when the storage is there."""
    started: list[Server] = []
    try:
        for number in range(2):
            # The path of a socket has at most 107 bytes.
            socket = Path(f"/tmp/stall-{os.getpid()}-{number}")
            started.append(Server(scratch / f"stalls{number}.img", socket))
        yield started
    finally:
        for server in started:
            server.end()


@contextmanager
def slowest_answer(guest: QemuGuest, patience: float) -> Iterator[list[float]]:
    """Asks QEMU again and again whether it runs; the seconds of each answer."""
    took: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.2):
            began = time.monotonic()
            try:
                guest.qmp("query-status", timeout=patience)
            except ChannelError:
                pass  # the seconds say it
            took.append(time.monotonic() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        over.set()
        asking.join()


@pytest.mark.parametrize("stall", LASTS)
def test_storage_that_stalls_is_waited_for(
    boot: Boots,
    servers: list[Server],
    scratch: Path,
    record_property: Callable[[str, Any], None],
    stall: int,
) -> None:
    """One of the disks has a time-out of five seconds, the other one the usual of thirty."""
    stalled = [server.disk(target) for target, server in enumerate(servers)]
    other = Disk(2)
    trace = scratch / "trace"
    guest = boot(
        [Controller([*stalled, other], {"num_queues": 2})],
        args=["-trace", "virtio_scsi_tmf_req", "-D", str(trace)],
        allow=[OUR_DRIVER],
        append="hung_task_panic=0",
    )
    guest.run(f"echo 5 >/sys/bus/scsi/devices/{guest.address(stalled[0])}/timeout", check=True)
    writers = [fio.start(guest, guest.node(disk), **WRITE) for disk in stalled]
    reader = Reader(guest, guest.node(other))
    time.sleep(3)
    for server in servers:
        server.stop()
    assert not any(writer.done() for writer in writers), "they are done before the storage stalls"
    with slowest_answer(guest, stall + 30) as answers:
        began = time.monotonic()
        time.sleep(stall)
        for server in servers:
            server.go_on()
        back = time.monotonic()
    record_property("QEMU's slowest answer", f"{max(answers):.1f} s")
    wrote = [fio.Job.of(writer.wait(120)) for writer in writers]
    record_property("seconds", f"{time.monotonic() - back:.1f}")
    reads = reader.stop()
    record_property("another disk's longest pause", f"{reads.longest:.1f} s")
    functions = {int(kind) for kind in re.findall(r"virtio_scsi_tmf_req.*subtype=(\d+)", trace.read_text())}
    record_property("functions", " ".join(map(str, sorted(functions))) or "none")
    for job in wrote:
        assert job.error == 0 and job.result.rc == 0, job.said
        assert job.writes == 1024 and job.written <= job.read, "not all of it was written and verified"
        assert job.result.seconds > back - began, "the storage did not stall"
    assert reads.count > stall, f"another disk was read {reads.count} times only"
    assert not reads.over(GAP), f"pauses of another disk's reads: {reads.pauses}"
    assert max(answers) < GAP, f"QEMU stood still for {max(answers):.1f} s"
    assert functions <= {QUERY_TASK}, f"functions that act: {functions}"
    # It does not wait by luck: it asked. The kernel's own driver has no such question.
    assert bool(functions) == OURS
