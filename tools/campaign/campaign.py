# SPDX-License-Identifier: GPL-2.0
"""Round after round, by one seed; what was counted and found."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guest import paths
from guest.device import DeviceError, toml
from guest.guest import DRIVERS, MODULE, GuestError
from guest.uml import VARIANTS, kernel

from .check import Checks, Finding, dead
from .draw import Round, draw
from .rig import Rig
from .shrink import shrink

# A new guest after so many rounds: it starts clean, and the other kernel gets its turn.
ROUNDS = 20


@dataclass
class Record:
    """What a campaign has done."""

    # When it began, with a plus sign if there were other changes.
    commit: str
    seed: str
    minutes: float
    kernels: list[str]
    strands: list[str]
    rounds: int = 0
    guests: int = 0
    guests_with_kmemleak: int = 0
    responses: int = 0
    unanswered: int = 0
    events: int = 0
    configurations: int = 0
    resets: int = 0
    deaths: int = 0
    log_lines: int = 0
    renewed: int = 0
    known: int = 0
    reads: int = 0
    unread: int = 0
    addresses: int = 0
    warnings: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)
    # How many findings there are of each kind.
    kinds: dict[str, int] = field(default_factory=dict)
    seconds: float = 0

    def add(self, counted: dict[str, int], binds: int) -> None:
        self.responses += counted["answers_ruled"]
        self.unanswered += counted["waits"]
        self.events += counted["events_ordered"]
        self.configurations += counted["offers"]
        # What is left are resets while the device stays: a probe sets up the queues as well.
        self.resets += max(0, counted["starts"] - counted["offers"] - binds)

    def text(self) -> str:
        """As TOML."""
        numbers = {key: value for key, value in vars(self).items() if key not in ("findings", "kinds")}
        head = {
            "driver": DRIVERS[MODULE].name,
            "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **{key: round(value, 1) if isinstance(value, float) else value for key, value in numbers.items()},
        }
        parts: dict[str, Any] = {"campaign": head}
        if self.findings:
            parts["findings"] = self.kinds
            parts["finding"] = self.findings
        return "# SPDX-License-Identifier: GPL-2.0\n" + toml(parts)


def _git(*words: str) -> str:
    said = subprocess.run(["git", "-C", paths.REPO, *words], capture_output=True, text=True)
    return said.stdout.strip() or ("" if said.returncode == 0 else "unknown")


def _commit() -> str:
    return _git("rev-parse", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")


class Campaign:
    """Its folder gets the record, and for each finding the round and the logs."""

    def __init__(
        self,
        seed: str,
        minutes: float,
        folder: Path,
        variants: Sequence[str] = VARIANTS,
        strands: Sequence[str] = (),
        slack: float = 1,
    ) -> None:
        self.folder = folder
        self.variants = variants
        self.strands = strands
        self.slack = slack
        kernels = [kernel(variant).name for variant in variants]
        self.record = Record(_commit(), seed, minutes, kernels, list(strands))
        self._began = time.monotonic()
        self._end = self._began + minutes * 60
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def run(self, first: int = 0, until: Callable[[Record], bool] | None = None) -> Record:
        """Until the time is over, or else something is true of the record after a round."""
        self._over = lambda: until(self.record) if until else time.monotonic() > self._end
        number = first
        while not self._over():
            variant = self.variants[self.record.guests % len(self.variants)]
            number = self._guest(variant, number)
        return self.record

    def _guest(self, variant: str, first: int) -> int:
        """Plays rounds in a new guest; returns the number of the next one."""
        folder = self.folder / f"guest-{self.record.guests}-{variant}"
        # Each third guest with KASAN.
        leaks = variant == "kasan" and self.record.guests // len(self.variants) % 3 == 2
        self.record.guests += 1
        self.record.guests_with_kmemleak += leaks
        with Rig(folder, variant, leaks=leaks, slack=self.slack) as rig:
            checks = Checks(rig)
            for number in range(first, first + ROUNDS):
                round_ = draw(self.record.seed, number, self.strands)
                found = play(rig, checks, round_, self.record)
                if found:
                    self._found(found, round_, variant, folder)
                self.write()
                if found or rig.over or self._over():
                    break
            if not found:
                found = end(rig, checks)
                if found:
                    self._found(found, round_, variant, folder)
            self.record.log_lines += checks.log_lines
            self.record.renewed += checks.renewed
            self.record.known += checks.known
            self.record.warnings += checks.warnings
            self.record.reads += checks.reads
            self.record.unread += checks.unread
            self.record.addresses += checks.addresses
            rig.guest.agent_may_be_lost()
        if not found:
            shutil.rmtree(folder, ignore_errors=True)
        self.write()
        return number + 1

    def _found(self, what: str, round_: Round, variant: str, folder: Path) -> None:
        kind = what.partition(":")[0]
        self.record.kinds[kind] = self.record.kinds.get(kind, 0) + 1
        self.record.findings.append(
            {"round": round_.name, "kernel": variant, "what": what, "folder": folder.name}
        )
        (self.folder / f"finding-{len(self.record.findings)}.json").write_text(
            json.dumps({"kernel": variant, "what": what, "round": round_.data()}, indent=1)
        )
        print(f"finding in round {round_.name} ({variant}): {what}", flush=True)

    def write(self) -> None:
        self.record.seconds = time.monotonic() - self._began
        (self.folder / "record.toml").write_text(self.record.text())


def play(rig: Rig, checks: Checks, round_: Round, record: Record | None = None) -> str | None:
    """Plays a round and checks what it has left. Returns what is wrong, if anything."""
    began = time.monotonic()
    before, binds = rig.counts(), rig.binds
    found = None
    counted: dict[str, int] = {}
    try:
        try:
            rig.play(round_)
        finally:
            now = rig.counts()
            counted = {name: now[name] - before[name] for name in now}
            if record:
                record.rounds += 1
                record.deaths += rig.over
                record.add(counted, rig.binds - binds)
        checks.after(round_, began)
    except Finding as finding:
        found = str(finding)
    except (GuestError, DeviceError) as error:
        found = dead(rig, error)
    kinds = [next(iter(step)) for step in round_.steps if not step.keys() & {"pause", "run"}]
    said = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    print(f"round {round_.name} ({rig.variant}): {said}; {time.monotonic() - began:.1f} s", flush=True)
    return found


def end(rig: Rig, checks: Checks) -> str | None:
    """Ends a guest. Returns what is found then."""
    try:
        checks.at_the_end()
    except Finding as finding:
        return str(finding)
    except (GuestError, DeviceError) as error:
        return dead(rig, error)
    return None


def replay(file: Path, folder: Path) -> str | None:
    """Plays the round of a finding again, in a guest of its own and with the device's log."""
    data = json.loads(file.read_text())
    return again(data, Round(**data["round"]), folder)


def again(data: dict[str, Any], round_: Round, folder: Path) -> str | None:
    shutil.rmtree(folder, ignore_errors=True)
    with Rig(folder, data["kernel"], logs=True, leaks=data["what"].startswith("leak")) as rig:
        checks = Checks(rig)
        found = play(rig, checks, round_) or end(rig, checks)
        print(f"{checks.unread} of {checks.reads} reads succeeded that had read nothing")
        print(f"a tag was an address: {bool(checks.addresses)}; warnings of the C driver: {checks.warnings}")
        rig.guest.agent_may_be_lost()
    return found


def shrunk(file: Path, folder: Path, seconds: float) -> Round:
    """The smallest round found that has a finding, too; written beside the file of the finding."""
    data = json.loads(file.read_text())
    small = shrink(Round(**data["round"]), lambda each: bool(again(data, each, folder)), seconds)
    file.with_suffix(".small.json").write_text(json.dumps({**data, "round": small.data()}, indent=1))
    return small
