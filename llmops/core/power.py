"""What a number of rows can find, computed for the rule that decides.

The rule is asked about the result that is reached or bettered in 80 % of all runs, by the normal approximation of how
far results spread; the decision about that result is the rule's own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from llmops.core.limits import MetricSpec
from llmops.core.rules import Rule, p_values
from llmops.core.samples import Sample, kind_of, support
from llmops.core.statistics import Tally
from llmops.core.statistics.distributions import STANDARD_NORMAL

POWER = 0.8
MOST_ROWS = 200_000
DISCORDANCE = 0.2
"""Assumed share of rows that change between two runs, where no run has shown it."""

_SPREAD = STANDARD_NORMAL.inv_cdf(POWER)
_EFFECT_STEPS = 200
_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How a metric's rows vary.

    Attributes:
        is_binary: whether the rows are 0 and 1, or differences of such.
        is_difference: whether they are candidate minus baseline.
        deviation: standard deviation of a row; of a difference of 0 and 1 the square root of the share that changes.
        lowest, highest: of a row.
    """

    is_binary: bool
    is_difference: bool
    deviation: float
    lowest: float
    highest: float


def spread_of(sample: Sample) -> Spread:
    """Read the spread from a sample; rows that do not vary are taken to vary as little as their number can show."""
    n = sample.rows
    mean = math.fsum(value * count for value, count in sample.low) / n
    square = (
        math.fsum(count * (value - (0.0 if sample.is_difference else mean)) ** 2 for value, count in sample.low) / n
    )
    least = (sample.highest - sample.lowest) ** 2 / (4 * (n + 1))
    return Spread(
        is_binary=sample.kind == "binary",
        is_difference=sample.is_difference,
        deviation=math.sqrt(max(square, least)),
        lowest=sample.lowest,
        highest=sample.highest,
    )


def assumed_spread(spec: MetricSpec, *, is_difference: bool, repeats: int, discordance: float = DISCORDANCE) -> Spread:
    """Assume how a metric's rows vary before any run has shown it.

    Scores between bounds are taken to vary as scores of 0 and 1 would, stretched over the bounds: at most.

    Args:
        spec: a metric with bounds.
        is_difference: whether the spread is that of candidate minus baseline.
        repeats: measurements of each row.
        discordance: share of rows that change between two runs.
    """
    lowest, highest = support(spec)
    width = highest - lowest
    deviation = width * (math.sqrt(discordance) if is_difference else 0.5)
    return Spread(
        is_binary=kind_of(spec, repeats) == "binary",
        is_difference=is_difference,
        deviation=deviation,
        lowest=-width if is_difference else lowest,
        highest=width if is_difference else highest,
    )


def likely_sample(spread: Spread, mean: float, rows: int, *, is_low: bool) -> Sample:
    """Return the result on the low, or high, side of which 80 % of the runs with this true mean end.

    Args:
        spread: how rows vary.
        mean: the true mean.
        rows: how many there are.
        is_low: whether 80 % of the runs show a larger mean; else a smaller one.
    """
    sign = -1.0 if is_low else 1.0
    if spread.is_binary and not spread.is_difference:
        deviation = math.sqrt(max(0.0, mean * (1.0 - mean)))
    else:
        least = _LEAST_DEVIATION * (spread.highest - spread.lowest)
        deviation = math.sqrt(max(spread.deviation**2 - (mean**2 if spread.is_difference else 0.0), least**2))
    total = rows * mean + sign * _SPREAD * deviation * math.sqrt(rows)
    tally = _tally(spread, total, rows, is_low=is_low)
    return Sample(
        kind="binary" if spread.is_binary else "bounded",
        low=tally,
        high=tally,
        lowest=spread.lowest,
        highest=spread.highest,
        is_difference=spread.is_difference,
    )


def _tally(spread: Spread, total: float, rows: int, *, is_low: bool) -> Tally:
    rounded = math.floor(total) if is_low else math.ceil(total)
    if not spread.is_binary:
        middle = min(spread.highest, max(spread.lowest, total / rows))
        side = min(spread.deviation, middle - spread.lowest, spread.highest - middle)
        half = rows // 2
        return _counts(((middle - side, half), (middle, rows - 2 * half), (middle + side, half)))
    if not spread.is_difference:
        hits = min(rows, max(0, rounded))
        return _counts(((0.0, rows - hits), (1.0, hits)))
    net = min(rows, max(-rows, rounded))
    changed = min(rows, max(abs(net), round(rows * spread.deviation**2)))
    gains = (changed + net) // 2
    losses = gains - net
    return _counts(((-1.0, losses), (0.0, rows - gains - losses), (1.0, gains)))


def _counts(pairs: Tally) -> Tally:
    return tuple((value, count) for value, count in pairs if count > 0)


