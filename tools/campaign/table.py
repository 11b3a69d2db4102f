# SPDX-License-Identifier: GPL-2.0
"""The runs that docs/campaign-runs.toml keeps, as the tables of docs/campaign.md."""

import re
import tomllib
from pathlib import Path
from typing import Any

from guest import paths
from guest.device import toml

RUNS = paths.REPO / "docs/campaign-runs.toml"
DOCUMENT = paths.REPO / "docs/campaign.md"
BEGIN, END = "<!-- drawn by tools/campaign/table.py -->\n", "<!-- end -->\n"
DRIVERS = {"virtio_scsi_rs": "this driver", "virtio_scsi": "C driver"}
COUNTS = ("responses", "unanswered", "events", "configurations", "resets")
# What both drivers are compared by: a name, and where a run has the number.
FINDINGS = {
    "guests that panicked": "panic",
    "guests with a warning in the log": "warning",
    "guests that hung, or whose disks did not work again": "hang",
    "guests with commands that nobody got back": "lost",
    "guests whose disks had other data than was written": "wrong data",
    "guests with memory that leaked": "leak",
    "guests with too many lines in the log": "log",
    "guests whose device did not answer": "device",
}

Run = dict[str, Any]


def runs(file: Path = RUNS) -> list[Run]:
    listed: list[Run] = tomllib.loads(file.read_text())["run"] if file.exists() else []
    return listed


def keep(record: Path, file: Path = RUNS) -> None:
    """Adds what a campaign has left to the runs that are kept, or puts it in the place of the same run's."""
    data = tomllib.loads(record.read_text())
    run = {**data["campaign"], "findings": data.get("findings", {})}
    del run["minutes"]
    same = ("driver", "seed", "commit", "strands")
    kept = [each for each in runs(file) if any(each[key] != run[key] for key in same)]
    file.write_text("# SPDX-License-Identifier: GPL-2.0\n" + toml({"run": [*kept, run]}))


def tables(listed: list[Run]) -> str:
    """A table of the runs, and one of both drivers."""
    return f"{_of_runs(listed)}\n{_of_drivers(listed)}"


def write() -> None:
    text = DOCUMENT.read_text()
    drawn = f"{BEGIN}\n{tables(runs())}\n{END}"
    DOCUMENT.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: drawn, text, flags=re.S))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _of_runs(listed: list[Run]) -> str:
    head = ["driver", "seed", "strands", "commit", "ended", "minutes", "rounds", *COUNTS, "findings"]
    rows = []
    for run in listed:
        cells = [DRIVERS[run["driver"]], run["seed"], ", ".join(run["strands"]) or "all"]
        cells += [
            f"`{run['commit'][:12]}`",
            run["ended"][:16].replace("T", " "),
            f"{run['seconds'] / 60:.0f}",
        ]
        cells += [f"{run[key]:,}" for key in ("rounds", *COUNTS)]
        rows.append([*cells, f"{sum(run['findings'].values())}"])
    return _table(head, rows)


def _of_drivers(listed: list[Run]) -> str:
    columns = [[run for run in listed if run["driver"] == driver] for driver in DRIVERS]

    def row(what: str, key: str, finding: bool = False) -> list[str]:
        return [what, *(f"{sum(_number(run, key, finding) for run in runs):,}" for runs in columns)]

    rows = [row(key, key) for key in ("rounds", "guests", *COUNTS)]
    rows += [row(what, key, True) for what, key in FINDINGS.items()]
    rows += [
        row("other warnings of the driver", "warnings"),
        row("reads that succeeded, where a response tells of one that did not", "reads"),
        row("those of them that had read nothing", "unread"),
        row("rounds after which a command's tag was an address of the kernel's memory", "addresses"),
        row("reports of faults that are the kernel's", "known"),
    ]
    return _table(["", *DRIVERS.values()], rows)


def _number(run: Run, key: str, finding: bool) -> int:
    return int((run["findings"] if finding else run).get(key, 0))
