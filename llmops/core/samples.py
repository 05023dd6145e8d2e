"""What the rows say about one number, reduced to what decides: counts of values, at worst and at best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from llmops.core.limits import MetricSpec
from llmops.core.metrics import RowStatus
from llmops.core.statistics import Tally, tally_of

SampleKind = Literal["binary", "bounded", "unbounded", "percentile"]

MANY_ROWS = 5000
"""Above this many rows bounded values are rounded to 4096 steps of their range, against what is to be shown."""
_STEPS = 4096
_PROPORTION = (0.0, 1.0)
_BOTH_FAILED = ("failed", "failed")
_BINARY = {-1.0, 0.0, 1.0}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Independent rows with one number each: a score, or a difference between candidate and baseline.

    Attributes:
        kind: binary: scores of 0 and 1, or differences of such; bounded: between `lowest` and `highest`; unbounded:
            nothing is known of the range; percentile: any values, judged by their order.
        low, high: the rows' values if every unknown one were the smallest possible, and the largest. Failed rows are
            the worst possible value in both.
        is_difference: whether the values are candidate minus baseline.
        rows: rows in `low`; unknown: how many of them nobody knows.
        both_failed: pairs that failed on both sides; they are in neither tally.
        share: which percentile, 0 to 1.
        drawn: low and high value of each row in the order in which they were drawn; empty unless the order matters.
        population: rows of the data set when the limit is on their mean and they are drawn without replacement.
        look: 1 for the first time that the same rows are judged, 2 for the next; 0 where there is one look only.
    """

    kind: SampleKind
    low: Tally
    high: Tally
    lowest: float
    highest: float
    is_difference: bool = False
    unknown: int = 0
    both_failed: int = 0
    share: float = 0.5
    drawn: tuple[tuple[float, float], ...] = ()
    population: int | None = None
    look: int = 0

    @cached_property
    def rows(self) -> int:
        """Rows that the number rests on, unknown ones included."""
        return sum(count for _, count in self.low)

    @property
    def is_open(self) -> bool:
        """Whether an unknown row could be anything, so that nothing can be said."""
        return bool(self.unknown) and self.kind == "unbounded"


@dataclass(frozen=True, kw_only=True)
class Design:
    """How the rows were measured, as far as it decides which rule is valid.

    Attributes:
        repeats: measurements of each row, averaged within it.
        order: positions of the rows in the order in which they were drawn; None when all of them are judged at once.
        population: see `Sample`.
        look: see `Sample`.
    """

    repeats: int = 1
    order: Sequence[int] | None = None
    population: int | None = None
    look: int = 0


def support(spec: MetricSpec) -> tuple[float, float]:
    """Return the smallest and the largest score that a row can have; infinite where nothing is known."""
    if spec.bounds is not None:
        return spec.bounds[0], spec.bounds[1]
    return _PROPORTION if spec.kind == "proportion" else (-math.inf, math.inf)


def kind_of(spec: MetricSpec, repeats: int) -> SampleKind:
    """Return how a metric's rows are judged; averaged repeats of 0 and 1 are numbers in between."""
    if spec.kind == "percentile":
        return "percentile"
    if spec.kind == "proportion" and repeats == 1:
        return "binary"
    return "unbounded" if math.isinf(support(spec)[0]) else "bounded"


def value_sample(values: Sequence[float | None], spec: MetricSpec, design: Design) -> Sample:
    """Reduce the rows of one run.

    Args:
        values: one number per row; None where nobody knows it.
    """
    lowest, highest = support(spec)
    unknown = sum(value is None for value in values)
    lows = [lowest if value is None else value for value in values]
    highs = [highest if value is None else value for value in values] if unknown else lows
    return _sample(lows, highs, (lowest, highest), spec, design, unknown=unknown)