def decides(rule: Rule, sample: Sample, limit: float, *, at_least: bool, alpha: float, passes: bool) -> bool:
    """Say whether a rule would pass (or else fail) a sample."""
    passing, failing = p_values(rule, sample, limit, at_least=at_least, enough=alpha)
    return (passing if passes else failing) <= alpha


def nearest_mean(
    rule: Rule, spread: Spread, rows: int, limit: float, *, at_least: bool, alpha: float, passes: bool
) -> float | None:
    """Return the true mean nearest to the limit that this many rows pass (or else fail) in 80 % of runs.

    Returns:
        A number to a 200th of the way from the limit to the end of the range; None if there is none.
    """
    upwards = at_least == passes
    end = spread.highest if upwards else spread.lowest

    def is_found(step: int) -> bool:
        mean = limit + (end - limit) * step / _EFFECT_STEPS
        sample = likely_sample(spread, mean, rows, is_low=upwards)
        return decides(rule, sample, limit, at_least=at_least, alpha=alpha, passes=passes)

    if not is_found(_EFFECT_STEPS):
        return None
    low, high = 0, _EFFECT_STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return limit + (end - limit) * high / _EFFECT_STEPS


def rows_for(rule: Rule, spread: Spread, mean: float, limit: float, *, at_least: bool, alpha: float) -> int | None:
    """Return the rows that pass a true mean in 80 % of runs; None above `MOST_ROWS` or beyond the limit."""
    if (mean <= limit) if at_least else (mean >= limit):
        return None

    def is_enough(rows: int) -> bool:
        sample = likely_sample(spread, mean, rows, is_low=at_least)
        return decides(rule, sample, limit, at_least=at_least, alpha=alpha, passes=True)

    return _smallest(is_enough, 8)


def rows_to_decide(rule: Rule, sample: Sample, limit: float, *, at_least: bool, alpha: float) -> int | None:
    """Return the rows that would decide if all further ones were like these; None above `MOST_ROWS`.

    It speaks of the values as they are known: unknown rows would have to be measured too.
    """
    if sample.kind in {"percentile", "resampled"} or sample.is_open or not sample.rows:
        return None

    def is_decided(rows: int) -> bool:
        grown = _grown(sample, rows)
        return min(p_values(rule, grown, limit, at_least=at_least, enough=alpha)) <= alpha

    return _smallest(is_decided, sample.rows)


def _grown(sample: Sample, rows: int) -> Sample:
    factor = rows / sample.rows
    low, high = (_scaled(tally, factor, rows) for tally in (sample.low, sample.high))
    return dataclasses.replace(sample, low=low, high=high, both_failed=0, drawn=(), population=None)


def _scaled(tally: Tally, factor: float, rows: int) -> Tally:
    """Scale the counts so that they add up to `rows`: each cumulated count is rounded."""
    scaled, seen, given = [], 0, 0
    for value, count in tally:
        seen += count
        share = min(rows, round(seen * factor)) - given
        given += share
        scaled.append((value, share))
    return _counts(tuple(scaled))


def _smallest(is_enough: Callable[[int], bool], start: int) -> int | None:
    high = start
    while not is_enough(high):
        high *= 2
        if high > MOST_ROWS:
            return None
    low = max(start, high // 2)
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def describe_power(rule: Rule, sample: Sample, limit: float, *, at_least: bool, alpha: float) -> str:
    """Say what this sample's number of rows finds in 80 % of runs, in one clause; empty where it cannot be said."""
    if sample.kind in {"percentile", "unbounded", "resampled"} or not sample.rows:
        return ""
    spread, rows = spread_of(sample), sample.rows
    return describe_spread_power(rule, spread, rows, limit, at_least=at_least, alpha=alpha)


def describe_spread_power(rule: Rule, spread: Spread, rows: int, limit: float, *, at_least: bool, alpha: float) -> str:
    """Say what a number of rows finds in 80 % of runs, in one clause."""
    fails = nearest_mean(rule, spread, rows, limit, at_least=at_least, alpha=alpha, passes=False)
    passes = nearest_mean(rule, spread, rows, limit, at_least=at_least, alpha=alpha, passes=True)
    words = "change" if spread.is_difference else "value"
    parts = []
    parts.append(f"fails a true {words} of {fails:+.3g}" if fails is not None else "can never fail it")
    parts.append(f"passes one of {passes:+.3g}" if passes is not None else "can never pass it")
    text = f"{rows} rows: " + ", ".join(parts) + " in 80 % of runs"
    if not spread.is_difference:
        return text.replace("+", "")
    needed = rows_for(rule, spread, 0.0, limit, at_least=at_least, alpha=alpha)
    if limit == 0.0:
        return text
    return f"{text}; about {needed} rows pass an unchanged flow" if needed else text
