# SPDX-License-Identifier: GPL-2.0
"""What it costs to find many units, and to read from many."""

import time
from collections.abc import Iterable
from typing import Any

from guest.guest import DRIVERS

from . import bench, counts, report
from .cells import CELLS, Machine
from .guests import PLUGIN, MarkedGuest

COUNTS = (1, 64, 256, 1000)
# Megabytes of a guest; each unit has its schedulers' requests.
MEMORY, MEMORY_OF_UNIT = 1024, 2
SETTLE = 900
# A command is put on a virtqueue by this.
ADD = ("virtqueue_add_sgs",)
# How many functions build/bench/units.json names.
FUNCTIONS = 20
READS = tuple(cell for cell in CELLS if cell.kind == "read" and cell.segments == 1)


def _dearest(
    costs: dict[counts.Function, counts.Cost], driver: str, symbols: counts.Symbols
) -> dict[str, float]:
    """The instructions of the driver's functions that cost most."""
    own = {
        function.name: cost.instructions
        for function, cost in costs.items()
        if counts.part(function, driver, symbols) in bench.OWN
    }
    dearest = sorted(own, key=lambda name: -own[name])[:FUNCTIONS]
    return dict(zip(report.demangled(dearest).values(), (own[name] for name in dearest), strict=True))


def _probe(guest: MarkedGuest, driver: str, kernel: str) -> tuple[dict[str, Any], counts.Symbols]:
    """Loads the driver, which binds the controller and looks for its units."""
    before = guest.mark()
    began = time.monotonic()
    guest.run(f"insmod {DRIVERS[driver].path}", SETTLE, check=True)
    guest.settle(SETTLE)
    seconds = time.monotonic() - began
    after = guest.mark()
    name = DRIVERS[driver].name
    symbols = counts.Symbols(kernel + guest.driver_symbols(driver))
    costs = counts.by_function(counts.since(counts.read(before), counts.read(after)), symbols)
    sums = counts.sums(costs, name, symbols)
    found = {
        "seconds": seconds,
        "commands": counts.calls(costs, ADD),
        "own": sums["driver"] + sums["beside"],
        "midlayer": sums["scsi_mod"] + sums["sd_mod"],
        "guest": sums["guest"],
        "functions": _dearest(costs, name, symbols),
    }
    return found, symbols


def _reads(guest: MarkedGuest, symbols: counts.Symbols, driver: str) -> Iterable[tuple[str, bench.Result]]:
    for cell in READS:
        result = bench.Result()
        for executions in bench.count(guest, cell, cell.ios):
            result.add(executions, DRIVERS[driver].name, symbols)
        yield cell.name, result


def run(number: int) -> dict[str, dict[str, Any]]:
    """By driver: what it costs to find so many units, and what a read costs when all of them take turns."""
    found: dict[str, dict[str, Any]] = {}
    machine = Machine(f"{number} units", units=number)
    with MarkedGuest(machine, PLUGIN, memory=MEMORY + MEMORY_OF_UNIT * number) as guest:
        guest.prepare()
        kernel = guest.symbols()
        for driver in ("c", "ours"):
            print(f"   {number} units: {DRIVERS[driver].name}", flush=True)
            probe, symbols = _probe(guest, driver, kernel)
            reads = {
                cell: {
                    "own": result.median(*bench.OWN),
                    "guest": result.median("guest"),
                    "interrupts": result.median("interrupts"),
                }
                for cell, result in _reads(guest, symbols, driver)
            }
            began = time.monotonic()
            guest.run(f"rmmod {DRIVERS[driver].name}", SETTLE, check=True)
            found[driver] = {"probe": {**probe, "removal seconds": time.monotonic() - began}, "reads": reads}
    return found
