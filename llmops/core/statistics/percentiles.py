"""Percentiles from order statistics: exact for any distribution of at least the sharpness that the data have."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache

from llmops.core.statistics.distributions import binomial_at_most
from llmops.core.statistics.proportions import Interval


def nearest_rank(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the ascending values do not exceed.

    Source: Hyndman and Fan (1996), Sample quantiles in statistical packages, definition 1.
    """
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


@lru_cache(maxsize=4096)
def lower_rank(n: int, share: float, alpha: float) -> int:
    """Return the 0-based rank whose value is a lower bound of the percentile at confidence 1 - alpha; -1 if none is.

    The percentile is below the value of rank r only if more than r rows lie below it: at most alpha.

    Source: Thompson (1936), On confidence ranges for the median and other expectation distributions; Conover (1999),
    Practical nonparametric statistics, section 3.2.
    """
    return _largest(n, lambda rank: binomial_at_most(rank, n, share) <= alpha)


def upper_rank(n: int, share: float, alpha: float) -> int:
    """Return the 0-based rank whose value is an upper bound; n if none is. See `lower_rank`."""
    return n - 1 - lower_rank(n, 1.0 - share, alpha)


def _largest(n: int, holds: Callable[[int], bool]) -> int:
    low, high = -1, n - 1
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def percentile_interval(ordered: Sequence[float], share: float, confidence: float = 0.95) -> Interval:
    """Return the two-sided interval of a percentile; an end without a bound is infinite.

    Args:
        ordered: at least one value, ascending.
    """
    alpha, n = (1.0 - confidence) / 2, len(ordered)
    low, high = lower_rank(n, share, alpha), upper_rank(n, share, alpha)
    return (-math.inf if low < 0 else ordered[low]), (math.inf if high >= n else ordered[high])


def count_at_most(ordered: Sequence[float], limit: float) -> int:
    """Count the ascending values that are at most `limit`."""
    return bisect_right(ordered, limit)


def count_below(ordered: Sequence[float], limit: float) -> int:
    """Count the ascending values that are below `limit`."""
    return bisect_left(ordered, limit)
