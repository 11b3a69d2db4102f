# SPDX-License-Identifier: GPL-2.0
"""The viewer of tools/top, and what a guest needs to run it."""

import subprocess
from pathlib import Path

from . import paths
from .initramfs import libraries


def build() -> Path:
    """Builds the viewer; what is up to date is not built again."""
    subprocess.run([paths.TOOLS / "build-top"], check=True)
    return paths.BUILD / "top/release/vscsi-top"


def files() -> dict[str, bytes | Path]:
    """The files of a guest with the viewer in it, and with script(1), which has a terminal for it."""
    programs = {"/usr/sbin/vscsi-top": build(), "/usr/bin/script": Path("/usr/bin/script")}
    needed = {name for program in programs.values() for name in libraries(str(program))}
    return {**programs, **{name: Path(name) for name in needed}}
