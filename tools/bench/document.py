# SPDX-License-Identifier: GPL-2.0
"""docs/benchmark.md and its pictures, made of the parts that have been measured."""

import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from guest import paths

from . import chart, tables
from .parts import Part
from .tables import GOAL, Lines

DOCUMENT = paths.REPO / "docs/benchmark.md"
TRIED = paths.REPO / "docs/benchmark-tried.md"

HEAD = (
    "<!-- Made by make bench-report; what was tried is kept in benchmark-tried.md. -->",
    "",
    "# The kernel's own driver and ours: what I/O costs",
    "",
    '"C" is the kernel\'s driver virtio_scsi, "ours" is virtio_scsi_rs. A ratio is ours over C: below 1.00 '
    "ours is cheaper. [testing.md](testing.md#performance) says how to run this, and what the numbers mean.",
    "",
)

COLUMNS = 120
# The parts in the order of the document.
ORDER = ("counts", "watch", "memory", "sizes", "units", "wall")


def _facts(parts: Mapping[str, Part]) -> Lines:
    """What all parts are of, and which parts are of something else."""
    by_facts: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name in ORDER:
        if name in parts:
            by_facts.setdefault(tuple(parts[name].facts.items()), []).append(name)
    for facts, names in by_facts.items():
        text = ", ".join(f"{name} {value}" for name, value in facts)
        yield f"- {', '.join(names)}: {text}" if len(by_facts) > 1 else f"- {text}"
    seconds = sum(part.seconds for part in parts.values())
    yield f"- measured in {seconds / 60:.0f} minutes"
    if missing := [name for name in ORDER if name not in parts]:
        yield f"- not measured: {', '.join(missing)}"


def _counts(data: Any) -> Lines:
    yield "## Instructions for one read or write"
    yield ""
    yield "![The driver's instructions, ours over C](benchmark-own.svg)"
    yield ""
    yield "![The instructions of the whole guest, ours over C](benchmark-guest.svg)"
    yield ""
    yield (
        "Executed instructions, counted by a plugin of QEMU's emulator. *own* is the driver's code and "
        "what it alone calls out of line. *code* is the cache lines of the driver's code that are "
        "executed. A number with ~ is the median of rounds that differ; all others were the same in each "
        "round. A poll that comes too early is part of *own*, and how many do depends on the speed of QEMU."
    )
    yield ""
    yield (
        "At depth 1 blocks follow one another. At depth 8 and 32 all that has ended is submitted at once, "
        "which is a batch of 8 or 32; *singly* is one after the other."
    )
    for machine, results in data.items():
        yield ""
        yield f"### {machine}"
        yield ""
        yield from tables.counts(results)
    yield ""
    yield "### As processors and queues grow"
    yield ""
    yield from tables.queues(data)


def _pictures_of_counts(data: Any) -> dict[str, str]:
    titles = {
        "own": "The driver's instructions for one I/O",
        "guest": "The whole guest's instructions for one I/O",
    }
    found = {}
    for what, title in titles.items():
        rows = []
        for machine, results in data.items():
            rows.append(chart.Row(machine))
            for cell, c in results["c"].items():
                ratio = results["ours"][cell][what][0] / c[what][0]
                rows.append(chart.Row(cell, ratio))
        goal = GOAL if what == "own" else None
        found[what] = chart.ratios(f"{title}: ours over C", rows, goal)
    return found


def _watch(data: Any) -> Lines:
    yield "## Locks held, and memory touched"
    yield ""
    yield (
        "*held*: the instructions from the call that takes a lock of the driver's up to the call that "
        "releases it, interrupts off, for one I/O and for one time that it is held. *lines*: different "
        "cache lines (64 bytes) of data that the driver's own instructions touch, for one I/O; at depth "
        "32 for all that is submitted together, divided by 32. What it calls in other modules is not in "
        "it. One processor."
    )
    yield ""
    yield from tables.watch(data)


def _memory(data: Any) -> Lines:
    yield "## Memory"
    yield ""
    yield (
        "Bytes that are allocated under a function of the driver while a controller without units is "
        "bound, and that live on: those of virtio_ring and of the midlayer that it asks for are in it. "
        "Private areas are part of the numbers below them."
    )
    yield ""
    yield from tables.by_driver("bytes", data)


