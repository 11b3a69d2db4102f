# SPDX-License-Identifier: GPL-2.0
"""The files of the repository, for the checks behind `make lint`."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def tracked(*patterns: str) -> list[Path]:
    """The files that are in git, or would be by `git add`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout.split()
    return [REPO / name for name in names if (REPO / name).is_file()]


def fail_with(found: Iterable[str]) -> None:
    """Prints what a check has found, and ends it: with failure, if that is anything."""
    found = list(found)
    for line in found:
        print(f"  {line}", file=sys.stderr)
    sys.exit(bool(found))
