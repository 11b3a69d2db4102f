# SPDX-License-Identifier: GPL-2.0
"""bench count [quick|all|MACHINE]: counts the instructions that reads and writes cost, with the kernel's own
driver and with ours, in the same guest; build/bench.md has the tables.

bench report [PART...]: measures these parts, or all, and makes docs/benchmark.md and its pictures from them
and what was measured before.

bench draw: makes them from what was measured before.

Runs inside the toolbox, behind `make bench` and `make bench-report`."""

import sys
import time

from . import document, guests, parts
from .cells import chosen


def main() -> None:
    began = time.monotonic()
    what, *words = sys.argv[1:]
    guests.build()
    if what == "count":
        for _ in parts.counted(chosen(words[0] if words else "")):
            pass
        said = "build/bench.md has the tables"
    else:
        if unknown := [word for word in words if word not in parts.PARTS]:
            known = ", ".join(parts.PARTS)
            raise SystemExit(f"error: PARTS: {', '.join(unknown)} is none of {known}")
        for name in words or parts.PARTS if what == "report" else ():
            parts.measure(name)
        document.write(parts.kept())
        said = "docs/benchmark.md has the report"
    print(f"{said} ({time.monotonic() - began:.0f} s)")


main()
