# SPDX-License-Identifier: GPL-2.0
"""Some rounds of a campaign of a hostile device (docs/campaign.md), in kernels with sanitizers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from campaign.campaign import Campaign, Record, play
from campaign.check import Checks
from campaign.draw import Round
from campaign.rig import Rig
from guest.uml import VARIANTS
from support.uml_bench import CI, long

pytestmark = [pytest.mark.device, pytest.mark.uml]

# The first round of each kernel: among them are storms, a flood, resets, and a driver that goes.
FIRST = {"kasan": 3, "lockdep": 6}
ROUNDS = 2 if CI else 5
# How many rounds are played if those did not have so many answers, as on a machine that is busy.
MOST, RESPONSES = 4 * ROUNDS, 1000
# Other work of the machine is no finding.
SLACK = 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_hostile_device_does_no_harm(uml_module: Callable[[str], Path], logs: Path, variant: str) -> None:
    uml_module(variant)

    def enough(record: Record) -> bool:
        return record.rounds >= (ROUNDS if record.responses > RESPONSES else MOST)

    campaign = Campaign("slice", 0, logs / "campaign", (variant,), slack=SLACK)
    record = campaign.run(FIRST[variant], enough)
    print(record.text())
    assert record.findings == []
    assert record.rounds >= ROUNDS
    assert record.responses > RESPONSES


@long
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
