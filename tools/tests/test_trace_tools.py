# SPDX-License-Identifier: GPL-2.0
"""The driver's tracepoints, as trace-cmd, perf and bpftrace read them: the tools that operators have."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from guest import Controller, Disk, paths
from guest.initramfs import libraries
from support.boots import Boots

pytestmark = [pytest.mark.install, pytest.mark.ours("it is about tracepoints of our driver")]

READS = 50
SETTLE = "mount -t tracefs none /sys/kernel/tracing 2>/dev/null; cd /tmp"
MANUAL = "docs/seeing-inside.md"


def with_libraries(*programs: str) -> dict[str, bytes | Path]:
    """Programs of the toolbox, and the libraries that they need."""
    names: Iterable[str] = {*programs, *(name for program in programs for name in libraries(program))}
    return {name: Path(name) for name in names}


def read(node: str) -> str:
    return f"dd if={node} of=/dev/null bs=4k count={READS} iflag=direct"


def test_trace_cmd_records_and_reports_commands(boot: Boots) -> None:
    disk = Disk(0, 0)
    guest = boot([Controller([disk])], memory=1024, files=with_libraries("/usr/bin/trace-cmd"))
    record = f"trace-cmd record -q -e virtio_scsi_rs {read(guest.node(disk))}"
    guest.run(f"{SETTLE}; {record}", timeout=120, check=True)
    report = guest.out("cd /tmp; trace-cmd report", timeout=120)
    sent = re.findall(r"virtio_scsi_queue_command: .* tag=(\S+) .*cdb=28", report)
    done = re.findall(r"virtio_scsi_complete_command: .* tag=(\S+) ", report)
    assert len(sent) == len(set(sent)) == READS, report[:2000]
    assert set(sent) <= set(done)


def test_perf_counts_commands(boot: Boots) -> None:
    disk = Disk(0, 0)
    guest = boot([Controller([disk])], memory=1024, files=with_libraries("/usr/bin/perf"))
    counts = guest.out(
        f"{SETTLE}; perf stat -a -x, -e virtio_scsi_rs:virtio_scsi_queue_command"
        f" -e virtio_scsi_rs:virtio_scsi_complete_command {read(guest.node(disk))} 2>&1",
        timeout=120,
    )
    for point in ("queue_command", "complete_command"):
        found = re.search(rf"^(\d+),,virtio_scsi_rs:virtio_scsi_{point},", counts, re.M)
        assert found and int(found[1]) == READS, counts


def test_bpftrace_runs_the_program_of_the_manual(boot: Boots) -> None:
    disk = Disk(0, 0)
    guest = boot([Controller([disk])], memory=3072, files=with_libraries("/usr/bin/bpftrace"))
    manual = (paths.REPO / MANUAL).read_text()
    (program,) = re.findall(r"^    bpftrace -e '\n(.*?)'$", manual, re.M | re.S)
    guest.run("cat >/tmp/program.bt", stdin=program.encode(), check=True)
    command = f"{SETTLE}; bpftrace -c '{read(guest.node(disk))}' program.bt 2>&1"
    said = guest.out(command, timeout=400)
    counts = [int(count) for count in re.findall(r"^[\[(]\S+ \S+\)? +(\d+) \|", said, re.M)]
    assert sum(counts) >= READS, said
