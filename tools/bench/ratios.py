# SPDX-License-Identifier: GPL-2.0
"""The ratio of two drivers that were measured by turns, and how sure it is."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# That the true median lies in the interval.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of pairs, and an interval that the true median is in: with CONFIDENCE, or with
    less, if there are too few pairs for that."""

    median: float
    low: float
    high: float
    pairs: int
    confidence: float

    @property
    def differs(self) -> bool:
        """Whether the drivers differ, as far as can be told."""
        return self.confidence >= CONFIDENCE and not self.low <= 1 <= self.high


def _confidence(pairs: int, left_out: int) -> float:
    """That of the interval from the least to the greatest of so many ratios, when some are left out at each
    end: as in a sign test, each lies on either side of the true median as a coin falls."""
    below = sum(math.comb(pairs, number) for number in range(left_out + 1))
    return 1 - 2 * below / 2**pairs


def of_pairs(c: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Ours over C."""
    if len(c) != len(ours) or not c:
        raise ValueError(f"{len(c)} and {len(ours)} are no pairs")
    found = sorted(one / other for other, one in zip(c, ours, strict=True))
    pairs = len(found)
    left_out = 0
    while 2 * (left_out + 1) < pairs and _confidence(pairs, left_out + 1) >= CONFIDENCE:
        left_out += 1
    return Ratio(
        statistics.median(found),
        found[left_out],
        found[pairs - 1 - left_out],
        pairs,
        _confidence(pairs, left_out) if pairs > 1 else 0.0,
    )
