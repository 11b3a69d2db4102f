# SPDX-License-Identifier: GPL-2.0
"""The check that a kernel log is clean."""

import re
from collections.abc import Iterable

# Trouble at whatever level it is logged.
TROUBLE = re.compile(
    r"WARNING:|\bBUG\b|\bOops\b|Call Trace|blocked for more than|I/O error|Unhandled|"
    r"possible recursive locking|possible circular locking|inconsistent lock state|lock held|"
    r"KASAN|UBSAN|KCSAN|KFENCE|general protection fault|kernel NULL pointer|unable to handle|"
    r"soft lockup|hard LOCKUP|rcu_\w+ (self-)?detected|refcount_t|scheduling while atomic|"
    r"rust_kernel: panicked|Kernel panic|DMA-API:|slab-use-after-free"
)

# What Debian's stock kernel says of a virtual machine in such a way, with no SCSI driver loaded at all.
STOCK = (
    r"Kernel command line:",
    r"DMA-API: (preallocated|debugging enabled)",  # the kernel with sanitizers
    r"PCI: Fatal: No config space access function found",  # microvm has no PCI
    r"atkbd serio\d+: Failed to (deactivate|enable) keyboard",  # QEMU's, which answers late on a busy machine
)

# dmesg -r: <priority>[  time] text; the priority's low three bits are the level, 3 is "err".
RAW_LINE = re.compile(r"^<(\d+)>(.*)")
ERR = 3


class LogNotClean(AssertionError):
    """The kernel log holds lines that nobody expected."""


def trouble(log: str, allow: Iterable[str] = ()) -> list[str]:
    """The lines of a `dmesg -r`, or of a console log, that should not be there."""
    allowed = [re.compile(pattern) for pattern in (*STOCK, *allow)]
    found = []
    for line in log.splitlines():
        raw = RAW_LINE.match(line)
        bad = TROUBLE.search(line) or (raw and int(raw[1]) & 7 <= ERR)
        if bad and not any(pattern.search(line) for pattern in allowed):
            found.append(line)
    return found


def assert_clean(log: str, allow: Iterable[str], where: str) -> None:
    lines = trouble(log, allow)
    if lines:
        shown = "\n".join(f"    {line}" for line in lines[:40])
        raise LogNotClean(f"{len(lines)} unexpected lines in the kernel log ({where}):\n{shown}")
