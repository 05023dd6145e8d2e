"""The numbers of a run and what the gate says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmops.core.limits import MetricKind

RowStatus = Literal["scored", "failed", "unmeasured"]
Outcome = Literal["pass", "fail", "inconclusive"]
FindingOutcome = Literal["pass", "fail", "inconclusive", "skipped"]
"""skipped: the limit compares with a baseline and there is none."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One named number of one run.

    Attributes:
        name: metric name, unique within its evaluator.
        evaluator: the evaluator that reports it.
        value: None when it was not reported or is not a finite number; failed rows count as the worst score when the
            metric follows from row scores.
        n: rows that the value rests on, failed rows included when they count.
        failed, unmeasured: rows in these states.
        interval: two-sided 95 % interval for display; None when there is no honest one.
        bounds: the value if every unmeasured row had been the worst, and the best; None when not known.
        reported: what the evaluator's own aggregation logged, when that is a number.
    """

    name: str
    evaluator: str
    value: float | None
    kind: MetricKind
    n: int
    failed: int
    unmeasured: int
    higher_is_better: bool = True
    interval: tuple[float, float] | None = None
    interval_method: str = ""
    bounds: tuple[float, float] | None = None
    reported: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All rows of a run as the evaluators saw them, in columns, so that many rows stay small.

    Attributes:
        statuses: one per row, in the order of the data set.
        columns: `evaluator.output` to one number per row, NaN where there is none; numbers and booleans only.
        rows: positions in the data set; empty when all rows are there.
        failed_shares: share of each row's measurements in which the flow failed; empty when each row failed in all or
            none of them.
    """

    statuses: Sequence[RowStatus]
    columns: Mapping[str, Sequence[float]]
    rows: Sequence[int] = ()
    failed_shares: Sequence[float] = ()

    def count(self, status: RowStatus) -> int:
        """Count the rows in a state."""
        return sum(1 for found in self.statuses if found == status)

    def is_lost(self, row: int) -> bool:
        """Whether the flow failed in every measurement of a row."""
        return self.statuses[row] == "failed" and (not self.failed_shares or self.failed_shares[row] == 1.0)


@dataclass(frozen=True, kw_only=True)
class ScoredRow:
    """One row of a run as the evaluators saw it.

    Attributes:
        scores: `evaluator.output` to number; numbers and booleans only. Of a row that failed: over the measurements
            that did not, and what evaluators that look at no output say of those that did.
        failed_share: share of the row's measurements in which the flow failed.
        outputs: evaluator to all of its outputs for the row, for people.
        errors: evaluator to why it could not score the row.
    """

    row: int
    status: RowStatus
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    failed_share: float = 0.0
    outputs: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    errors: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the gate says of one limit.

    Attributes:
        metric: the threshold's metric, or `max_failed`, `max_unmeasured`.
        limit: the limit in words, for instance `min 0.8`, `max_regression 0.03 on language=de`.
        value: the candidate's value; baseline: the baseline's; difference: candidate minus baseline.
        interval: two-sided, for display, of the value, or of the difference for a regression limit.
        message: one sentence for people.
        slice: `column=value` when the limit is on these rows only.
        confidence: how sure pass and fail must be; None for a plain comparison of numbers.
        rule: what decided; empty for a plain comparison.
        is_guaranteed: whether the rule's error rates hold for any number of rows.
        p_pass: p-value of "the limit is violated"; the limit passes when it is at most 1 - confidence.
        p_fail: p-value of "the limit holds"; p_adjusted: the same, adjusted for the number of limits: the limit fails
            when it is at most 1 - the gate's confidence.
        bounds: what the rule proves, each side by itself at this confidence; None where it was not formed.
        is_improved: whether the rule proves that the candidate is better than the baseline.
        rows_needed: rows that would decide if the further ones were like these; None when unknown or decided.
        power: what this many rows can find, in words.
    """

    metric: str
    limit: str
    outcome: FindingOutcome
    value: float | None = None
    baseline: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    blocks: bool = True
    message: str = ""
    slice: str = ""
    confidence: float | None = None
    rule: str = ""
    is_guaranteed: bool = False
    p_pass: float | None = None
    p_fail: float | None = None
    p_adjusted: float | None = None
    bounds: tuple[float, float] | None = None
    is_improved: bool = False
    rows_needed: int | None = None
    power: str = ""
