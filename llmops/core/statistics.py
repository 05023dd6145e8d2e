"""Intervals for display; the gate's own decisions do not rest on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

Interval = tuple[float, float]
_SMALLEST_SAMPLE = 2


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Return the score interval of a proportion.

    Args:
        successes: 0 to n.
        n: at least 1.
        confidence: two-sided, 0 to 1.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference; without continuity
    correction.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def normal_mean(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Return the large-sample interval of a mean; None below `_SMALLEST_SAMPLE` values.

    Source: central limit theorem; approximate for small n.
    """
    if len(values) < _SMALLEST_SAMPLE:
        return None
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    half = z * stdev(values) / math.sqrt(len(values))
    mean = fmean(values)
    return mean - half, mean + half
