# SPDX-License-Identifier: GPL-2.0
"""Blocks of 4 KiB on a disk of the guest's, each of which says its number, as commands of the shell."""

BLOCK = 4096


def fill(node: str, count: int) -> str:
    """Writes the first blocks of a disk, and has nothing of them stay in memory."""
    blocks = f"for i in {{0..{count - 1}}}; do yes $i | head -c {BLOCK}; done >{node}; sync"
    return f"{blocks}; echo 3 >/proc/sys/vm/drop_caches"


def compare(node: str, number: int) -> str:
    """Reads a block past all caches, and compares it with what it should be."""
    return (
        f"dd if={node} bs={BLOCK} count=1 skip={number} iflag=direct 2>/dev/null "
        f"| cmp - <(yes {number} | head -c {BLOCK})"
    )
