"""From evaluations to the verdict record: differences, findings, and the rows that a reviewer should see."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from llmops.core.aggregate import extremes, row_values
from llmops.core.comparison import Difference, paired_difference, row_change
from llmops.core.documents import to_json
from llmops.core.gate import Evidence, exit_code, find_metric, judge, outcome
from llmops.core.limits import Gate, MetricSpec
from llmops.core.metrics import Metric, ScoredRow, Scores
from llmops.evaluators.evaluation import ReadLines, Specs, read_scored_rows, read_scores
from llmops.records import (
    ROWS_SHOWN,
    EvaluationRecord,
    Line,
    RowComparison,
    RowView,
    VerdictRecord,
    read_record,
    write_record,
)

RowChange = Literal["regressed", "improved", "same", "none"]
_FAILED_BADNESS = 1000.0
_UNMEASURED_BADNESS = 100.0
_REGRESSED_BADNESS = 10.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a verdict is asked about.

    Attributes:
        baseline: None when there is none; `baseline_reason` says why, or which it is.
        baseline_problem: why a baseline that exists could not be run or measured; empty otherwise.
        notes: sentences for the report.
    """

    experiment: str
    environment: str
    gate: Gate
    specs: Specs
    candidate: EvaluationRecord
    baseline: EvaluationRecord | None
    baseline_reason: str
    baseline_problem: str = ""
    notes: Sequence[str] = ()

    @property
    def evidence(self) -> str:
        """Digest over everything that decides."""
        parts = [
            self.experiment,
            self.environment,
            to_json(self.gate),
            to_json(self.specs),
            self.candidate.id,
            self.baseline.id if self.baseline else None,
            self.baseline_reason,
            self.baseline_problem,
            list(self.notes),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def decide(state: Path, case: Case, read_lines: ReadLines) -> VerdictRecord:
    """Judge a case; equal evidence returns the verdict that was recorded for it.

    Args:
        state: the project's `.llmops/` folder.
        read_lines: yields the lines of a run in order.
    """
    identifier = f"{case.experiment}-{case.evidence[:12]}"
    path = state / "verdicts" / f"{identifier}.json"
    if path.exists():
        return read_record(path, VerdictRecord)
    record = _judge(state, case, read_lines, identifier)
    write_record(path, record)
    return record


def _judge(state: Path, case: Case, read_lines: ReadLines, identifier: str) -> VerdictRecord:
    candidate = read_scores(state, case.candidate)
    baseline = read_scores(state, case.baseline) if case.baseline else None
    differences = _differences(case, candidate, baseline)
    run = case.candidate.run
    findings = judge(
        case.gate,
        Evidence(
            metrics=_by_name(case.candidate),
            baseline=_by_name(case.baseline) if case.baseline else None,
            differences=differences,
            rows=case.candidate.rows,
            failed=case.candidate.failed,
            unmeasured=case.candidate.unmeasured,
            baseline_problem=case.baseline_problem,
        ),
    )
    rows = _RowPicker(case, candidate, baseline)
    return VerdictRecord(
        id=identifier,
        experiment=case.experiment,
        environment=case.environment,
        outcome=outcome(findings),
        exit_code=int(exit_code(findings)),
        findings=findings,
        candidate=case.candidate,
        baseline=case.baseline,
        baseline_reason=case.baseline_problem or case.baseline_reason,
        regressed=rows.changes.count("regressed"),
        improved=rows.changes.count("improved"),
        worst=rows.show(rows.worst(), state, read_lines),
        flipped=rows.show(rows.flipped(), state, read_lines),
        evidence=f"sha256:{case.evidence}",
        created_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        stand_in=run.stand_in,
        notes=case.notes,
    )


def _by_name(evaluation: EvaluationRecord) -> dict[str, Metric]:
    return {f"{metric.evaluator}.{metric.name}": metric for metric in evaluation.metrics}


def _spec(case: Case, metric: Metric) -> MetricSpec | None:
    """Return how a metric follows from row scores; None for one that only its evaluator can form."""
    declared = case.specs.get(metric.evaluator, {}).get(metric.name)
    if declared is not None:
        return declared if declared.score else None
    if metric.kind == "opaque":
        return None
    return MetricSpec(score=metric.name, kind=metric.kind, higher_is_better=metric.higher_is_better)


def _differences(case: Case, candidate: Scores, baseline: Scores | None) -> dict[str, Difference]:
    if baseline is None:
        return {}
    found = {}
    statuses = list(zip(candidate.statuses, baseline.statuses, strict=True))
    for name, metric in _by_name(case.candidate).items():
        spec = _spec(case, metric)
        if spec is None:
            continue
        key = f"{metric.evaluator}.{spec.score}"
        ends = [end for end in extremes(spec) if end is not None]
        bounds = (min(ends), max(ends)) if ends else None
        new, old = row_values(candidate, key, spec), row_values(baseline, key, spec)
        found[name] = paired_difference(new, old, statuses, bounds)
    return found


class _RowPicker:
    """Ranks the rows by the scores behind the gate's metrics; without such metrics by all scores."""

    def __init__(self, case: Case, candidate: Scores, baseline: Scores | None) -> None:
        self._case = case
        self._candidate = candidate
        self._baseline = baseline
        self._columns = [self._column(spec, metric) for metric, spec in _ranking_metrics(case)]
        self.changes: list[RowChange] = [self._change(index) for index in range(len(candidate.statuses))]
        self._badness = [self._rank(index) for index in range(len(candidate.statuses))]

    def _column(
        self, spec: MetricSpec, metric: Metric
    ) -> tuple[MetricSpec, Sequence[float | None], Sequence[float | None]]:
        key = f"{metric.evaluator}.{spec.score}"
        new = row_values(self._candidate, key, spec)
        old = row_values(self._baseline, key, spec) if self._baseline else [None] * len(new)
        return spec, new, old

    def _change(self, index: int) -> RowChange:
        if self._baseline is None:
            return "none"
        statuses = (self._candidate.statuses[index], self._baseline.statuses[index])
        if statuses[0] != statuses[1] and "failed" in statuses:
            return "regressed" if statuses[0] == "failed" else "improved"
        changes = {
            row_change(new[index], old[index], higher_is_better=spec.higher_is_better)
            for spec, new, old in self._columns
        }
        return "regressed" if "regressed" in changes else "improved" if "improved" in changes else "same"

    def _rank(self, index: int) -> float:
        status = self._candidate.statuses[index]
        badness = _FAILED_BADNESS * (status == "failed") + _UNMEASURED_BADNESS * (status == "unmeasured")
        badness += _REGRESSED_BADNESS * (self.changes[index] == "regressed")
        for spec, new, _ in self._columns:
            value = new[index]
            if value is not None:
                badness += -value if spec.higher_is_better else value
        return badness

    def worst(self) -> list[int]:
        """Return the rows that are not at their best, worst first."""
        imperfect = [index for index in range(len(self._badness)) if self._is_imperfect(index)]
        return heapq.nsmallest(ROWS_SHOWN, imperfect, key=lambda index: (-self._badness[index], index))

    def _is_imperfect(self, index: int) -> bool:
        if self._candidate.statuses[index] != "scored" or self.changes[index] == "regressed":
            return True
        pairs = [(extremes(spec)[1], new[index]) for spec, new, _ in self._columns]
        return any(best is None or value != best for best, value in pairs)

    def flipped(self) -> list[int]:
        """Return the rows that regressed or improved, regressed first."""
        moved = [index for index, change in enumerate(self.changes) if change in {"regressed", "improved"}]
        order = {"regressed": 0, "improved": 1}
        return heapq.nsmallest(ROWS_SHOWN, moved, key=lambda i: (order[self.changes[i]], -self._badness[i], i))

    def show(self, indexes: Sequence[int], state: Path, read_lines: ReadLines) -> list[RowComparison]:
        """Read the lines of the chosen rows, in the given order."""
        wanted = set(indexes)
        new = _views(state, self._case.candidate, wanted, read_lines)
        old = _views(state, self._case.baseline, wanted, read_lines) if self._case.baseline else {}
        return [
            RowComparison(
                row=index,
                inputs=new[index][0],
                candidate=new[index][1],
                baseline=old[index][1] if index in old else None,
                change=self.changes[index],
                badness=self._badness[index],
            )
            for index in indexes
        ]


def _ranking_metrics(case: Case) -> list[tuple[Metric, MetricSpec]]:
    metrics = _by_name(case.candidate)
    gated = [find_metric(threshold.metric, metrics) for threshold in case.gate.thresholds]
    for names in (gated, list(metrics.values())):
        found = [(metric, spec) for metric in names if metric and (spec := _spec(case, metric))]
        if found:
            return found
    return []


def _views(
    state: Path, evaluation: EvaluationRecord, wanted: set[int], read_lines: ReadLines
) -> dict[int, tuple[Mapping[str, object], RowView]]:
    lines = _first_repeats(read_lines(evaluation.run), wanted)
    views = {}
    for scored in read_scored_rows(state, evaluation):
        if scored.row in wanted:
            line = lines[scored.row]
            views[scored.row] = (line.inputs, _view(line, scored))
    return views


def _first_repeats(lines: Iterator[Line], wanted: set[int]) -> dict[int, Line]:
    """Keep one line per wanted row: one that did not complete, if there is one."""
    kept: dict[int, Line] = {}
    for line in lines:
        if line.row in wanted and (line.row not in kept or kept[line.row].status == "completed"):
            kept[line.row] = line
    return kept


def _view(line: Line, scored: ScoredRow) -> RowView:
    errors = [f"{line.error.type}: {line.error.message}"] if line.error else []
    errors += [f"{name}: {message}" for name, message in scored.errors.items()]
    return RowView(
        status=scored.status,
        outputs=line.outputs,
        scores=scored.scores,
        error="; ".join(errors),
        duration_s=line.duration_s,
    )
