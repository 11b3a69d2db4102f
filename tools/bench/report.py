# SPDX-License-Identifier: GPL-2.0
"""The report: build/bench.json has all numbers, build/bench.md the tables."""

import re
import subprocess
from collections.abc import Iterable
from typing import Any

from .bench import OWN, Result, Results
from .cells import COMPARED, SHOWN

# How many functions elsewhere are shown that one driver makes dearer than the other.
ELSEWHERE = 20

HEAD = """# Instructions per I/O: the kernel's own driver and ours

{facts}

All numbers are executed instructions (or calls) for one read or write. "own" is the driver's code and what it
alone calls out of line: the kernel crate, its C functions, and a few more of the kernel. "guest" is all that
the guest executes, timers included. A number with ~ is the median of rounds that differ; all others were the
same in each round and each time the driver was loaded.
"""


def number(value: float, exact: bool = True) -> str:
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 1000 else 0
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if digits else text
    return text if exact else f"~{text}"


def _cell(result: Result, *what: str) -> str:
    return number(result.median(*what), result.exact(*what))


def _ratio(c: float, ours: float) -> str:
    return f"{ours / c:.2f}" if c else "-"


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def machine_table(results: Results) -> list[str]:
    """Each cell with both drivers."""
    both = ("virtio_ring", "scsi_mod", "sd_mod", "guest", "kicks", "interrupts", "text lines")
    head = [
        "cell",
        "own: C",
        "ours",
        "ratio",
        "driver alone: C",
        "ours",
        *(f"{each}: C, ours" for each in both),
    ]
    lines = [row(head), "|---" + "|---:" * (len(head) - 1) + "|"]
    for cell, c in results["c"].items():
        ours = results["ours"][cell]
        line = [cell, _cell(c, *OWN), _cell(ours, *OWN), _ratio(c.median(*OWN), ours.median(*OWN))]
        line += [_cell(c, "driver"), _cell(ours, "driver")]
        line += [f"{_cell(c, each)}, {_cell(ours, each)}" for each in both]
        lines.append(row(line))
    return lines


def function_table(result: Result, names: dict[str, str]) -> list[str]:
    """The driver's own functions and what it alone calls, the dearest first."""
    own = [key for key, part in result.parts.items() if part in OWN]
    costs = {key: result.function(key) for key in own}
    lines = [row(["function", "calls", "instructions"]), "|---|---:|---:|"]
    for key, cost in sorted(costs.items(), key=lambda each: -each[1].instructions):
        if cost.instructions > 0:
            lines.append(row([f"`{names[key]}`", number(cost.calls), number(cost.instructions)]))
    return lines


def elsewhere_table(c: Result, ours: Result, names: dict[str, str]) -> list[str]:
    """The functions of others that cost more with one driver than with the other."""
    keys = [
        key for key in {**c.parts, **ours.parts} if {c.parts.get(key), ours.parts.get(key)}.isdisjoint(OWN)
    ]
    found = []
    for key in keys:
        ranges = sorted((c.range(key), ours.range(key)))
        # Else the rounds differ as much as the drivers do, for the sake of the timer.
        if ranges[0][1] + 0.5 < ranges[1][0]:
            found.append((key, c.function(key).instructions, ours.function(key).instructions))
    found.sort(key=lambda each: -abs(each[2] - each[1]))
    lines = [row(["function", "C", "ours", "difference"]), "|---|---:|---:|---:|"]
    for key, left, right in found[:ELSEWHERE]:
        lines.append(row([f"`{names[key]}`", number(left), number(right), f"{right - left:+.1f}"]))
    return lines


def demangled(keys: Iterable[str]) -> dict[str, str]:
    """Names as the sources have them; within our module its own name goes without saying."""
    keys = list(keys)
    out = subprocess.run(
        ["c++filt", "-s", "rust"], input="\n".join(keys), check=True, capture_output=True, text=True
    ).stdout
    lines = (re.sub(r"\[[0-9a-f]{16}\]", "", line) for line in out.splitlines())
    return dict(zip(keys, (line.replace("virtio_scsi_rs::", "") for line in lines), strict=True))


def size_table(sizes: dict[str, dict[str, int]]) -> list[str]:
    kinds = list(sizes["c"])
    lines = [row(["bytes of the module", *kinds]), "|---" + "|---:" * len(kinds) + "|"]
    for driver, title in (("c", "C"), ("ours", "ours")):
        lines.append(row([title, *(str(sizes[driver][kind]) for kind in kinds)]))
    return lines


def text(facts: list[str], sizes: dict[str, dict[str, int]], machines: dict[str, Results]) -> str:
    lines = [HEAD.format(facts="\n".join(f"- {fact}" for fact in facts))]
    for name, results in machines.items():
        lines += [f"## {name}", "", *machine_table(results), ""]
    lines += ["## Size", "", *size_table(sizes), ""]
    first, results = next(iter(machines.items()))
    names = demangled({key for one in results.values() for result in one.values() for key in result.parts})
    for driver, title in (("c", "the C driver's"), ("ours", "our")):
        if SHOWN not in results[driver]:
            continue
        lines += [f"## {SHOWN}, {first}: {title} functions", ""]
        lines += [*function_table(results[driver][SHOWN], names), ""]
    if COMPARED in results["c"]:
        lines += [f"## {COMPARED}, {first}: what costs others more with one driver than with the other", ""]
        lines += elsewhere_table(results["c"][COMPARED], results["ours"][COMPARED], names)
    return "\n".join(lines) + "\n"


# What the document shows of a cell.
SUMMARY = (
    *("own", "driver", "virtio_ring", "scsi_mod", "sd_mod", "guest"),
    *("kicks", "interrupts", "polls", "text lines"),
)


def summary(machines: dict[str, Results]) -> dict[str, Any]:
    """By machine, driver and cell: the median of each, and whether all rounds agreed."""

    def numbers(result: Result) -> dict[str, list[Any]]:
        parts = {what: OWN if what == "own" else (what,) for what in SUMMARY}
        return {what: [result.median(*of), result.exact(*of)] for what, of in parts.items()}

    return {
        name: {
            driver: {cell: numbers(result) for cell, result in cells.items()}
            for driver, cells in results.items()
        }
        for name, results in machines.items()
    }


def data(facts: list[str], sizes: dict[str, dict[str, int]], machines: dict[str, Results]) -> dict[str, Any]:
    """All numbers, for a program."""

    def functions(result: Result) -> dict[str, Any]:
        costs = {key: result.function(key) for key in result.parts}
        return {
            key: {"part": result.parts[key], "instructions": cost.instructions, "calls": cost.calls}
            for key, cost in costs.items()
            if abs(cost.instructions) >= 0.01
        }

    return {
        "facts": facts,
        "sizes": sizes,
        "machines": {
            name: {
                driver: {
                    cell: {"rounds": result.rounds, "functions": functions(result)}
                    for cell, result in cells.items()
                }
                for driver, cells in results.items()
            }
            for name, results in machines.items()
        },
    }
