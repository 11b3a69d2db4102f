# SPDX-License-Identifier: GPL-2.0
"""The parts of the report: each is measured on its own and kept in build/bench/, so that one can be measured
anew without the others."""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guest import paths
from guest.initramfs import C_DRIVER

from . import bench, memory, report, units, wall, watch
from .cells import QUICK, Machine, chosen
from .guests import FOLDER, PLUGIN, MarkedGuest

PAIRS = 30


def _first_line(*command: str) -> str:
    out = subprocess.run(command, cwd=paths.REPO, check=True, capture_output=True, text=True).stdout
    return out.splitlines()[0] if out else ""


def facts() -> dict[str, str]:
    """What the numbers are of."""
    changed = " with changes" if _first_line("git", "status", "--porcelain", "--untracked-files=no") else ""
    version = re.search(r"version (\S+)", _first_line("qemu-system-x86_64", "--version"))
    return {
        "kernel": paths.Kernel.prepared().release,
        "QEMU": version[1] if version else "unknown",
        "commit": f"{_first_line('git', 'rev-parse', '--short=12', 'HEAD')}{changed}",
    }


def sizes() -> dict[str, dict[str, int]]:
    """Of both modules; the kernel's own is there as Debian packs it."""
    (packed,) = paths.Kernel.prepared().modules.rglob(f"{C_DRIVER}.ko*")
    with tempfile.NamedTemporaryFile(suffix=".ko") as module:
        command = ["xz", "-dc"] if packed.suffix == ".xz" else ["cat"]
        subprocess.run([*command, packed], check=True, stdout=module)
        return {"c": bench.sizes(Path(module.name)), "ours": bench.sizes(paths.our_module())}


def counted(machines: list[Machine]) -> Iterator[dict[str, bench.Results]]:
    """Counts, and writes build/bench.md and build/bench.json after each machine."""
    lines = [f"{name} {value}" for name, value in facts().items()]
    of_modules = sizes()
    results: dict[str, bench.Results] = {}
    for machine in machines:
        results[machine.name] = bench.run(machine)
        (paths.BUILD / "bench.md").write_text(report.text(lines, of_modules, results))
        data = json.dumps(report.data(lines, of_modules, results), indent=1)
        (paths.BUILD / "bench.json").write_text(f"{data}\n")
        yield results


def _sizes() -> Iterator[Any]:
    yield sizes()


def _memory() -> Iterator[Any]:
    yield memory.run()


def _counts() -> Iterator[Any]:
    for results in counted(chosen(os.environ.get("CELLS") or "all")):
        yield report.summary(results)


def _watch() -> Iterator[Any]:
    with MarkedGuest(QUICK, PLUGIN) as guest:
        kernel = guest.symbols()
    seen = watch.run(QUICK, kernel)
    yield {
        driver: {cell: _medians(watched) for cell, watched in cells.items()} for driver, cells in seen.items()
    }


def _medians(watched: watch.Watched) -> dict[str, list[Any]]:
    return {what: [watched.median(what), watched.exact(what)] for what in watched.rounds[0]}


def _units() -> Iterator[Any]:
    numbers = os.environ.get("UNITS")
    found: dict[str, Any] = {}
    for number in map(int, numbers.split()) if numbers else units.COUNTS:
        found[str(number)] = units.run(number)
        yield found


def _wall() -> Iterator[Any]:
    for samples in wall.run(int(os.environ.get("PAIRS") or PAIRS)):
        plain = {
            cell: {who: [asdict(sample) for sample in found] for who, found in by_contender.items()}
            for cell, by_contender in samples.items()
        }
        yield {"accelerator": wall.accelerator(), "samples": plain}


# Each yields what it has so far: who cannot wait for all has what is done.
PARTS: dict[str, Callable[[], Iterator[Any]]] = {
    "sizes": _sizes,
    "memory": _memory,
    "watch": _watch,
    "units": _units,
    "wall": _wall,
    "counts": _counts,
}


@dataclass(frozen=True)
class Part:
    """What was measured, and of what."""

    facts: dict[str, str]
    seconds: float
    data: Any


def _file(name: str) -> Path:
    return FOLDER / f"{name}.json"


def measure(name: str) -> None:
    began = time.monotonic()
    for data in PARTS[name]():
        part = Part(facts(), time.monotonic() - began, data)
        _file(name).write_text(f"{json.dumps(asdict(part), indent=1)}\n")
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


def kept() -> dict[str, Part]:
    """All parts that have been measured."""
    found = {name: _file(name) for name in PARTS if _file(name).exists()}
    return {name: Part(**json.loads(file.read_text())) for name, file in found.items()}