def difference_sample(
    candidate: Sequence[float | None],
    baseline: Sequence[float | None],
    statuses: Sequence[tuple[RowStatus, RowStatus]],
    spec: MetricSpec,
    design: Design,
) -> Sample:
    """Reduce two runs over the same rows to their differences, candidate minus baseline.

    Args:
        candidate, baseline: one number per row, in the same order; None where nobody knows it.
        statuses: candidate's and baseline's status per row; pairs that failed on both sides are only counted.
    """
    lowest, highest = support(spec)
    kept = [index for index, pair in enumerate(statuses) if pair != _BOTH_FAILED]
    new, old = (candidate, baseline) if len(kept) == len(statuses) else _picked(kept, candidate, baseline)
    unknown = sum(one is None or other is None for one, other in zip(new, old, strict=True))
    lows = [
        (lowest if one is None else one) - (highest if other is None else other)
        for one, other in zip(new, old, strict=True)
    ]
    highs = lows
    if unknown:
        highs = [
            (highest if one is None else one) - (lowest if other is None else other)
            for one, other in zip(new, old, strict=True)
        ]
    design = _without(design, kept, len(statuses))
    bounds = (lowest - highest, highest - lowest)
    both_failed = len(statuses) - len(kept)
    return _sample(lows, highs, bounds, spec, design, unknown=unknown, both_failed=both_failed, is_difference=True)


Values = Sequence[float | None]


def _picked(kept: Sequence[int], candidate: Values, baseline: Values) -> tuple[Values, Values]:
    return [candidate[index] for index in kept], [baseline[index] for index in kept]


def _without(design: Design, kept: Sequence[int], total: int) -> Design:
    if design.order is None or len(kept) == total:
        return design
    places = {index: place for place, index in enumerate(kept)}
    return Design(
        repeats=design.repeats,
        order=[places[index] for index in design.order if index in places],
        population=None if design.population is None else design.population - (total - len(kept)),
        look=design.look,
    )


def _sample(
    lows: Sequence[float],
    highs: Sequence[float],
    bounds: tuple[float, float],
    spec: MetricSpec,
    design: Design,
    *,
    unknown: int,
    both_failed: int = 0,
    is_difference: bool = False,
) -> Sample:
    kind = kind_of(spec, design.repeats)
    if kind == "binary" and not {*lows, *highs} <= _BINARY:
        kind = "bounded"
    step = None
    if kind == "bounded" and len(lows) + both_failed > MANY_ROWS:
        step = (bounds[1] - bounds[0]) / _STEPS
    low = tally_of(lows, step=step)
    high = low if step is None and not unknown else tally_of(highs, step=step, up=True)
    return Sample(
        kind=kind,
        low=low,
        high=high,
        lowest=bounds[0],
        highest=bounds[1],
        is_difference=is_difference,
        unknown=unknown,
        both_failed=both_failed,
        share=spec.percentile / 100.0,
        drawn=() if design.order is None else tuple((lows[index], highs[index]) for index in design.order),
        population=design.population,
        look=design.look,
    )


def pairs_sample(gains: int, losses: int, same: int, *, unknown: int = 0, both_failed: int = 0) -> Sample:
    """Build the sample of differences of 0 and 1 from its counts; unknown pairs could have been anything."""
    low, high = _pairs(gains, losses + unknown, same), _pairs(gains + unknown, losses, same)
    return Sample(
        kind="binary",
        low=low,
        high=high,
        lowest=-1.0,
        highest=1.0,
        is_difference=True,
        unknown=unknown,
        both_failed=both_failed,
    )


def _pairs(gains: int, losses: int, same: int) -> Tally:
    return tuple((value, count) for value, count in ((-1.0, losses), (0.0, same), (1.0, gains)) if count)


def proportion_sample(successes: int, failures: int, *, unknown: int = 0) -> Sample:
    """Build the sample of scores of 0 and 1 from its counts."""
    low, high = _proportion(successes, failures + unknown), _proportion(successes + unknown, failures)
    return Sample(kind="binary", low=low, high=high, lowest=0.0, highest=1.0, unknown=unknown)


def _proportion(successes: int, failures: int) -> Tally:
    return tuple((value, count) for value, count in ((0.0, failures), (1.0, successes)) if count)
