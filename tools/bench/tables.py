# SPDX-License-Identifier: GPL-2.0
"""The tables of docs/benchmark.md."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import ratios
from .cells import ALL, POLLED, SINGLY
from .parts import Part
from .ratios import Ratio
from .report import number, row

Lines = Iterator[str]
# Of the driver's instructions, ours over C.
GOAL = 0.9
GOALS = (
    "4 KiB read, depth 1",
    "4 KiB read, depth 32",
    "4 KiB write, depth 32",
    "256 KiB read, depth 1",
)
GOAL_OF_TEXT = 60_000
BY_PROCESSORS = [machine.name for machine in ALL if not machine.properties and machine.cells != POLLED]
TITLES = {"c": "C", "ours": "ours"}


def _head(first: str, *others: str) -> Lines:
    yield row([first, *others])
    yield "|---" + "|---:" * len(others) + "|"


def _quotient(c: float, ours: float) -> str:
    return f"{ours / c:.2f}" if c else "-"


def _both(c: Mapping[str, Any], ours: Mapping[str, Any], what: str) -> str:
    return f"{number(*c[what])}, {number(*ours[what])}"


def counts(results: Mapping[str, Any]) -> Lines:
    """A machine's cells."""
    shown = ("virtio_ring", "scsi_mod", "guest")
    events = {"kicks": "kicks", "interrupts": "interrupts", "text lines": "code"}
    if any(each["polls"][0] for each in results["c"].values()):
        events["polls"] = "polls"
    yield from _head(
        *("cell", "own: C", "ours", "ratio", "guest: ratio"),
        *(f"{each}: C, ours" for each in (*shown, *events.values())),
    )
    for cell, c in results["c"].items():
        ours = results["ours"][cell]
        cells = [
            cell,
            number(*c["own"]),
            number(*ours["own"]),
            f"**{_quotient(c['own'][0], ours['own'][0])}**",
        ]
        cells.append(_quotient(c["guest"][0], ours["guest"][0]))
        yield row([*cells, *(_both(c, ours, what) for what in (*shown, *events))])


def queues(data: Mapping[str, Any]) -> Lines:
    """The cost of an I/O by processors, each with a queue and a process that reads or writes."""
    numbered = {name: results for name, results in data.items() if name in BY_PROCESSORS}
    cells = [cell for cell in GOALS if all(cell in results["c"] for results in numbered.values())]
    yield from _head("own: C, ours, ratio", *cells)
    for name, results in numbered.items():
        line = [name]
        for cell in cells:
            c, ours = (results[driver][cell]["own"] for driver in TITLES)
            line.append(f"{number(*c)}, {number(*ours)}, {_quotient(c[0], ours[0])}")
        yield row(line)


def watch(data: Mapping[str, Any]) -> Lines:
    shown = {
        "locks": "times held",
        "held": "held",
        "mean hold": "held, each time",
        "longest hold": "longest",
        "lines": "lines",
        "lines written": "of them written",
        "heap lines": "of commands, queues and the like",
        "static lines": "of image and modules",
        "stack lines": "of the stack",
    }
    yield from _head("cell: C, ours", *shown.values())
    for cell, c in data["c"].items():
        yield row([cell, *(_both(c, data["ours"][cell], what) for what in shown)])


def by_driver(what: str, data: Mapping[str, Mapping[str, float]]) -> Lines:
    yield from _head(what, *TITLES.values(), "ratio")
    for name, c in data["c"].items():
        ours = data["ours"][name]
        yield row([name, f"{c:,.0f}", f"{ours:,.0f}", _quotient(c, ours)])


def probe(data: Mapping[str, Any]) -> Lines:
    """What it costs to find units."""
    shown = {
        "own": "own instructions",
        "midlayer": "midlayer's",
        "guest": "whole guest's",
        "commands": "commands",
        "seconds": "seconds to find",
        "removal seconds": "to remove",
    }
    yield from _head("units: C, ours", *shown.values())
    for units, found in data.items():
        c, ours = found["c"]["probe"], found["ours"]["probe"]

        def cell(what: str, c: Any = c, ours: Any = ours) -> str:
            digits = 1 if "seconds" in what else 0
            return f"{c[what]:,.{digits}f}, {ours[what]:,.{digits}f}"

        yield row([f"{int(units):,}", *map(cell, shown)])


def reads(data: Mapping[str, Any]) -> Lines:
    """What a read of one of many units costs."""
    first = next(iter(data.values()))
    cells = list(first["c"]["reads"])
    shown = {"own": "own", "guest": "guest", "interrupts": "interrupts"}
    yield from _head(
        "units: C, ours", *(f"{cell}: {title}" for cell in cells for title in (*shown.values(), "own: ratio"))
    )
    for units, found in data.items():
        line = [f"{int(units):,}"]
        for cell in cells:
            c, ours = found["c"]["reads"][cell], found["ours"]["reads"][cell]
            line += [f"{number(c[what])}, {number(ours[what])}" for what in shown]
            line.append(_quotient(c["own"], ours["own"]))
        yield row(line)


