# SPDX-License-Identifier: GPL-2.0
"""What the plugin counted, and whose instructions these are."""

import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

# What programs execute is one block of that address.
PROGRAMS = 0


class Block(NamedTuple):
    """Instructions that are executed one after the other."""

    address: int
    instructions: int
    bytes: int = 0


# How often each block was executed, by all processors together.
Executions = dict[Block, int]


def read(file: Path) -> Executions:
    """One of the files that plugin.c describes."""
    words = array.array("Q", file.read_bytes())
    if not words or (len(words) - 1) % (words[0] + 3):
        raise ValueError(f"{file} has not been written by the plugin")
    step = words[0] + 3
    return {Block(*words[at : at + 3]): sum(words[at + 3 : at + step]) for at in range(1, len(words), step)}


def since(before: Executions, after: Executions) -> Executions:
    """The executions between two files."""
    found = {block: count - before.get(block, 0) for block, count in after.items()}
    return {block: count for block, count in found.items() if count}


def per_io(fewer: Executions, more: Executions, ios: int) -> dict[Block, float]:
    """The executions that `ios` further reads or writes cost, each. What both runs had to do once, to begin
    and to end, is not in the difference."""
    found = {block: more.get(block, 0) - fewer.get(block, 0) for block in {**fewer, **more}}
    return {block: count / ios for block, count in found.items() if count}


@dataclass(frozen=True)
class Function:
    """A function of the kernel, or of a module."""

    name: str
    module: str
    address: int

    @property
    def key(self) -> str:
        """Its name in any boot, and with either driver loaded."""
        return f"{self.name} [{self.module}]" if self.module else self.name


PROGRAM = Function("(programs)", "", PROGRAMS)
UNKNOWN = Function("(unknown)", "", PROGRAMS)


class Symbols:
    """The functions of the guest's kernel, from its /proc/kallsyms."""

    def __init__(self, kallsyms: str) -> None:
        found: dict[int, Function] = {}
        for line in kallsyms.splitlines():
            address, kind, name, *module = line.split()
            # Each function has a symbol for the space before it as well.
            if kind in "tTwW" and not name.startswith("__pfx_"):
                there = int(address, 16)
                found.setdefault(there, Function(name, module[0].strip("[]") if module else "", there))
        self.functions = [found[address] for address in sorted(found)]
        self._addresses = [function.address for function in self.functions]
        if not self.functions or not self._addresses[0]:
            raise ValueError("the kernel hides its symbols")
        ring = [
            function.address
            for function in self.functions
            if function.name.startswith(("virtqueue_", "vring_"))
            and not (function.module or function.name.endswith(".cold"))
        ]
        # virtio_ring is one file and built in, so its functions lie together.
        self._ring = (min(ring), max(ring)) if ring else (0, 0)

    def at(self, address: int) -> Function:
        """The function that the address is in."""
        if address == PROGRAMS:
            return PROGRAM
        index = bisect_right(self._addresses, address)
        return self.functions[index - 1] if index else UNKNOWN

    def of_ring(self, function: Function) -> bool:
        return self._ring[0] <= function.address <= self._ring[1]


@dataclass
class Cost:
    """What a function costs: its own instructions, not those of the functions that are called in it."""

    instructions: float = 0.0
    calls: float = 0.0


def by_function(executions: Mapping[Block, float], symbols: Symbols) -> dict[Function, Cost]:
    costs: dict[Function, Cost] = {}
    for block, count in executions.items():
        function = symbols.at(block.address)
        cost = costs.setdefault(function, Cost())
        cost.instructions += count * block.instructions
        # A call jumps to the function's first instruction, so a block begins there.
        if block.address == function.address:
            cost.calls += count
    return costs


# Bytes of a cache line, and how often a line has to be executed to be one of each I/O's.
LINE = 64
OFTEN = 0.5


def text_lines(executions: Mapping[Block, float], symbols: Symbols, driver: str) -> int:
    """The cache lines of the driver's code that an I/O needs."""
    found: set[int] = set()
    for block, count in executions.items():
        if count >= OFTEN and symbols.at(block.address).module == driver:
            found.update(range(block.address // LINE, (block.address + block.bytes - 1) // LINE + 1))
    return len(found)


# C functions outside the drivers that nobody but these calls when a command is sent or completed.
BESIDE = ("virtio_check_driver_offered_feature", "__virtio_check_driver_offered_feature", "blk_mq_unique_tag")

# The parts that instructions are counted in, in the order they are shown.
PARTS = ("driver", "beside", "virtio_ring", "scsi_mod", "sd_mod", "other kernel", "programs")


def part(function: Function, driver: str, symbols: Symbols) -> str:
    """Which of PARTS a function belongs to, with this driver loaded."""
    if function.module == driver:
        return "driver"
    if function.module in ("scsi_mod", "sd_mod"):
        return function.module
    if function == PROGRAM:
        return "programs"
    # The kernel crate and the C functions made for Rust.
    if not function.module and (function.name.startswith(("rust_helper_", "_R")) or function.name in BESIDE):
        return "beside"
    return "virtio_ring" if symbols.of_ring(function) else "other kernel"


def sums(costs: Mapping[Function, Cost], driver: str, symbols: Symbols) -> dict[str, float]:
    """The instructions of each part, and of all."""
    found = dict.fromkeys(PARTS, 0.0)
    for function, cost in costs.items():
        found[part(function, driver, symbols)] += cost.instructions
    return {**found, "guest": sum(found.values())}


def calls(costs: Mapping[Function, Cost], names: Iterable[str]) -> float:
    return sum(cost.calls for function, cost in costs.items() if function.name in names)
