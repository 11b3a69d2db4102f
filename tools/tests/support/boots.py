# SPDX-License-Identifier: GPL-2.0
"""The folders of logs, and the guests that a test boots."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from guest import QemuGuest, paths
from guest.guest import DRIVERS, MODULE

# For tests that have a slot of PCI Express emptied by the port's own driver.
unplugs = pytest.mark.skipif(
    paths.SERIES == paths.SANITIZED, reason="the kernel's pciehp takes its own locks in two orders"
)


LOGS = paths.LOGS / "tests"
FAILED = pytest.StashKey[bool]()


def has_failed(node: pytest.Item) -> bool:
    """Whether a test has failed; its fixtures then keep what tells why."""
    return node.stash.get(FAILED, False)


OURS = MODULE == "ours"


# Our module's parameters that only set times, so that a test makes sense for a driver without them.
TIMES = re.compile(r"(recovery_(step|patience|failfast|refused)=\d+ ?)*")


def folder_of(node: pytest.Item | pytest.Collector | Any) -> Path:
    """A folder of a test's own, or of a test file's own, named by it."""
    name = re.sub(r"[^A-Za-z0-9_.=-]+", "-", node.nodeid.removeprefix("tools/tests/")).strip("-")
    return LOGS / name


class Boots:
    """Makes guests, each with a log folder of its own, and ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.guests: list[QemuGuest] = []

    def __call__(self, *args: Any, **options: Any) -> QemuGuest:
        module = options.setdefault("module", MODULE)
        if not OURS and module != "ours":
            parameters = options.pop("parameters", "")
            if not TIMES.fullmatch(parameters):
                pytest.skip(f"is about a parameter of our module: {parameters}")
            # What it says of a device that misbehaves, as the tests allow ours to.
            options["allow"] = [*options.get("allow", ()), rf"{DRIVERS[MODULE].name} virtio\d+: "]
        count = len(self.guests) + 1
        folder = self.folder if count == 1 else self.folder / f"boot-{count}"
        guest = self.stack.enter_context(QemuGuest(folder, *args, **options))
        self.guests.append(guest)
        return guest

    def give_up(self) -> None:
        for guest in self.guests:
            guest.give_up()
