# SPDX-License-Identifier: GPL-2.0
"""Paths: of the clone, the cache, a prepared kernel. Used inside the toolbox only."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
TOOLS = REPO / "tools"
BUILD = REPO / "build"
LOGS = BUILD / "logs"

if "VSRS_CACHE" not in os.environ:
    raise SystemExit("This runs inside the toolbox: tools/in-toolbox COMMAND, or a target of the Makefile.")
CACHE = Path(os.environ["VSRS_CACHE"])
SERIES = os.environ.get("KERNEL") or "7.3"
# The kernel of tools/x86-kernel.
SANITIZED = "x86-sanitized"
# Whether the kernel under test is for arm64.
ARM64 = "arm64-" in SERIES
# How much longer than usual things may take.
SLOWNESS = 4 if SERIES == SANITIZED else 1


def toolbox_key() -> str:
    """What the toolbox is made from, by name."""
    return os.environ["VSRS_TOOLBOX_KEY"]


@dataclass(frozen=True)
class Kernel:
    """A kernel as tools/kernel-tree or tools/flavour-kernel prepared it."""

    series: str
    directory: Path

    @classmethod
    def prepared(cls, series: str = SERIES) -> "Kernel":
        """Finds it; the commands that lead here have it prepared before."""
        resolved = CACHE / "kernels" / f"{series}.resolved"
        if not resolved.exists():
            raise SystemExit(f"kernel {series} is not prepared: run tools/build-module {series} first")
        return cls(series, Path(resolved.read_text().splitlines()[1]))

    @property
    def release(self) -> str:
        return (self.directory / "release").read_text().strip()

    @property
    def arm64(self) -> bool:
        """Whether it is for arm64, and not for amd64 as the toolbox is."""
        return "arm64-" in self.series

    @property
    def programs(self) -> Path:
        """The tree with programs for its guest."""
        return self.directory / "programs" if self.arm64 else Path("/")

    @property
    def image(self) -> Path:
        return self.directory / "boot/vmlinuz"

    @property
    def modules(self) -> Path:
        return self.directory / "boot/lib/modules" / self.release


def our_module(series: str = SERIES) -> Path:
    """Our module as tools/build-module left it."""
    return BUILD / series / "virtio_scsi_rs.ko"


def fault_module(name: str, series: str = SERIES) -> Path:
    """A module of tools/faults, which is built with ours."""
    return BUILD / series / f"faults/{name}.ko"


def run_build(series: str = SERIES) -> Path:
    """Builds our module; what is up to date is not built again."""
    subprocess.run([TOOLS / "build-module", series], check=True)
    return our_module(series)
