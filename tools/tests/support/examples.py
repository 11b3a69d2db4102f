# SPDX-License-Identifier: GPL-2.0
"""Modules of examples/: how they are built, and what of them the compiler has to refuse."""

import re
import subprocess
from pathlib import Path

from guest import paths


def build(name: str, cfg: str = "") -> subprocess.CompletedProcess[str]:
    """Builds an example, with one file of misuses or with none."""
    return subprocess.run(
        [paths.TOOLS / "build-example", name, paths.SERIES, *([cfg] if cfg else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def built(name: str) -> Path:
    """The module of an example, which the compiler has nothing to say of."""
    result = build(name)
    assert result.returncode == 0, result.stdout
    assert "warning" not in result.stdout
    return paths.BUILD / f"example-{name}-{paths.SERIES}/{name}.ko"


def _expected(source: Path) -> list[tuple[int, str]]:
    """The lines of a file that have an error, and its code: it is named in the line before."""
    lines = source.read_text().splitlines()
    found = [(number, re.fullmatch(r"\s*// Error: (E\d+)", line)) for number, line in enumerate(lines, 2)]
    return [(number, match[1]) for number, match in found if match]


def _reported(output: str, source: str) -> list[tuple[int, str]]:
    """The same of what the compiler has written."""
    where = re.compile(rf"^error\[(E\d+)\].*\n +--> {re.escape(source)}:(\d+):", re.MULTILINE)
    return sorted((int(number), code) for code, number in where.findall(output))


def assert_refused(name: str, kind: str) -> None:
    """The compiler refuses each misuse of a file with the error that is named there."""
    source = f"examples/{name}/misuse/{kind}.rs"
    result = build(name, f"misuse_{kind}")
    assert result.returncode != 0, result.stdout
    wanted = _expected(paths.REPO / source)
    found = _reported(result.stdout, source)
    assert wanted
    assert sorted(set(found)) == wanted, result.stdout
    # All errors are of this file: others could hide that one of these has gone.
    assert result.stdout.count("\nerror[") == len(found), result.stdout
