"""From scored rows to what the gate judges: metrics, differences and samples, over all rows and by slice."""

from __future__ import annotations

import dataclasses
import hashlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from llmops.core.aggregate import extremes, metric_of_rows, row_values
from llmops.core.comparison import Difference, paired_difference
from llmops.core.gate import Evidence, Samples, find_metric
from llmops.core.limits import Gate, MetricSpec
from llmops.core.metrics import Metric, Scores
from llmops.core.samples import Design, difference_sample, value_sample

SpecOf = Callable[[Metric], MetricSpec | None]
"""Returns how a metric follows from row scores; None for one that only its evaluator can form."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One run as its evaluators saw it; `metrics` by `evaluator.metric`."""

    metrics: Mapping[str, Metric]
    scores: Scores


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is known of the rows besides their scores.

    Attributes:
        design: how they were measured.
        slices: column of the data set to its value in each row, as text.
        earlier: see `Evidence`.
        baseline_problem: see `Evidence`.
    """

    design: Design = field(default_factory=Design)
    slices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    earlier: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    baseline_problem: str = ""


def gather(gate: Gate, candidate: Side, baseline: Side | None, spec_of: SpecOf, rows: Rows) -> Evidence:
    """Gather the evidence on all limits of a gate.

    Args:
        gate: samples are formed of the metrics that its thresholds name and that ask for confidence.
        candidate, baseline: over the same rows, in the same order.
        spec_of: how a metric follows from rows.
        rows: what else is known of the rows.
    """
    whole = _gather_one(gate, candidate, baseline, spec_of, rows)
    slices = {}
    for column in dict.fromkeys(column for threshold in gate.thresholds for column in threshold.slices):
        for value in sorted(set(rows.slices[column])):
            kept = [index for index, found in enumerate(rows.slices[column]) if found == value]
            new = _only(candidate, kept, gate, spec_of)
            old = _only(baseline, kept, gate, spec_of) if baseline else None
            design = dataclasses.replace(rows.design, order=_kept_order(rows.design.order, kept))
            if design.population is not None:
                design = dataclasses.replace(design, population=None)
            slices[f"{column}={value}"] = _gather_one(
                gate, new, old, spec_of, dataclasses.replace(rows, design=design, slices={})
            )
    return dataclasses.replace(whole, slices=slices)


def _gather_one(gate: Gate, candidate: Side, baseline: Side | None, spec_of: SpecOf, rows: Rows) -> Evidence:
    scores = candidate.scores
    return Evidence(
        metrics=candidate.metrics,
        baseline=baseline.metrics if baseline else None,
        differences=_differences(candidate, baseline, spec_of) if baseline else {},
        rows=len(scores.statuses),
        failed=scores.count("failed"),
        unmeasured=scores.count("unmeasured"),
        baseline_problem=rows.baseline_problem,
        samples=_samples(gate, candidate, baseline, spec_of, rows.design),
        earlier=rows.earlier,
    )


def _differences(candidate: Side, baseline: Side, spec_of: SpecOf) -> dict[str, Difference]:
    found = {}
    statuses = list(zip(candidate.scores.statuses, baseline.scores.statuses, strict=True))
    for name, metric in candidate.metrics.items():
        spec = spec_of(metric)
        if spec is None or spec.kind in {"percentile", "sum"}:
            continue
        key = f"{metric.evaluator}.{spec.score}"
        ends = [end for end in extremes(spec) if end is not None]
        bounds = (min(ends), max(ends)) if ends else None
        new, old = row_values(candidate.scores, key, spec), row_values(baseline.scores, key, spec)
        found[name] = paired_difference(new, old, statuses, bounds)
    return found


def _samples(gate: Gate, candidate: Side, baseline: Side | None, spec_of: SpecOf, design: Design) -> dict[str, Samples]:
    found = {}
    for threshold in gate.thresholds:
        metric = find_metric(threshold.metric, candidate.metrics)
        spec = spec_of(metric) if metric else None
        if gate.confidence_of(threshold) is None or metric is None or spec is None:
            continue
        key = f"{metric.evaluator}.{spec.score}"
        new = row_values(candidate.scores, key, spec)
        samples = Samples(value=value_sample(new, spec, design))
        if baseline is not None and threshold.max_regression is not None:
            old = row_values(baseline.scores, key, spec)
            statuses = list(zip(candidate.scores.statuses, baseline.scores.statuses, strict=True))
            if spec.kind == "percentile":
                samples = dataclasses.replace(samples, baseline=value_sample(old, spec, design))
            else:
                pairs = difference_sample(new, old, statuses, spec, design)
                samples = dataclasses.replace(samples, difference=pairs)
        found[f"{metric.evaluator}.{metric.name}"] = samples
    return found


def _only(side: Side, kept: Sequence[int], gate: Gate, spec_of: SpecOf) -> Side:
    """Return a side with some of its rows, and of its metrics those that the gate names and rows can form."""
    scores = Scores(
        statuses=[side.scores.statuses[index] for index in kept],
        columns={name: array("d", (column[index] for index in kept)) for name, column in side.scores.columns.items()},
    )
    metrics = {}
    for threshold in gate.thresholds:
        metric = find_metric(threshold.metric, side.metrics)
        spec = spec_of(metric) if metric else None
        if metric is not None and spec is not None:
            metrics[f"{metric.evaluator}.{metric.name}"] = metric_of_rows(metric.name, metric.evaluator, scores, spec)
    return Side(metrics=metrics, scores=scores)


def _kept_order(order: Sequence[int] | None, kept: Sequence[int]) -> Sequence[int] | None:
    if order is None:
        return None
    places = {index: place for place, index in enumerate(kept)}
    return [places[index] for index in order if index in places]


def draw_order(identities: Sequence[str], seed: int) -> list[int]:
    """Return positions in the order in which rows are drawn: by a hash of what a row is, wherever it stands.

    Args:
        identities: one text per row, equal for equal rows.
        seed: another seed gives another order.
    """

    def rank(index: int) -> tuple[bytes, int]:
        return hashlib.sha256(f"{seed}:{identities[index]}".encode("utf-8", "surrogatepass")).digest(), index

    return sorted(range(len(identities)), key=rank)
