# SPDX-License-Identifier: GPL-2.0
"""Runs cells in a guest whose instructions are counted."""

import statistics
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from guest.guest import DRIVERS

from . import counts
from .cells import Cell, Machine
from .guests import PLUGIN, MarkedGuest

# How often each driver is loaded, one after the other, and how many rounds there are each time.
PASSES = 2
ROUNDS = 3

# What a driver answers for.
OWN = ("driver", "beside")
KICKS = ("vp_notify", "vp_notify_with_data")
# In the name of the function by which the midlayer asks for completions, with either driver.
POLL = "mq_poll"
INTERRUPTS = ("vring_interrupt",)


@dataclass
class Result:
    """What a cell costs with a driver: one entry for each round."""

    rounds: list[dict[str, float]] = field(default_factory=list)
    functions: dict[str, list[counts.Cost]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)

    def add(self, executions: dict[counts.Block, float], driver: str, symbols: counts.Symbols) -> None:
        costs = counts.by_function(executions, symbols)
        sums = counts.sums(costs, driver, symbols)
        sums["kicks"] = counts.calls(costs, KICKS)
        sums["interrupts"] = counts.calls(costs, INTERRUPTS)
        sums["polls"] = sum(
            cost.calls
            for function, cost in costs.items()
            if function.module == driver and POLL in function.name
        )
        sums["text lines"] = counts.text_lines(executions, symbols, driver)
        self.rounds.append(sums)
        for function, cost in costs.items():
            self.functions.setdefault(function.key, []).append(cost)
            self.parts[function.key] = counts.part(function, driver, symbols)

    def median(self, *what: str) -> float:
        """Of the sum of these parts."""
        return statistics.median(self._sums(*what))

    def exact(self, *what: str) -> bool:
        """Whether all rounds agree."""
        sums = self._sums(*what)
        return max(sums) - min(sums) < 0.0005

    def _sums(self, *what: str) -> list[float]:
        return [sum(one[each] for each in what) for one in self.rounds]

    def _costs(self, key: str) -> list[counts.Cost]:
        """A function's of all rounds; in one where it was not executed it cost nothing."""
        costs = self.functions.get(key, [])
        return costs + [counts.Cost()] * (len(self.rounds) - len(costs))

    def range(self, key: str) -> tuple[float, float]:
        """The least and the most that a function cost."""
        costs = [cost.instructions for cost in self._costs(key)]
        return min(costs), max(costs)

    def function(self, key: str) -> counts.Cost:
        """What it cost, the median."""
        costs = self._costs(key)
        return counts.Cost(
            statistics.median(cost.instructions for cost in costs),
            statistics.median(cost.calls for cost in costs),
        )


# By driver, "c" or "ours", and by cell.
Results = dict[str, dict[str, Result]]


def count(
    guest: MarkedGuest, cell: Cell, ios: int, rounds: int = ROUNDS
) -> Iterator[dict[counts.Block, float]]:
    """Runs a cell; the executions for one I/O, of each round, whose parts differ by so many."""
    files = guest.run_load(cell, rounds)
    before, *after = [counts.read(file) for file in files]
    for fewer, more in zip(after[::2], after[1::2], strict=True):
        one, other = counts.since(before, fewer), counts.since(fewer, more)
        yield counts.per_io(one, other, ios)
        before = more
    for file in files:
        file.unlink()


def run(
    machine: Machine, drivers: Sequence[str] = ("c", "ours"), passes: int = PASSES, rounds: int = ROUNDS
) -> Results:
    """All cells of a machine, with the drivers by turns."""
    results: Results = {driver: {cell.name: Result() for cell in machine.cells} for driver in drivers}
    with MarkedGuest(machine, PLUGIN) as guest:
        guest.prepare()
        kernel = guest.symbols()
        for _ in range(passes):
            for driver in drivers:
                with guest.driver_loaded(driver) as module:
                    symbols = counts.Symbols(kernel + module)
                    for cell in machine.cells:
                        print(f"   {machine.name}: {cell.name}: {DRIVERS[driver].name}", flush=True)
                        ios = cell.ios * guest.loads
                        for executions in count(guest, cell, ios, rounds):
                            results[driver][cell.name].add(executions, DRIVERS[driver].name, symbols)
    return results


def sizes(module: Path) -> dict[str, int]:
    """The bytes of a module that stay in memory, by kind."""
    kinds = {".text": "text", ".rodata": "rodata", ".data": "data", ".bss": "data"}
    found = dict.fromkeys(("text", "rodata", "data"), 0)
    out = subprocess.run(["size", "-A", "-d", module], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        words = line.split()
        for start, kind in kinds.items():
            if len(words) == 3 and (words[0] == start or words[0].startswith(f"{start}.")):
                found[kind] += int(words[1])
    return found
