# SPDX-License-Identifier: GPL-2.0
"""A minute of a campaign of a hostile device (docs/campaign.md), in kernels with sanitizers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from campaign.campaign import Campaign, play
from campaign.check import Checks
from campaign.draw import Round
from campaign.rig import Rig
from guest.uml import VARIANTS
from support.uml_bench import long

pytestmark = [
    pytest.mark.device,
    pytest.mark.uml,
    # What is drawn meets with the times of the machine: a finding has to be looked into, and is no verdict.
    long,
]

MINUTES = 0.6


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_hostile_device_does_no_harm(uml_module: Callable[[str], Path], logs: Path, variant: str) -> None:
    uml_module(variant)
    record = Campaign("suite", MINUTES, logs / "campaign", (variant,)).run(VARIANTS.index(variant) * 100)
    print(record.text())
    assert record.findings == []
    assert record.rounds >= 2
    assert record.responses > 1000


def test_what_is_left_over_is_found(uml_module: Callable[[str], Path], logs: Path) -> None:
    """Checks find what they are for."""
    variant = VARIANTS[0]
    uml_module(variant)
    with Rig(logs / "rig", variant) as rig:
        checks = Checks(rig)
        assert play(rig, checks, Round("quiet", ["version_1", "hotplug"], 8, [{"pause": 0.5}])) is None
        loud = (
            "echo on >/proc/sys/kernel/printk_devkmsg; for i in $(seq 400); do echo '<4>{0}' >/dev/kmsg; done"
        )
        for line, found in (
            ("BUG: made up", "the kernel reports"),
            ("virtio_scsi_rs virtio0: made up", "lines, more than"),
        ):
            steps = [{"run": loud.replace("{0}", line), "unit": (0, 0)}, {"pause": 3}]
            said = play(rig, checks, Round("made up", ["version_1"], 8, steps))
            assert said and found in said
        # The device does not come to behave.
        rig.behave = lambda: None  # type: ignore[method-assign]
        lost = {"name": "x", "match": {"opcode": "WRITE_10"}, "action": {"execute": False, "response": "ok"}}
        said = play(rig, checks, Round("lost", ["version_1"], 8, [{"rule": lost}, {"pause": 0.5}]))
        assert said and "has not what was written" in said
        rig.guest.agent_may_be_lost()
