# SPDX-License-Identifier: GPL-2.0
"""Guests that plugins of QEMU's emulator look into, and what is built for them."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from guest import QemuGuest, paths
from guest.disks import Controller, Disk
from guest.guest import DRIVERS

from .cells import Cell, Machine

FOLDER = paths.BUILD / "bench"
PLUGIN, WATCH, LOAD = FOLDER / "plugin.so", FOLDER / "watch.so", FOLDER / "load"
SOURCES = Path(__file__).parent
CFLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")
LOGS = paths.LOGS / "bench"

SIZE = 1 << 30
# For the deepest cell, on each processor.
HUGE_PAGES = 4
# For what a slow machine does between two marks.
PATIENCE = 300
# Units on one target; REPORT LUNS lists them, and the midlayer scans no further target for them.
UNITS_OF_TARGET = 1024


def build() -> None:
    """The plugins and the program, anew only if a source changed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    shared = ("-fPIC", "-shared", "-fvisibility=hidden")
    newest = max(source.stat().st_mtime for source in SOURCES.glob("*.[ch]"))
    for target, options in ((PLUGIN, shared), (WATCH, shared), (LOAD, ())):
        if not target.exists() or target.stat().st_mtime < newest:
            source = SOURCES / f"{target.stem}.c"
            subprocess.run(["gcc", *CFLAGS, *options, "-o", target, source], check=True)


def units(count: int) -> list[Disk]:
    return [Disk(number // UNITS_OF_TARGET, number % UNITS_OF_TARGET, SIZE) for number in range(count)]


class MarkedGuest(QemuGuest):
    """A guest with a plugin, which writes a file whenever a program of the guest marks a moment. It has no
    driver at first."""

    def __init__(self, machine: Machine, plugin: Path, options: str = "", memory: int = 1024) -> None:
        self._out = FOLDER / plugin.stem
        for old in FOLDER.glob(f"{plugin.stem}.*[0-9]"):
            old.unlink()
        self._files = 0
        self._machine = machine
        # The processes that read and write.
        self.loads = machine.loads or machine.processors
        properties = {"num_queues": machine.queues or machine.processors, **machine.properties}
        super().__init__(
            LOGS / f"{machine.name.replace(' ', '-')}-{plugin.stem}",
            [Controller(units(machine.units), properties)],
            module=None,
            smp=machine.processors,
            memory=memory,
            # What is there to count has to be emulated, also where it need not be.
            args=["-machine", "accel=tcg", "-cpu", "max", "-plugin", f"{plugin},out={self._out}{options}"],
            files={"/usr/bin/bench-load": LOAD},
        )

    def prepare(self) -> None:
        pages = HUGE_PAGES * self._machine.processors
        self.run(f"echo {pages} >/proc/sys/vm/nr_hugepages", check=True)

    def symbols(self, what: str = "cat") -> str:
        """The kernel's functions; `what` chooses lines."""
        self.run(f"{what} /proc/kallsyms >/tmp/kallsyms", check=True)
        return self.pull("/tmp/kallsyms").decode()

    def driver_symbols(self, driver: str) -> str:
        return self.symbols(f"grep -F '[{DRIVERS[driver].name}]'")

    @contextmanager
    def driver_loaded(self, driver: str) -> Iterator[str]:
        """Within the block it is; the block has its functions."""
        self.load(driver, self._machine.parameters.get(driver, ""))
        yield self.driver_symbols(driver)
        self.unload(driver)

    def nodes(self) -> list[str]:
        """Those of the disks, in the order of their addresses."""
        names = self.out("cd /sys/bus/scsi/devices && ls -d *:*/block/* | sort -V").split()
        return [f"/dev/{name.rpartition('/')[2]}" for name in names]

    def _next(self, number: int) -> list[Path]:
        files = [Path(f"{self._out}.{self._files + i}") for i in range(number)]
        self._files += number
        return files

    def mark(self) -> Path:
        """Marks this moment; the file that the plugin wrote."""
        (file,) = self._next(1)
        self.run("bench-load mark", check=True)
        return file

    def run_load(self, cell: Cell, rounds: int, text: Sequence[int] = ()) -> list[Path]:
        """Runs a cell; the files of its marks. `text` is where the driver's code is."""
        words = [
            "bench-load",
            ",".join(self.nodes()),
            cell.kind,
            cell.size,
            cell.depth,
            cell.together,
            cell.segments,
            self.loads,
            cell.fewer,
            cell.more,
            rounds,
            *text,
        ]
        handle = self.spawn(" ".join(map(str, words)))
        files = self._next(2 * rounds + 1)
        # The agent's own virtqueues would be counted, so it is not asked.
        deadline = time.monotonic() + PATIENCE
        while not files[-1].exists():
            if time.monotonic() > deadline or not self.machine.alive():
                handle.wait(0, check=True)
            time.sleep(0.05)
        handle.wait(check=True)
        return files