MEASURES: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "I/Os for each second": lambda sample: sample["iops"],
    "latency, median": lambda sample: sample["latency"]["50"],
    "latency, 99th percentile": lambda sample: sample["latency"]["99"],
}


def wall_ratios(samples: Mapping[str, Any]) -> dict[str, dict[str, Ratio]]:
    """By cell and measure."""
    return {
        cell: {
            name: ratios.of_pairs([take(one) for one in found["c"]], [take(one) for one in found["ours"]])
            for name, take in MEASURES.items()
        }
        for cell, found in samples.items()
    }


def interval(ratio: Ratio) -> str:
    text = f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"**{text}**" if ratio.differs else text


def wall(samples: Mapping[str, Any]) -> Lines:
    """Medians of each contender, and the ratios of pairs; latencies are microseconds."""
    contenders = {**TITLES, "virtio-blk": "virtio-blk"}
    heads = [(f"{each}: {', '.join(contenders.values())}", "ours over C") for each in MEASURES]
    yield from _head("cell", "pairs", *(title for both in heads for title in both))
    for cell, by_measure in wall_ratios(samples).items():
        line = [cell, str(next(iter(by_measure.values())).pairs)]
        for name, take in MEASURES.items():
            medians = (statistics.median(map(take, samples[cell][who])) for who in contenders)
            line += [", ".join(f"{each:,.0f}" for each in medians), interval(by_measure[name])]
        yield row(line)
    yield ""
    yield "Latencies are microseconds. In bold: the interval does not reach 1.00."


def glance(parts: Mapping[str, Part]) -> Lines:
    """What the issue set out to reach, and whether it is."""
    yield from _head("", *TITLES.values(), "ratio", "goal", "")
    if "counts" in parts:
        machine = next(iter(parts["counts"].data.values()))
        for cell in (cell for cell in GOALS if cell in machine["c"]):
            c, ours = (machine[driver][cell]["own"][0] for driver in TITLES)
            yield row(
                [
                    *(f"own instructions, {cell}", number(c), number(ours), _quotient(c, ours)),
                    *(f"≤ {GOAL:.2f}", _verdict(ours / c <= GOAL)),
                ]
            )
        for cell in (cell for cell in (SINGLY.name, GOALS[1]) if cell in machine["c"]):
            c, ours = (machine[driver][cell]["interrupts"][0] for driver in TITLES)
            # How many there are depends on the emulator's timing a little.
            line = [f"interrupts, {cell}", number(c), number(ours), _quotient(c, ours)]
            yield row([*line, "≤ 1.00", _verdict(ours <= c + 0.005)])
    if "sizes" in parts:
        c, ours = (parts["sizes"].data[driver]["text"] for driver in TITLES)
        yield row(
            [
                *("bytes of text", f"{c:,}", f"{ours:,}", _quotient(c, ours)),
                *(f"≤ {GOAL_OF_TEXT:,}", _verdict(ours <= GOAL_OF_TEXT)),
            ]
        )
    for name, c, ours in _without_goals(parts):
        yield row(
            [name, *(f"{each:,.1f}".removesuffix(".0") for each in (c, ours)), _quotient(c, ours), "", ""]
        )


def _without_goals(parts: Mapping[str, Part]) -> Iterator[tuple[str, float, float]]:
    """What else there is to know: its name, and the number of each driver."""
    if "watch" in parts:
        c, ours = (parts["watch"].data[driver] for driver in TITLES)
        shown = {
            "instructions with a lock held": ("held", GOALS[1]),
            "the most of them at once": ("longest hold", GOALS[1]),
            "cache lines of data": ("lines", GOALS[0]),
        }
        for name, (what, cell) in shown.items():
            yield f"{name}, {cell}", c[cell][what][0], ours[cell][what][0]
    if "memory" in parts:
        c, ours = (parts["memory"].data[driver] for driver in TITLES)
        for name in ("each further command", "a controller with one queue of 128"):
            yield f"bytes of {name}", c[name], ours[name]
    if "units" in parts:
        units, found = max(parts["units"].data.items(), key=lambda each: int(each[0]))
        c, ours = (found[driver]["probe"] for driver in TITLES)
        yield f"own instructions to find {int(units):,} units", c["own"], ours["own"]
        yield f"seconds to find {int(units):,} units", c["seconds"], ours["seconds"]


def _verdict(met: bool) -> str:
    return "met" if met else "**not met**"
