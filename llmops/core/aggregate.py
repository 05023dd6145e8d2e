"""From rows to metrics: every number carries how many rows it rests on and what it would be at worst and at best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmops.core.limits import MetricSpec
from llmops.core.metrics import Metric, Scores
from llmops.core.statistics import Interval, normal_mean, wilson

_AGREEMENT = 1e-6
PROPORTION_BOUNDS = (0.0, 1.0)


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
    for score in _complete_columns(logged.evaluator, scores):
        if score not in names:
            metrics.append(_row_metric(score, logged.evaluator, scores, _guess_spec(logged.evaluator, score, scores)))
    return metrics


def row_values(scores: Scores, key: str, spec: MetricSpec) -> list[float | None]:
    """Return one value per row: its score, the worst possible one if the row failed, None if nobody knows.

    A failed row is None too where the metric declares no bounds.
    """
    worst, _ = extremes(spec)
    column = scores.columns.get(key)
    values: list[float | None] = []
    for index, status in enumerate(scores.statuses):
        value = worst if status == "failed" else column[index] if status == "scored" and column is not None else None
        values.append(None if value is None or math.isnan(value) else value)
    return values


def extremes(spec: MetricSpec) -> tuple[float | None, float | None]:
    """Return the worst and the best score that a row can have; None where no bounds are known."""
    bounds = spec.bounds or (PROPORTION_BOUNDS if spec.kind == "proportion" else None)
    if bounds is None:
        return None, None
    return (bounds[0], bounds[1]) if spec.higher_is_better else (bounds[1], bounds[0])


def as_number(value: Any) -> float | None:
    """Return a finite number, None for anything else."""
    if isinstance(value, (bool, int, float)) and math.isfinite(value):
        return float(value)
    return None


def _named(logged: Logged, name: str, scores: Scores, spec: MetricSpec | None) -> Metric:
    spec = spec or MetricSpec(kind="opaque")
    reported = as_number(logged.metrics.get(name))
    problem = _why_no_value(logged, name, reported)
    if problem or spec.score is None:
        return _bare(name, logged.evaluator, scores, spec, reported, problem)
    metric = _row_metric(name, logged.evaluator, scores, spec, reported)
    mean = _scored_mean(scores, f"{logged.evaluator}.{spec.score}")
    if mean is not None and reported is not None and abs(mean - reported) > _AGREEMENT * max(1.0, abs(mean)):
        note = f"the evaluator logged {reported:g}, but the mean of {spec.score!r} over its rows is {mean:g}"
        return _bare(name, logged.evaluator, scores, spec, reported, note)
    return metric


def _why_no_value(logged: Logged, name: str, reported: float | None) -> str:
    if logged.error:
        return f"the aggregation of {logged.evaluator!r} failed: {logged.error}"
    if name not in logged.metrics:
        return f"{logged.evaluator!r} did not report {name!r}"
    if reported is None:
        return f"{logged.evaluator!r} reported {logged.metrics[name]!r}, which is not a finite number"
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


def _row_metric(name: str, evaluator: str, scores: Scores, spec: MetricSpec, reported: float | None = None) -> Metric:
    worst, best = extremes(spec)
    values = row_values(scores, f"{evaluator}.{spec.score}", spec)
    known = [value for value in values if value is not None]
    failed = scores.count("failed")
    unknown = len(values) - len(known) - (failed if worst is None else 0)
    note = ""
    if not known:
        note = f"no row has the score {spec.score!r}"
    elif failed and worst is None:
        note = f"{failed} rows failed, and without declared bounds nobody knows their worst score"
    value = None if note else sum(known) / len(known)
    return Metric(
        name=name,
        evaluator=evaluator,
        value=value,
        kind=spec.kind,
        n=len(known),
        failed=failed,
        unmeasured=unknown,
        higher_is_better=spec.higher_is_better,
        interval=None if value is None else _interval(known, spec),
        interval_method="wilson" if spec.kind == "proportion" else "normal approximation",
        bounds=None if value is None else _bounds(known, unknown, worst, best),
        reported=reported,
        note=note,
    )


def _interval(values: Sequence[float], spec: MetricSpec) -> Interval | None:
    if spec.kind == "proportion":
        return wilson(sum(values), len(values))
    return normal_mean(values)


def _bounds(known: Sequence[float], unknown: int, worst: float | None, best: float | None) -> Interval | None:
    if worst is None or best is None:
        return None
    total, n = sum(known), len(known) + unknown
    low, high = sorted(((total + unknown * worst) / n, (total + unknown * best) / n))
    return low, high


def _scored(scores: Scores, key: str) -> list[float]:
    """Return the column's numbers on scored rows."""
    column = scores.columns.get(key, ())
    pairs = zip(scores.statuses, column, strict=False)
    return [value for status, value in pairs if status == "scored" and not math.isnan(value)]


def _scored_mean(scores: Scores, key: str) -> float | None:
    values = _scored(scores, key)
    return sum(values) / len(values) if values else None


def _complete_columns(evaluator: str, scores: Scores) -> list[str]:
    """Return the evaluator's outputs that are numbers on every scored row."""
    expected = scores.count("scored")
    owned = [key for key in scores.columns if key.partition(".")[0] == evaluator]
    return [key.partition(".")[2] for key in owned if expected and len(_scored(scores, key)) == expected]


def _guess_spec(evaluator: str, score: str, scores: Scores) -> MetricSpec:
    """An undeclared score is a proportion when every row has 0 or 1, else an unbounded mean."""
    is_binary = set(_scored(scores, f"{evaluator}.{score}")) <= {0.0, 1.0}
    return MetricSpec(score=score, kind="proportion" if is_binary else "mean")
