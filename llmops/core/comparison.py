"""Candidate against baseline, row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import sub
from typing import Literal

from llmops.core.metrics import Scores
from llmops.core.statistics import BOOTSTRAP_ROWS, Interval, Pairs, bca_interval, student_interval, tango

Change = Literal["regressed", "improved", "same"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean of (candidate - baseline) over the rows that both runs have.

    Attributes:
        value: None when no pair could be measured.
        pairs: rows that the value rests on.
        unknown: rows of which at least one side is not known.
        both_failed: rows that failed on both sides; they are no evidence of equality.
        bounds: the value if the unknown rows had been the worst, and the best; None when scores have no bounds.
    """

    value: float | None
    pairs: int
    unknown: int
    both_failed: int
    interval: Interval | None = None
    bounds: Interval | None = None


Values = Sequence[float | None]
"""One number per row, None where nobody knows it."""


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Which rows of two runs over the same rows are compared.

    Attributes:
        kept: positions of the rows that did not fail on both sides, ascending; None when that is all of them.
        rows: of each run.
    """

    kept: Sequence[int] | None
    rows: int

    @property
    def both_failed(self) -> int:
        """Rows that failed on both sides: they say nothing about which is better."""
        return 0 if self.kept is None else self.rows - len(self.kept)

    def pick(self, values: Values) -> Values:
        """Return the numbers of the rows that are compared."""
        return values if self.kept is None else [values[index] for index in self.kept]


def match_rows(candidate: Scores, baseline: Scores) -> Matching:
    """Match two runs by which rows they lost."""
    rows = len(candidate.statuses)
    if "failed" not in candidate.statuses or "failed" not in baseline.statuses:
        return Matching(kept=None, rows=rows)
    kept = [row for row in range(rows) if not (candidate.is_lost(row) and baseline.is_lost(row))]
    return Matching(kept=None if len(kept) == rows else kept, rows=rows)


def subtract(candidate: Values, baseline: Values, ends: tuple[float, float]) -> list[float]:
    """Return candidate minus baseline row by row.

    Args:
        ends: what unknown numbers of the candidate, and of the baseline, are taken to be.
    """
    if None not in candidate and None not in baseline:
        return list(map(sub, candidate, baseline))
    new_end, old_end = ends
    return [
        (new_end if new is None else new) - (old_end if old is None else old)
        for new, old in zip(candidate, baseline, strict=True)
    ]


def count_unknown(candidate: Values, baseline: Values) -> int:
    """Count the rows of which at least one side is not known."""
    if None not in candidate and None not in baseline:
        return 0
    return sum(new is None or old is None for new, old in zip(candidate, baseline, strict=True))


def paired_difference(
    candidate: Values, baseline: Values, matching: Matching, score_bounds: tuple[float, float] | None
) -> Difference:
    """Compare two runs over the same rows.

    Args:
        candidate, baseline: same length and order.
        matching: which of them are compared.
        score_bounds: smallest and largest score of a row.
    """
    new, old = matching.pick(candidate), matching.pick(baseline)
    unknown = count_unknown(new, old)
    known = subtract(new, old, (math.nan, math.nan))
    if unknown:
        known = [value for value in known if not math.isnan(value)]
    if not known:
        return Difference(value=None, pairs=0, unknown=len(new), both_failed=matching.both_failed)
    mean = math.fsum(known) / len(known)
    bounds = (mean, mean) if not unknown else _bounds(new, old, score_bounds) if score_bounds else None
    return Difference(
        value=mean,
        pairs=len(known),
        unknown=unknown,
        both_failed=matching.both_failed,
        interval=_interval(known),
        bounds=bounds,
    )


def _interval(differences: Sequence[float]) -> Interval | None:
    """Return a two-sided 95 % interval for display: Tango's for differences of 0 and 1, else of the mean."""
    if set(differences) <= {-1.0, 0.0, 1.0}:
        return tango(Pairs(differences.count(1.0), differences.count(-1.0), len(differences)))
    return (bca_interval if len(differences) <= BOOTSTRAP_ROWS else student_interval)(differences)


def _bounds(new: Values, old: Values, score_bounds: tuple[float, float]) -> Interval:
    low, high = score_bounds
    worst, best = (math.fsum(subtract(new, old, ends)) / len(new) for ends in ((low, high), (high, low)))
    return worst, best


def row_change(candidate: float | None, baseline: float | None, *, higher_is_better: bool) -> Change:
    """Say how one row moved; unknown sides count as the same."""
    if candidate is None or baseline is None or candidate == baseline:
        return "same"
    return "improved" if (candidate > baseline) == higher_is_better else "regressed"
