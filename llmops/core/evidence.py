"""From scored rows to what the gate judges: metrics, differences and samples, over all rows and by slice."""

from __future__ import annotations

import dataclasses
import hashlib
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from llmops.core.aggregate import extremes, metric_of_rows, row_values
from llmops.core.comparison import Difference, Matching, Values, match_rows, paired_difference
from llmops.core.gate import Evidence, Samples, find_metric
from llmops.core.limits import Gate, MetricSpec
from llmops.core.metrics import Metric, Scores
from llmops.core.samples import Design, Sample, difference_sample, resampled_sample, value_sample

SpecOf = Callable[[Metric], MetricSpec | None]
"""Returns how a metric follows from row scores; None for one that only its evaluator can form."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One run as its evaluators saw it.

    Attributes:
        metrics: by `evaluator.metric`.
        resampled: `evaluator.metric` to the number that the evaluator's aggregation logged over each bootstrap sample
            of the rows, the same rows on both sides.
    """

    metrics: Mapping[str, Metric]
    scores: Scores
    resampled: Mapping[str, Values] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is known of the rows besides their scores.

    Attributes:
        design: how they were measured.
        slices: column of the data set to its value in each row, as text.
        slice_sizes: `column=value` to the rows of the data set that have it, whether or not they were drawn; needed
            where the design has a population.
        judged: evaluator to its measurements of each line, where there are several.
        guessed: `evaluator.metric` of scores that nobody declared: that all rows are 0 or 1 does not bound them.
        earlier: see `Evidence`.
        baseline_problem: see `Evidence`.
    """

    design: Design = field(default_factory=Design)
    slices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    slice_sizes: Mapping[str, int] = field(default_factory=dict)
    judged: Mapping[str, int] = field(default_factory=dict)
    guessed: Collection[str] = ()
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
    whole = _Gathering(gate=gate, candidate=candidate, baseline=baseline, spec_of=spec_of, rows=rows).evidence()
    slices = {}
    for column in dict.fromkeys(column for threshold in gate.thresholds for column in threshold.slices):
        for value in sorted(set(rows.slices[column])):
            name = f"{column}={value}"
            kept = [index for index, found in enumerate(rows.slices[column]) if found == value]
            slices[name] = _Gathering(
                gate=gate,
                candidate=_only(candidate, kept, gate, spec_of),
                baseline=_only(baseline, kept, gate, spec_of) if baseline else None,
                spec_of=spec_of,
                rows=dataclasses.replace(rows, design=_design_of_slice(name, kept, rows), slices={}),
            ).evidence()
    return dataclasses.replace(whole, slices=slices)


def _design_of_slice(name: str, kept: Sequence[int], rows: Rows) -> Design:
    population = None if rows.design.population is None else rows.slice_sizes[name]
    return dataclasses.replace(rows.design, order=_kept_order(rows.design.order, kept), population=population)


@dataclass(frozen=True, kw_only=True)
class _Gathering:
    """One set of rows on its way to evidence; the numbers of each metric's rows are read once."""

    gate: Gate
    candidate: Side
    baseline: Side | None
    spec_of: SpecOf
    rows: Rows
    known: dict[tuple[object, ...], Values] = field(default_factory=dict)

    def evidence(self) -> Evidence:
        scores = self.candidate.scores
        return Evidence(
            metrics=self.candidate.metrics,
            baseline=self.baseline.metrics if self.baseline else None,
            differences=self._differences(),
            rows=len(scores.statuses),
            failed=scores.count("failed"),
            unmeasured=scores.count("unmeasured"),
            baseline_problem=self.rows.baseline_problem,
            samples=self._samples(),
            earlier=self.rows.earlier,
        )

    @cached_property
    def _matching(self) -> Matching:
        assert self.baseline is not None
        return match_rows(self.candidate.scores, self.baseline.scores)

    def _values(self, side: Side, metric: Metric, spec: MetricSpec) -> Values:
        key = f"{metric.evaluator}.{spec.score}"
        place = (side is self.candidate, key, spec.kind, *extremes(spec))
        if place not in self.known:
            self.known[place] = row_values(side.scores, key, spec)
        return self.known[place]

    def _differences(self) -> dict[str, Difference]:
        found: dict[str, Difference] = {}
        for name, metric in self.candidate.metrics.items() if self.baseline else ():
            spec = self.spec_of(metric)
            if self.baseline is None or spec is None or spec.kind in {"percentile", "sum"}:
                continue
            ends = [end for end in extremes(spec) if end is not None]
            new, old = (self._values(side, metric, spec) for side in (self.candidate, self.baseline))
            found[name] = paired_difference(new, old, self._matching, (min(ends), max(ends)) if ends else None)
        return found

    def _samples(self) -> dict[str, Samples]:
        found: dict[str, Samples] = {}
        for threshold in self.gate.thresholds:
            metric = find_metric(threshold.metric, self.candidate.metrics)
            if self.gate.confidence_of(threshold) is None or metric is None:
                continue
            name, spec = f"{metric.evaluator}.{metric.name}", self.spec_of(metric)
            if spec is None:
                found[name] = self._resampled(name, metric)
                continue
            if name in self.rows.guessed:
                spec = MetricSpec(score=spec.score, higher_is_better=spec.higher_is_better)
            samples = found.get(name, Samples())
            if samples.value is None and (spec.kind == "percentile" or {threshold.min, threshold.max} != {None}):
                samples = dataclasses.replace(samples, value=self._value_sample(self.candidate, metric, spec))
            if self.baseline is not None and threshold.max_regression is not None:
                samples = self._with_change(samples, self.baseline, metric, spec)
            found[name] = samples
        return found

    def _resampled(self, name: str, metric: Metric) -> Samples:
        """Judge a number that only its evaluator can form by what its aggregation says of resampled rows."""
        new, unknown = self.candidate.resampled.get(name), metric.failed + metric.unmeasured
        if new is None or metric.value is None:
            return Samples()
        value = resampled_sample(new, metric.value, unknown=unknown)
        old = self.baseline.resampled.get(name) if self.baseline else None
        before = self.baseline.metrics.get(name) if self.baseline else None
        if old is None or before is None or before.value is None:
            return Samples(value=value)
        changes = [None if a is None or b is None else a - b for a, b in zip(new, old, strict=True)]
        lost = unknown + before.failed + before.unmeasured
        change = resampled_sample(changes, metric.value - before.value, unknown=lost, is_difference=True)
        return Samples(value=value, difference=change)

    def _with_change(self, samples: Samples, baseline: Side, metric: Metric, spec: MetricSpec) -> Samples:
        if spec.kind == "percentile":
            return dataclasses.replace(samples, baseline=self._value_sample(baseline, metric, spec))
        # What was spent on rows that failed on both sides was spent.
        matching = self._matching if spec.kind != "sum" else Matching(kept=None, rows=self._matching.rows)
        new, old = (self._values(side, metric, spec) for side in (self.candidate, baseline))
        pairs = difference_sample(new, old, matching, spec, self._design(metric))
        return dataclasses.replace(samples, difference=pairs)

    def _value_sample(self, side: Side, metric: Metric, spec: MetricSpec) -> Sample:
        return value_sample(self._values(side, metric, spec), spec, self._design(metric))

    def _design(self, metric: Metric) -> Design:
        design = self.rows.design
        return dataclasses.replace(design, repeats=design.repeats * self.rows.judged.get(metric.evaluator, 1))


def _only(side: Side, kept: Sequence[int], gate: Gate, spec_of: SpecOf) -> Side:
    """Return a side with some of its rows, and of its metrics those that the gate names and rows can form."""
    scores = Scores(
        statuses=[side.scores.statuses[index] for index in kept],
        columns={name: array("d", (column[index] for index in kept)) for name, column in side.scores.columns.items()},
        failed_shares=[side.scores.failed_shares[index] for index in kept] if side.scores.failed_shares else (),
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