def _sizes(data: Any) -> Lines:
    yield "### The modules"
    yield ""
    yield from tables.by_driver("bytes", data)


def _units(data: Any) -> Lines:
    yield "## Units: to find them, and to read from them"
    yield ""
    yield "![A driver's instructions to find units](benchmark-units.svg)"
    yield ""
    yield (
        "From before the driver is loaded until all units, on one target, have their device nodes. The "
        "commands are those of the midlayer and the driver. Then all units are read by turns."
    )
    yield ""
    yield from tables.probe(data)
    yield ""
    yield from tables.reads(data)


def _pictures_of_units(data: Any) -> dict[str, str]:
    titles = {"c": "C", "ours": "ours"}
    series = {
        title: {int(number): found[driver]["probe"]["own"] for number, found in data.items()}
        for driver, title in titles.items()
    }
    return {
        "units": chart.lines(
            "The driver's instructions to bind a controller and find its units", "units", series
        )
    }


def _wall(data: Any) -> Lines:
    yield "## Wall clock"
    yield ""
    yield "![I/Os for each second, ours over C](benchmark-iops.svg)"
    yield ""
    yield "![Latency, ours over C](benchmark-latency.svg)"
    yield ""
    yield (
        f"fio in one guest with 2 processors, run by **{data['accelerator']}**: by turns on a controller "
        "with the C driver, one with ours, and, for context, a virtio-blk disk; halfway the drivers "
        "change controllers. The median of the ratios of pairs, and the interval that the true median "
        "lies in with 95 % (sign test)."
    )
    if data["accelerator"].startswith("TCG"):
        yield (
            "**No hardware virtualisation was there:** an emulated processor makes all of this slower, "
            "and not all of it equally. That one driver is faster than the other can be seen here, and by"
            " how much cannot."
        )
    yield ""
    yield from tables.wall(data["samples"])


def _pictures_of_wall(data: Any) -> dict[str, str]:
    ratios = tables.wall_ratios(data["samples"])

    def rows(*measures: str) -> list[chart.Row]:
        found = []
        for cell, by_measure in ratios.items():
            found.append(chart.Row(cell))
            for measure in measures:
                ratio = by_measure[measure]
                found.append(chart.Row(measure, ratio.median, ratio.low, ratio.high))
        return found

    latency = [f"latency, {each}" for each in ("median", "99th percentile")]
    return {
        "iops": chart.ratios("I/Os for each second: ours over C", rows("I/Os for each second"), None, False),
        "latency": chart.ratios("Latency: ours over C", rows(*latency)),
    }


SECTIONS: dict[str, Callable[[Any], Iterable[str]]] = {
    "counts": _counts,
    "watch": _watch,
    "memory": _memory,
    "sizes": _sizes,
    "units": _units,
    "wall": _wall,
}
PICTURES = {"counts": _pictures_of_counts, "units": _pictures_of_units, "wall": _pictures_of_wall}


def text(parts: Mapping[str, Part], tried: str) -> str:
    lines = [*HEAD, *_facts(parts), "", "## At a glance", "", *tables.glance(parts), ""]
    for name in ORDER:
        if name in parts:
            lines += [*SECTIONS[name](parts[name].data), ""]
    return "\n".join([*map(_wrapped, lines), tried])


def _wrapped(line: str) -> str:
    """A paragraph as the other documents have it; rows of tables stay as they are."""
    return (
        line
        if line.startswith(("|", "#", "!", "<"))
        else textwrap.fill(line, COLUMNS, break_on_hyphens=False)
    )


def pictures(parts: Mapping[str, Part]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, draw in PICTURES.items():
        if name in parts:
            found |= draw(parts[name].data)
    return found


def write(parts: Mapping[str, Part]) -> None:
    for name, picture in pictures(parts).items():
        (DOCUMENT.parent / f"benchmark-{name}.svg").write_text(picture)
    DOCUMENT.write_text(text(parts, TRIED.read_text()))
