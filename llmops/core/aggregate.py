"""From rows to metrics: every number carries how many rows it rests on and what it would be at worst and at best."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmops.core.limits import MetricSpec
from llmops.core.metrics import Metric, Scores
from llmops.core.statistics import (
    BOOTSTRAP_ROWS,
    Interval,
    bca_interval,
    nearest_rank,
    percentile_interval,
    student_interval,
    wilson,
)

LARGEST_NUMBER = 1e150
"""No score is larger: the sums and squares of larger ones leave the floats."""

_AGREEMENT = 1e-6


@dataclass(frozen=True, kw_only=True)
class Logged:
    """What one evaluator reported of one run.

    Attributes:
        metrics: logged by its aggregation nodes, unchecked: numbers or text such as `NaN`.
        error: why its aggregation did not end; empty otherwise.
    """

    evaluator: str
    metrics: Mapping[str, Any]
    error: str = ""


def aggregate(logged: Logged, scores: Scores, specs: Mapping[str, MetricSpec]) -> list[Metric]:
    """Build the metrics of one evaluator.

    Three sources, in this order: what its aggregation logged, what the configuration declares, and every output that
    is a number on each scored row (its mean, under the output's name). A declared metric that was not logged has no
    value, and neither has one whose logged value is not the mean of its rows.

    Args:
        specs: metric name to how it follows from the rows.
    """
    names = [*logged.metrics, *(name for name in specs if name not in logged.metrics)]
    metrics = [_named(logged, name, scores, specs.get(name)) for name in names]
    in_words = {spec.score for spec in specs.values() if spec.labels}
    for score in _complete_columns(logged.evaluator, scores):
        if score not in names and score not in in_words:
            metrics.append(
                metric_of_rows(score, logged.evaluator, scores, _guess_spec(logged.evaluator, score, scores))
            )
    return metrics


def row_values(scores: Scores, key: str, spec: MetricSpec) -> list[float | None]:
    """Return one value per row: its score, the worst possible one if the row failed, None if nobody knows.

    A failed row is None too where the metric declares no bounds. In a percentile it is infinitely bad; in a sum it is
    what was spent on it. A row that failed in some of its repeats is the average over all of them.
    """
    worst, _ = extremes(spec)
    column = scores.columns.get(key)
    if column is not None and len(column) == len(scores.statuses) and set(scores.statuses) == {"scored"}:
        is_complete = not math.isnan(sum(column))
        return list(column) if is_complete else [None if math.isnan(value) else value for value in column]
    values: list[float | None] = []
    for index, status in enumerate(scores.statuses):
        own = column[index] if column is not None and status != "unmeasured" else math.nan
        value = own if status != "failed" or spec.kind == "sum" else _failed_value(own, worst, scores, index)
        values.append(None if value is None or math.isnan(value) else value)
    return values


def _failed_value(own: float, worst: float | None, scores: Scores, row: int) -> float | None:
    """Return what a row counts as that failed: the worst score in each measurement in which it did."""
    if worst is None or math.isinf(worst) or scores.is_lost(row):
        return worst
    share = scores.failed_shares[row]
    return share * worst + (1.0 - share) * own


def extremes(spec: MetricSpec) -> tuple[float | None, float | None]:
    """Return the worst and the best score that a row can have; None where no bounds are known."""
    if spec.kind == "percentile":
        return (-math.inf, math.inf) if spec.higher_is_better else (math.inf, -math.inf)
    bounds = spec.score_bounds
    if bounds is None:
        return None, None
    return (bounds[0], bounds[1]) if spec.higher_is_better else (bounds[1], bounds[0])


def as_number(value: Any) -> float | None:
    """Return a number of a size that can be added up and squared, None for anything else."""
    if isinstance(value, (bool, int, float)) and abs(value) <= LARGEST_NUMBER:
        return float(value)
    return None


def _named(logged: Logged, name: str, scores: Scores, spec: MetricSpec | None) -> Metric:
    spec = spec or MetricSpec(kind="opaque")
    reported = as_number(logged.metrics.get(name))
    if name not in logged.metrics and not logged.error and _is_ours_to_form(name, spec):
        return metric_of_rows(name, logged.evaluator, scores, spec)
    problem = _why_no_value(logged, name, reported)
    if problem or spec.score is None:
        return _bare(name, logged.evaluator, scores, spec, reported, problem)
    metric = metric_of_rows(name, logged.evaluator, scores, spec, reported)
    mean = _scored_mean(scores, f"{logged.evaluator}.{spec.score}")
    if mean is not None and reported is not None and abs(mean - reported) > _AGREEMENT * max(1.0, abs(mean)):
        note = f"the evaluator logged {reported:g}, but the mean of {spec.score!r} over its rows is {mean:g}"
        return _bare(name, logged.evaluator, scores, spec, reported, note)
    return metric


def names_formed_of_rows(specs: Mapping[str, MetricSpec], outputs: Collection[str]) -> frozenset[str]:
    """Return the declared metrics that follow from an evaluator's outputs without its aggregation logging them."""
    return frozenset(name for name, spec in specs.items() if spec.score in outputs and _is_ours_to_form(name, spec))


def _is_ours_to_form(name: str, spec: MetricSpec) -> bool:
    """Whether the metric needs no word of the evaluator: an output under its own name, in words, or a figure of one."""
    is_figure = spec.kind in {"percentile", "sum"}
    return spec.score is not None and (spec.score == name or is_figure or bool(spec.labels))


def _why_no_value(logged: Logged, name: str, reported: float | None) -> str:
    if logged.error:
        return f"the aggregation of {logged.evaluator!r} failed: {logged.error}"
    if name not in logged.metrics:
        return f"{logged.evaluator!r} did not report {name!r}"
    if reported is None:
        found = f"{logged.evaluator!r} reported {logged.metrics[name]!r}"
        return f"{found}, which is no finite number up to {LARGEST_NUMBER:g}"
    return ""


def _bare(name: str, evaluator: str, scores: Scores, spec: MetricSpec, reported: float | None, note: str) -> Metric:
    """A number that only the evaluator knows how to form: no interval is invented for it."""
    return Metric(
        name=name,
        evaluator=evaluator,
        value=None if note else reported,
        kind=spec.kind,
        n=scores.count("scored"),
        failed=scores.count("failed"),
        unmeasured=scores.count("unmeasured"),
        higher_is_better=spec.higher_is_better,
        reported=reported,
        note=note,
    )


def metric_of_rows(
    name: str, evaluator: str, scores: Scores, spec: MetricSpec, reported: float | None = None
) -> Metric:
    """Form a metric that follows from row scores; without a value where the rows do not give one."""
    worst, best = extremes(spec)
    values = row_values(scores, f"{evaluator}.{spec.score}", spec)
    known = [value for value in values if value is not None]
    failed = scores.count("failed")
    counts_failed = worst is not None or spec.kind == "sum"
    unknown = len(values) - len(known) - (0 if counts_failed else failed)
    note = _why_no_number(known, spec, failed if not counts_failed else 0)
    shown = _Shown(known, unknown, spec) if not note else None
    return Metric(
        name=name,
        evaluator=evaluator,
        value=shown.value if shown else None,
        kind=spec.kind,
        n=len(known),
        failed=failed,
        unmeasured=unknown,
        higher_is_better=spec.higher_is_better,
        interval=shown.interval() if shown else None,
        interval_method=_METHODS.get(spec.kind, "BCa bootstrap" if len(known) <= BOOTSTRAP_ROWS else "Student's t"),
        bounds=shown.bounds(worst, best) if shown else None,
        reported=reported,
        note=note,
    )


_METHODS = {"proportion": "Wilson", "percentile": "order statistics", "sum": ""}


def _why_no_number(known: Sequence[float], spec: MetricSpec, failed: int) -> str:
    if not known:
        return f"no row has the score {spec.score!r}"
    if failed:
        return f"{failed} rows failed, and without declared bounds nobody knows their worst score"
    low, high = spec.score_bounds or (-math.inf, math.inf)
    if spec.kind == "percentile" or (min(known) >= low and max(known) <= high):
        return ""
    outside = next(value for value in known if not low <= value <= high)
    return f"a row has the score {outside:g}, outside of the bounds {low:g} to {high:g}"


class _Shown:
    """The number of a metric, its interval and its bounds, by kind."""

    def __init__(self, known: Sequence[float], unknown: int, spec: MetricSpec) -> None:
        self._known = sorted(known) if spec.kind == "percentile" else known
        self._unknown = unknown
        self._spec = spec
        self.value = self._of(self._known)

    def _of(self, values: Sequence[float]) -> float:
        if self._spec.kind == "percentile":
            return nearest_rank(values, self._spec.percentile / 100)
        total = math.fsum(values)
        return total if self._spec.kind == "sum" else total / len(values)

    def interval(self) -> Interval | None:
        """Return the two-sided 95 % interval; None where there is none, as of a sum, which is simply known."""
        if self._spec.kind == "proportion" and set(self._known) <= {0.0, 1.0}:
            return wilson(sum(self._known), len(self._known))
        if self._spec.kind == "percentile":
            return percentile_interval(self._known, self._spec.percentile / 100)
        if self._spec.kind == "sum":
            return None
        return (bca_interval if len(self._known) <= BOOTSTRAP_ROWS else student_interval)(self._known)

    def bounds(self, worst: float | None, best: float | None) -> Interval | None:
        """Return the number if every unknown row had been the worst, and the best, in ascending order."""
        if worst is None or best is None:
            return None
        if not self._unknown:
            return self.value, self.value
        ends = (sorted([*self._known, *[end] * self._unknown]) for end in (worst, best))
        low, high = sorted(self._of(values) for values in ends)
        return low, high


def _scored(scores: Scores, key: str) -> list[float]:
    """Return the column's numbers on scored rows."""
    column = scores.columns.get(key, ())
    pairs = zip(scores.statuses, column, strict=False)
    return [value for status, value in pairs if status == "scored" and not math.isnan(value)]


def _scored_mean(scores: Scores, key: str) -> float | None:
    """Return the mean that an evaluator's aggregation sees; None where rows that failed in part weigh less in it."""
    if scores.failed_shares:
        return None
    values = [value for value in scores.columns.get(key, ()) if not math.isnan(value)]
    return math.fsum(values) / len(values) if values else None


def _complete_columns(evaluator: str, scores: Scores) -> list[str]:
    """Return the evaluator's outputs that are numbers on every scored row."""
    expected = scores.count("scored")
    owned = [key for key in scores.columns if key.partition(".")[0] == evaluator]
    return [key.partition(".")[2] for key in owned if expected and len(_scored(scores, key)) == expected]


def _guess_spec(evaluator: str, score: str, scores: Scores) -> MetricSpec:
    """An undeclared score is a proportion when every row has 0 or 1, else an unbounded mean."""
    is_binary = set(_scored(scores, f"{evaluator}.{score}")) <= {0.0, 1.0}
    return MetricSpec(score=score, kind="proportion" if is_binary else "mean")
