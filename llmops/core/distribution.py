"""How the scores of a run are spread, in few enough numbers for a report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

BINS = 20
DISTINCT = 12
"""So many different values are each counted by themselves."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """How often which score occurs.

    Attributes:
        name: `evaluator.output`.
        edges: with `is_discrete` the B values, ascending; else the B + 1 ends of B bins of equal width, each of which
            holds its lower end, and the last one its upper end too.
        candidate, baseline: B counts each; the baseline's are empty without one.
        missing, baseline_missing: rows without a finite score.
    """

    name: str
    edges: Sequence[float]
    is_discrete: bool
    candidate: Sequence[int]
    baseline: Sequence[int] = ()
    missing: int = 0
    baseline_missing: int = 0


def distribute(name: str, candidate: Sequence[float], baseline: Sequence[float] | None) -> Distribution | None:
    """Count scores; None when no row has one.

    Args:
        name: `evaluator.output`.
        candidate, baseline: a number per row, NaN where there is none; None without a baseline.
    """
    ours, theirs = _finite(candidate), _finite(baseline or ())
    values = {*ours, *theirs}
    if not values:
        return None
    is_discrete = len(values) <= DISTINCT
    edges = sorted(values) if is_discrete else _edges(min(values), max(values))
    spread = _per_value if is_discrete else _per_bin
    return Distribution(
        name=name,
        edges=edges,
        is_discrete=is_discrete,
        candidate=spread(ours, edges),
        baseline=() if baseline is None else spread(theirs, edges),
        missing=len(candidate) - len(ours),
        baseline_missing=0 if baseline is None else len(baseline) - len(theirs),
    )


def _finite(scores: Sequence[float]) -> list[float]:
    return list(filter(math.isfinite, scores))


def _edges(low: float, high: float) -> list[float]:
    # Each end is scaled by itself: the difference of two large numbers of different sign may not be finite.
    return [low * (1 - at / BINS) + high * (at / BINS) for at in range(BINS)] + [high]


def _per_value(scores: Sequence[float], edges: Sequence[float]) -> list[int]:
    counts = Counter(scores)
    return [counts[value] for value in edges]


def _per_bin(scores: Sequence[float], edges: Sequence[float]) -> list[int]:
    width = edges[-1] / BINS - edges[0] / BINS
    shift = edges[0] / width
    counts = Counter([int(score / width - shift) for score in scores])
    found = [counts[at] for at in range(BINS)]
    found[-1] += sum(number for at, number in counts.items() if at >= BINS)
    return found
