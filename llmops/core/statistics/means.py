"""Approximate inference on a mean of any distribution: for display, or where approximation was asked for."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from llmops.core.statistics.distributions import STANDARD_NORMAL, student_cdf, student_quantile
from llmops.core.statistics.proportions import Interval

BOOTSTRAP_ROWS = 5000
"""Most rows for which a bootstrap is drawn."""
MOST_DRAWS, FEWEST_DRAWS = 1000, 200
"""Bootstrap samples for few rows and for many; in between about `DRAWN_VALUES` values are drawn in all."""
DRAWN_VALUES = 500_000


class Moments(NamedTuple):
    """Number of values, their mean, and their standard deviation with n - 1 in the denominator."""

    n: int
    mean: float
    deviation: float


def moments(values: Sequence[float]) -> Moments:
    """Summarize at least one value; the deviation of a single value is infinite."""
    n, mean = len(values), fmean(values)
    if n < 2:
        return Moments(n, mean, math.inf)
    return Moments(n, mean, math.hypot(*[value - mean for value in values]) / math.sqrt(n - 1))


def student_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Return the two-sided t interval of a mean; None below two values.

    Source: Student (1908), The probable error of a mean. Exact for normal data only.
    """
    if len(values) < 2:
        return None
    n, mean, deviation = moments(values)
    half = student_quantile((1 + confidence) / 2, n - 1) * deviation / math.sqrt(n)
    return mean - half, mean + half


def student_above(summary: Moments, limit: float) -> float:
    """Return the approximate p-value of "the mean is at most `limit`".

    Values that do not vary, and a single value, prove nothing: 1.

    Source: Student (1908).
    """
    n, mean, deviation = summary
    if n < 2 or deviation == 0.0:
        return 1.0
    return student_cdf(-(mean - limit) / (deviation / math.sqrt(n)), n - 1)


def bca_interval(
    values: Sequence[float], confidence: float = 0.95, *, draws: int | None = None, seed: int = 0
) -> Interval | None:
    """Return the bias-corrected and accelerated bootstrap interval of a mean; approximate.

    The values are sorted first and the draws are seeded, so that neither their order nor the day matters.

    Returns:
        None below two values; a point where no value differs.

    Source: Efron (1987), Better bootstrap confidence intervals.
    """
    if len(values) < 2:
        return None
    ordered = sorted(values)
    chooser = random.Random(seed)
    n = len(ordered)
    if ordered[0] == ordered[-1]:
        return ordered[0], ordered[0]
    draws = draws or max(FEWEST_DRAWS, min(MOST_DRAWS, DRAWN_VALUES // n))
    means = [math.fsum(chooser.choices(ordered, k=n)) / n for _ in range(draws)]
    return bca_from_means(ordered, means, confidence)


def bca_from_means(values: Sequence[float], means: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the BCa interval of the mean of `values`, given the means of bootstrap samples.

    Quantiles are interpolated linearly (Hyndman and Fan 1996, definition 7); draws equal to the observed mean count
    half.

    Source: Efron (1987), equations 2.3 to 2.5 and 6.6 (the acceleration by the jackknife, as in Efron and Tibshirani
    (1993), An introduction to the bootstrap, 14.15).
    """
    n, mean, deviation = moments(values)
    ordered = sorted(means)
    if deviation == 0.0 or ordered[0] == ordered[-1]:
        return mean, mean
    share = (bisect_left(ordered, mean) + bisect_right(ordered, mean)) / (2 * len(ordered))
    if not 0.0 < share < 1.0:
        return ordered[0], ordered[-1]
    bias = STANDARD_NORMAL.inv_cdf(share)
    # The jackknife deviations of a mean are (value - mean) / (n - 1); scaled first, so that no cube leaves the floats.
    cubes = math.fsum(((value - mean) / deviation) ** 3 for value in values)
    acceleration = cubes / (6.0 * (n - 1) ** 1.5)
    low, high = (_adjusted(z, bias, acceleration) for z in _tails(confidence))
    return _quantile(ordered, low), _quantile(ordered, high)


def _tails(confidence: float) -> tuple[float, float]:
    z = STANDARD_NORMAL.inv_cdf((1 + confidence) / 2)
    return -z, z


def _adjusted(z: float, bias: float, acceleration: float) -> float:
    return STANDARD_NORMAL.cdf(bias + (bias + z) / (1.0 - acceleration * (bias + z)))


def _quantile(ordered: Sequence[float], probability: float) -> float:
    position = probability * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
