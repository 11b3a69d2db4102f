# SPDX-License-Identifier: GPL-2.0
"""A round with a finding becomes a smaller one that still has it: steps are left out, by halves first."""

import time
from collections.abc import Callable
from dataclasses import replace

from .draw import Round, Step


def shrink(round_: Round, fails: Callable[[Round], bool], seconds: float) -> Round:
    """The smallest round that was found in so many seconds."""
    deadline = time.monotonic() + seconds
    steps = _apart(round_.steps)
    size = max(1, len(steps) // 2)
    while time.monotonic() < deadline:
        at = 0
        shorter = False
        while at < len(steps) and time.monotonic() < deadline:
            rest = steps[:at] + steps[at + size :]
            if rest and fails(replace(round_, steps=rest)):
                steps, shorter = rest, True
            else:
                at += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2)
    return replace(round_, steps=steps)


def _apart(steps: list[Step]) -> list[Step]:
    """With a step for each ten probes, so that these can be left out, too."""
    result: list[Step] = []
    for step in steps:
        offers = step.get("probes", [])
        if not offers:
            result.append(step)
        result += [{**step, "probes": offers[at : at + 10]} for at in range(0, len(offers), 10)]
    return result
