"""What the rows say about one number, reduced to what decides: counts of values, at worst and at best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from llmops.core.comparison import Matching, Values, count_unknown, subtract
from llmops.core.limits import MetricSpec
from llmops.core.statistics import Tally, rounded_tallies, tally_of

SampleKind = Literal["binary", "mixed", "bounded", "unbounded", "percentile", "resampled"]

MANY_ROWS = 5000
"""Above this many rows more than 4096 different bounded values are rounded to so many steps of their range, against
what is to be shown."""
_STEPS = 4096
_BINARY = {-1.0, 0.0, 1.0}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Independent rows with one number each: a score, or a difference between candidate and baseline.

    Attributes:
        kind: binary: scores of 0 and 1, or differences of such; mixed: declared as binary, but they are not; bounded:
            between `lowest` and `highest`; unbounded: nothing is known of the range; percentile: any values, judged
            by their order; resampled: no rows, but the number over each bootstrap sample of the rows.
        low, high: the rows' values if every unknown one were the smallest possible, and the largest. Failed rows are
            the worst possible value in both.
        is_difference: whether the values are candidate minus baseline.
        rows: rows in `low`; unknown: how many of them nobody knows.
        both_failed: pairs that failed on both sides; they are in neither tally.
        share: which percentile, 0 to 1.
        drawn: low and high value of each row in the order in which they were drawn, None for a pair that failed on both
            sides; empty unless the order matters.
        population: rows of the data set when the limit is on their mean and they are drawn without replacement.
        observed: of kind resampled: the number over the rows themselves.
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
    drawn: tuple[tuple[float, float] | None, ...] = ()
    population: int | None = None
    look: int = 0
    observed: float = 0.0

    @cached_property
    def rows(self) -> int:
        """Rows that the number rests on, unknown ones included."""
        return sum(count for _, count in self.low)

    @property
    def is_open(self) -> bool:
        """Whether an unknown row could be anything, so that nothing can be said."""
        return bool(self.unknown) and self.kind in {"unbounded", "resampled"}


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
    return spec.score_bounds or (-math.inf, math.inf)


def kind_of(spec: MetricSpec, repeats: int) -> SampleKind:
    """Return how a metric's rows are judged; averaged repeats of 0 and 1 are numbers in between."""
    if spec.kind == "percentile":
        return "percentile"
    if spec.kind == "proportion" and repeats == 1:
        return "binary"
    return "unbounded" if math.isinf(support(spec)[0]) else "bounded"


def value_sample(values: Values, spec: MetricSpec, design: Design) -> Sample:
    """Reduce the rows of one run.

    Args:
        values: one number per row; None where nobody knows it.
    """
    lowest, highest = support(spec)
    lows = [lowest if value is None else value for value in values]
    unknown = sum(value is None for value in values) if None in values else 0
    highs = [highest if value is None else value for value in values] if unknown else lows
    drawn = None if design.order is None else [(lows[index], highs[index]) for index in design.order]
    return _sample(lows, highs, (lowest, highest), spec, design, drawn, unknown=unknown)


def difference_sample(
    candidate: Values, baseline: Values, matching: Matching, spec: MetricSpec, design: Design
) -> Sample:
    """Reduce two runs over the same rows to their differences, candidate minus baseline.

    Args:
        candidate, baseline: one number per row, in the same order.
        matching: which rows are compared; the others are only counted.
    """
    lowest, highest = support(spec)
    new, old = matching.pick(candidate), matching.pick(baseline)
    unknown = count_unknown(new, old)
    lows = subtract(new, old, (lowest, highest))
    highs = subtract(new, old, (highest, lowest)) if unknown else lows
    places = range(len(candidate)) if matching.kept is None else matching.kept
    drawn = None
    if design.order is not None:
        ends = dict(zip(places, zip(lows, highs, strict=True), strict=True))
        drawn = [ends.get(index) for index in design.order]
    sample = _sample(lows, highs, (lowest - highest, highest - lowest), spec, design, drawn, unknown=unknown)
    return dataclasses.replace(sample, both_failed=matching.both_failed, is_difference=True)


def _sample(
    lows: Sequence[float],
    highs: Sequence[float],
    bounds: tuple[float, float],
    spec: MetricSpec,
    design: Design,
    drawn: Sequence[tuple[float, float] | None] | None,
    *,
    unknown: int,
) -> Sample:
    kind = kind_of(spec, design.repeats)
    if kind == "binary" and not (set(lows) <= _BINARY and (highs is lows or set(highs) <= _BINARY)):
        kind = "mixed"
    if kind == "bounded" and len(lows) > MANY_ROWS and len(set(lows)) > _STEPS:
        low, high = rounded_tallies(lows, bounds, _STEPS)
        high = rounded_tallies(highs, bounds, _STEPS)[1] if unknown else high
    else:
        low = tally_of(lows)
        high = tally_of(highs) if unknown else low
    return Sample(
        kind=kind,
        low=low,
        high=high,
        lowest=bounds[0],
        highest=bounds[1],
        unknown=unknown,
        share=spec.percentile / 100.0,
        drawn=() if drawn is None else tuple(drawn),
        population=design.population,
        look=design.look,
    )


def resampled_sample(values: Values, observed: float, *, unknown: int, is_difference: bool = False) -> Sample:
    """Build the sample of a number that only its evaluator can form.

    Args:
        values: the number over each bootstrap sample of the rows; None where there was none.
        observed: over the rows themselves.
        unknown: rows that it does not rest on; with any of them nothing can be said.
    """
    low, high = (tally_of(end if value is None else value for value in values) for end in (-math.inf, math.inf))
    return Sample(
        kind="resampled",
        low=low,
        high=high,
        lowest=-math.inf,
        highest=math.inf,
        is_difference=is_difference,
        unknown=unknown,
        observed=observed,
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
