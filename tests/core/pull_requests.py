"""Builds small evidence by hand: rows of one metric on both sides."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, Literal

from llmops.core.aggregate import metric_of_rows
from llmops.core.evidence import Rows, Side, gather
from llmops.core.gate import judge, outcome
from llmops.core.limits import Gate, MetricSpec, Threshold
from llmops.core.metrics import Finding, Metric, Outcome, RowStatus, Scores
from llmops.core.samples import Design

Row = float | Literal["failed", "unmeasured"]
ACCURACY = MetricSpec(score="correct", kind="proportion")


def scores(rows: Sequence[Row]) -> Scores:
    """Build the scores of one run of one metric."""
    statuses: list[RowStatus] = [row if isinstance(row, str) else "scored" for row in rows]
    return Scores(
        statuses=statuses,
        columns={"quality.correct": array("d", (nan if isinstance(row, str) else row for row in rows))},
    )


def side(rows: Sequence[Row], spec: MetricSpec = ACCURACY) -> Side:
    """Build one side."""
    table = scores(rows)
    return Side(metrics={"quality.accuracy": metric_of_rows("accuracy", "quality", table, spec)}, scores=table)


def gate(
    confidence: float | None = 0.95, *, max_failed: int = 10_000, max_unmeasured: int = 10_000, **limits: Any
) -> Gate:
    """Build a gate with one threshold on `accuracy`; failed and unmeasured rows do not decide by their number."""
    own = {name: limits.pop(name) for name in ("sequential", "add_repeats", "target", "seed") if name in limits}
    threshold = Threshold(metric="accuracy", confidence=confidence, **limits)
    return Gate(thresholds=[threshold], max_failed=max_failed, max_unmeasured=max_unmeasured, **own)


def findings(
    limits: Gate,
    candidate: Sequence[Row],
    baseline: Sequence[Row] | None = None,
    spec: MetricSpec = ACCURACY,
    *,
    slices: Mapping[str, Sequence[str]] | None = None,
    design: Design | None = None,
    sizes: Mapping[str, int] | None = None,
    explain: bool = False,
) -> list[Finding]:
    """Judge rows and return the findings on `accuracy`."""

    def spec_of(_: Metric) -> MetricSpec:
        return spec

    old = None if baseline is None else side(baseline, spec)
    rows = Rows(design=design or Design(), slices=slices or {}, slice_sizes=sizes or {})
    evidence = gather(limits, side(candidate, spec), old, spec_of, rows)
    return judge(limits, evidence, explain=explain)[2:]


def verdict(*arguments: Any, **keywords: Any) -> Outcome:
    """Judge rows and return the verdict on `accuracy` alone."""
    return outcome(findings(*arguments, **keywords))
