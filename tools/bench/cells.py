# SPDX-License-Identifier: GPL-2.0
"""What is counted: which I/O, on which machines."""

from dataclasses import dataclass, field
from typing import Any

KILOBYTE = 1024


@dataclass(frozen=True)
class Cell:
    """I/O of one kind, on each processor."""

    name: str
    kind: str
    size: int = 4 * KILOBYTE
    depth: int = 1
    # How many are submitted together; as many as have ended, if that is less.
    together: int = 128
    # How many pieces of memory each is read into or written from.
    segments: int = 1
    # How many are done in the two parts of a round.
    fewer: int = 640
    more: int = 2560

    @property
    def ios(self) -> int:
        """What the two parts differ by."""
        return self.more - self.fewer


# What is submitted together has all ended when the guest looks again: the numbers of such a cell are exact.
# How much of what is submitted singly has ended depends on who is quicker, the guest or QEMU.
CELLS = (
    Cell("4 KiB read, depth 1", "read"),
    Cell("4 KiB write, depth 1", "write"),
    Cell("4 KiB read, depth 32", "read", depth=32, fewer=3200, more=9600),
    Cell("4 KiB write, depth 32", "write", depth=32, fewer=3200, more=9600),
    Cell("256 KiB read, depth 1", "read", size=256 * KILOBYTE, segments=64, fewer=200, more=600),
)
# Read one after the other, so the next block follows each.
MORE_CELLS = (
    Cell("4 KiB read, depth 8", "read", depth=8, fewer=800, more=4000),
    Cell("4 KiB write, depth 8", "write", depth=8, fewer=800, more=4000),
)
SINGLY = Cell("4 KiB read, depth 32, singly", "read", depth=32, together=1, fewer=3200, more=9600)
# How often the driver asks in vain depends on how fast QEMU is.
POLLED = (
    Cell("4 KiB read, depth 1, polled", "poll"),
    Cell("4 KiB read, depth 32, polled", "poll", depth=32, fewer=3200, more=9600),
)
# Whose cost is shown by function.
SHOWN = "4 KiB read, depth 32"
COMPARED = "4 KiB read, depth 1"


@dataclass(frozen=True)
class Machine:
    """A guest; it has as many request queues as processors if `queues` is 0, and as many processes that
    read and write if `loads` is."""

    name: str
    processors: int = 1
    properties: dict[str, Any] = field(default_factory=dict)
    cells: tuple[Cell, ...] = CELLS
    queues: int = 0
    loads: int = 0
    # The parameters of each driver.
    parameters: dict[str, str] = field(default_factory=dict)
    # Disks, which take turns.
    units: int = 1


QUICK = Machine("1 processor")
ALL = (
    Machine(QUICK.name, cells=(*CELLS, *MORE_CELLS, SINGLY)),
    Machine("2 processors", 2),
    Machine("4 processors", 4),
    Machine("INDIRECT_DESC off", properties={"indirect_desc": False}),
    Machine("EVENT_IDX off", properties={"event_idx": False}),
    Machine("packed", properties={"packed": True}),
    Machine("ACCESS_PLATFORM", properties={"iommu_platform": True, "disable-legacy": "on"}),
    Machine(
        "polled queue",
        processors=2,
        cells=POLLED,
        loads=1,
        parameters={"c": "virtscsi_poll_queues=1", "ours": "poll_queues=1"},
    ),
)


def chosen(word: str) -> list[Machine]:
    """`quick`, `all`, or the machines that have one of these in their names, with commas between."""
    if word in ("", "quick"):
        return [QUICK]
    wanted = [each.strip() for each in word.split(",")]
    found = [machine for machine in ALL if word == "all" or any(each in machine.name for each in wanted)]
    if not found:
        known = ", ".join(machine.name for machine in ALL)
        raise SystemExit(
            f"error: CELLS={word}: it can be quick, all, or parts of these, with commas: {known}"
        )
    return found
