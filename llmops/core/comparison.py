"""Candidate against baseline, row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmops.core.metrics import RowStatus
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


def paired_difference(
    candidate: Sequence[float | None],
    baseline: Sequence[float | None],
    statuses: Sequence[tuple[RowStatus, RowStatus]],
    score_bounds: tuple[float, float] | None,
) -> Difference:
    """Compare two runs over the same rows.

    Args:
        candidate, baseline: one value per row, None where nobody knows; same length and order.
        statuses: candidate's and baseline's status per row.
        score_bounds: smallest and largest score of a row.

    A row that failed on both sides does not count as a pair: it says nothing about which is better.
    """
    both_failed = sum(pair == ("failed", "failed") for pair in statuses)
    compared = [
        (new, old) for new, old, pair in zip(candidate, baseline, statuses, strict=True) if pair != ("failed", "failed")
    ]
    known = [new - old for new, old in compared if new is not None and old is not None]
    known = [value for value in known if not math.isnan(value)]
    if not known:
        return Difference(value=None, pairs=0, unknown=len(compared), both_failed=both_failed)
    return Difference(
        value=sum(known) / len(known),
        pairs=len(known),
        unknown=len(compared) - len(known),
        both_failed=both_failed,
        interval=_interval(known),
        bounds=_bounds(compared, score_bounds) if score_bounds else None,
    )


def _interval(differences: Sequence[float]) -> Interval | None:
    """Return a two-sided 95 % interval for display: Tango's for differences of 0 and 1, else of the mean."""
    if set(differences) <= {-1.0, 0.0, 1.0}:
        gains, losses = (sum(value == wanted for value in differences) for wanted in (1.0, -1.0))
        return tango(Pairs(gains, losses, len(differences)))
    return (bca_interval if len(differences) <= BOOTSTRAP_ROWS else student_interval)(differences)


def _bounds(compared: Sequence[tuple[float | None, float | None]], score_bounds: tuple[float, float]) -> Interval:
    low, high = score_bounds
    lowest = sum((low if new is None else new) - (high if old is None else old) for new, old in compared)
    highest = sum((high if new is None else new) - (low if old is None else old) for new, old in compared)
    return lowest / len(compared), highest / len(compared)


def row_change(candidate: float | None, baseline: float | None, *, higher_is_better: bool) -> Change:
    """Say how one row moved; unknown sides count as the same."""
    if candidate is None or baseline is None or candidate == baseline:
        return "same"
    return "improved" if (candidate > baseline) == higher_is_better else "regressed"
