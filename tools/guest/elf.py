# SPDX-License-Identifier: GPL-2.0
"""The libraries of programs for another processor, which ldd could not start."""

import re
import subprocess
from pathlib import Path


def libraries(path: str, top: Path) -> set[str]:
    """The libraries of a program, and its loader, in the tree `top`; none for a script or a static one."""
    found: set[str] = set()
    waiting = [path]
    while waiting:
        said = subprocess.run(["readelf", "-ldW", waiting.pop()], capture_output=True, text=True).stdout
        named = re.findall(r"\(NEEDED\).*\[(.*)\]", said) + re.findall(r"interpreter: .*/(.*)\]", said)
        folders = [top / name.strip("/") for name in re.findall(r"\(RUNPATH\).*\[(.*)\]", said)]
        folders += [top / "usr/lib", *(top / "usr/lib").glob("*-linux-gnu")]
        for name in named:
            where = next((folder / name for folder in folders if (folder / name).exists()), None)
            if where is None:
                raise RuntimeError(f"{path} lacks {name}")
            if str(where) not in found:
                found.add(str(where))
                waiting.append(str(where))
    return found
