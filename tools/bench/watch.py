# SPDX-License-Identifier: GPL-2.0
"""How long a driver holds its locks, and how many cache lines it touches, for each read or write: what
watch.c sees. A guest of its own, so that what is counted elsewhere is not disturbed."""

import array
import statistics
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from guest.guest import DRIVERS

from . import counts
from .cells import Cell, Machine
from .guests import WATCH, MarkedGuest

ROUNDS = 3
# More than the last function of a module has.
PAGE = 4096
# In the order of watch.c.
KINDS = ("stack", "static", "heap")
LOCK, UNLOCK = "_raw_spin_lock", "_raw_spin_unlock"
TRYLOCK = "_raw_spin_trylock"
# Any lock of modules: those of virtqueues have no name.
SUFFIXES = ("", "_irq", "_irqsave", "_irqrestore", "_bh")


@dataclass
class Hold:
    """What a place does that takes a lock: the instructions from the call that takes it up to the call that
    releases it."""

    calls: float = 0.0
    instructions: float = 0.0
    longest: float = 0.0


@dataclass
class Seen:
    """What was seen between two marks."""

    touched: dict[str, float]
    written: dict[str, float]
    # By the address of the call.
    holds: dict[int, Hold] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> "Seen":
        """One of the files that watch.c describes."""
        words = array.array("Q", file.read_bytes())
        kinds = len(KINDS)
        if len(words) < 2 * kinds or (len(words) - 2 * kinds) % 4:
            raise ValueError(f"{file} has not been written by the plugin")
        touched = dict(zip(KINDS, map(float, words[:kinds]), strict=True))
        written = dict(zip(KINDS, map(float, words[kinds : 2 * kinds]), strict=True))
        holds = {
            words[at]: Hold(*map(float, words[at + 1 : at + 4])) for at in range(2 * kinds, len(words), 4)
        }
        return cls(touched, written, holds)


def by_driver(seen: Seen, ios: int, mine: Callable[[int], bool]) -> dict[str, float]:
    """What one read or write costs the driver whose calls are `mine`."""
    found = {f"{kind} lines": seen.touched[kind] / ios for kind in KINDS}
    found["lines"] = sum(found.values())
    found["lines written"] = sum(seen.written.values()) / ios
    holds = [hold for address, hold in seen.holds.items() if mine(address)]
    calls = sum(hold.calls for hold in holds)
    found["locks"] = calls / ios
    found["held"] = sum(hold.instructions for hold in holds) / ios
    found["mean hold"] = sum(hold.instructions for hold in holds) / calls if calls else 0.0
    found["longest hold"] = max((hold.longest for hold in holds), default=0.0)
    return found


@dataclass
class Watched:
    """What a cell costs with a driver, one entry for each round."""

    rounds: list[dict[str, float]] = field(default_factory=list)

    def median(self, what: str) -> float:
        return statistics.median(each[what] for each in self.rounds)

    def exact(self, what: str) -> bool:
        """Whether all rounds agree."""
        found = [each[what] for each in self.rounds]
        return max(found) - min(found) < 0.0005


def options(kallsyms: str) -> str:
    """watch.c's, from the kernel's functions."""
    addresses = {words[2]: words[0] for words in map(str.split, kallsyms.splitlines()) if len(words) == 3}

    def those(*names: str) -> str:
        return ":".join(
            addresses[name + end] for name in names for end in SUFFIXES if name + end in addresses
        )

    return f",locks={those(LOCK, TRYLOCK)},unlocks={those(UNLOCK)}"


def text_of(symbols: counts.Symbols, driver: str) -> tuple[int, int]:
    """Where the driver's code is: from its first function to what follows its last."""
    addresses = [function.address for function in symbols.functions]
    own = [function.address for function in symbols.functions if function.module == driver]
    behind = bisect_right(addresses, max(own))
    end = max(own) + PAGE
    return min(own), min(end, addresses[behind]) if behind < len(addresses) else end


def cell_seen(
    guest: MarkedGuest, cell: Cell, symbols: counts.Symbols, driver: str
) -> Iterable[dict[str, float]]:
    """Runs a cell; what an I/O costs, by round."""
    files = guest.run_load(cell, ROUNDS, text_of(symbols, driver))
    loads = guest.loads
    # The longer part of each round.
    for file in files[2::2]:
        yield by_driver(Seen.read(file), cell.more * loads, lambda at: symbols.at(at).module == driver)
    for file in files:
        file.unlink()


def run(machine: Machine, kallsyms: str) -> dict[str, dict[str, Watched]]:
    """All cells of a machine with both drivers; the kernel's functions are where an earlier boot had them."""
    found: dict[str, dict[str, Watched]] = {
        driver: {cell.name: Watched() for cell in machine.cells} for driver in DRIVERS
    }
    with MarkedGuest(machine, WATCH, options(kallsyms)) as guest:
        guest.prepare()
        kernel = guest.symbols()
        if options(kernel) != options(kallsyms):
            raise SystemExit("error: the kernel's functions are elsewhere after another boot")
        for driver in ("c", "ours"):
            with guest.driver_loaded(driver) as module:
                symbols = counts.Symbols(kernel + module)
                for cell in machine.cells:
                    print(f"   {machine.name}: {cell.name}: {DRIVERS[driver].name} watched", flush=True)
                    for costs in cell_seen(guest, cell, symbols, DRIVERS[driver].name):
                        found[driver][cell.name].rounds.append(costs)
    return found
