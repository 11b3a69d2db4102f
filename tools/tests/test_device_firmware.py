# SPDX-License-Identifier: GPL-2.0
"""Drivers of firmware boot from the scripted device: the device works with drivers that are not Linux's.

docs/other-drivers.md has what came of devices that misbehave.
"""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from firmware.boot import boot
from guest.device import DOORS, MANIFEST

pytestmark = [pytest.mark.device, pytest.mark.ours("no kernel is booted")]


def scenario(name: str) -> dict[str, Any]:
    return tomllib.loads((MANIFEST.parent / f"scenarios/{name}.toml").read_text())


@pytest.mark.parametrize("door", DOORS)
def test_seabios_boots_and_breaks_no_rule(logs: Path, door: str) -> None:
    came = boot("seabios", {"version": 1}, logs, door)
    assert "virtio-scsi vendor='VSRS' product='TEST DISK'" in came.said
    assert came.result == "booted"
    assert came.violations == []
    assert came.commands["READ_10"] > 1


def test_uefi_boots_and_breaks_no_rule(logs: Path) -> None:
    came = boot("ovmf", {"version": 1}, logs, timeout=120)
    assert came.result == "booted"
    assert came.violations == []
    assert came.commands["READ_10"] > 1


def test_what_was_not_read_is_not_taken_for_data(logs: Path) -> None:
    """The programs notice it; were they not to, the other tests would show nothing."""
    came = boot("seabios", scenario("medium-error"), logs)
    assert came.result == "unreadable"
    came = boot("seabios", scenario("read-nothing"), logs)
    assert came.result == "wrong data"
