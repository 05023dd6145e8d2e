"""From evaluations to the verdict record: differences, findings, and the rows that a reviewer should see."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from llmops.core.aggregate import extremes, row_values
from llmops.core.comparison import row_change
from llmops.core.distribution import Distribution, distribute
from llmops.core.documents import to_json
from llmops.core.evidence import Rows, Side, gather
from llmops.core.gate import Evidence, exit_code, find_metric, judge, outcome, question_name
from llmops.core.limits import Gate, MetricSpec
from llmops.core.metrics import Finding, Metric, Outcome, ScoredRow, Scores
from llmops.core.samples import Design
from llmops.evaluators.comparability import require_comparable
from llmops.evaluators.evaluation import ReadLines, Specs, read_scored_rows, read_scores
from llmops.records import (
    ROWS_SHOWN,
    EvaluationRecord,
    Line,
    Look,
    LooksRecord,
    RowComparison,
    RowView,
    VerdictRecord,
    read_record,
    write_record,
)

TEXT_SHOWN = 10_000
"""Characters of one text of a row that a verdict keeps."""

DISTRIBUTIONS_SHOWN = 12

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
        remarks: sentences for the report that decide nothing, so that they are no part of the evidence.
        slices: column of the data set to its value in each row that ran, as text.
        slice_sizes: `column=value` to the rows of the data set that have it; needed where rows are drawn from it.
        order: positions of the rows that ran in the order in which they were drawn; None when all are judged at once.
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
    remarks: Sequence[str] = ()
    slices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    slice_sizes: Mapping[str, int] = field(default_factory=dict)
    order: Sequence[int] | None = None

    @property
    def family(self) -> str:
        """Name all looks at these digests, however often their rows were measured."""
        return look_family(
            self.experiment,
            self.environment,
            self.gate,
            self.specs,
            Measured.of(self.candidate),
            Measured.of(self.baseline) if self.baseline else None,
        )

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
            None if self.order is None else list(self.order),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured, whatever the number of repeats.

    Attributes:
        overlay: what lies over the flow's files, see `FlowRef.overlay`.
        evaluators: evaluator name to the digest of its flow; judges: to the digest of what judges besides.
        connections: connection name to its identity.
    """

    flow: str
    overlay: Mapping[str, str]
    dataset: str
    evaluators: Mapping[str, str]
    judges: Mapping[str, str]
    connections: Mapping[str, str]
    column_mapping: Mapping[str, Any]

    @classmethod
    def of(cls, evaluation: EvaluationRecord) -> Measured:
        """Read it from an evaluation."""
        run = evaluation.run
        return cls(
            flow=run.flow.digest,
            overlay=run.flow.overlay,
            dataset=run.dataset.digest,
            evaluators=evaluation.evaluators,
            judges=evaluation.judges,
            connections=run.connections,
            column_mapping=run.column_mapping,
        )


def look_family(
    experiment: str, environment: str, gate: Gate, specs: Specs, candidate: Measured, baseline: Measured | None
) -> str:
    """Name the looks that share one error rate: a digest over everything but the number of repeats."""
    parts = [experiment, environment, to_json(gate), to_json(specs), to_json(candidate), to_json(baseline)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_looks(state: Path, family: str) -> LooksRecord | None:
    """Read what was recorded of a family of looks; None when there was none."""
    path = _looks_path(state, family)
    return read_record(path, LooksRecord) if path.exists() else None


def _looks_path(state: Path, family: str) -> Path:
    return state / "looks" / f"{family[:24]}.json"


def decide(state: Path, case: Case, read_lines: ReadLines) -> VerdictRecord:
    """Judge a case; equal evidence returns the verdict that was recorded for it.

    Every look with confidence is recorded. Where repeats may be added, each verdict rests on all looks so far;
    elsewhere the gate has one look, and a second one with other repeats is said to be beyond its error rate.

    Args:
        state: the project's `.llmops/` folder.
        case: what is judged.
        read_lines: yields the lines of a run in order.

    Raises:
        UsageError: candidate and baseline were not measured alike.
    """
    if case.baseline is not None:
        require_comparable(case.candidate, case.baseline)
    identifier = f"{case.experiment}-{case.evidence[:12]}"
    path = state / "verdicts" / f"{identifier}.json"
    if path.exists():
        return read_record(path, VerdictRecord)
    history = read_looks(state, case.family)
    this = (case.candidate.id, case.baseline.id if case.baseline else None)
    known = [look for look in history.looks if (look.candidate, look.baseline) != this] if history else []
    if not case.gate.add_repeats:
        case = replace(case, remarks=[*case.remarks, *_unplanned(known, case)])
    record = _judge(state, case, read_lines, identifier, known if case.gate.add_repeats else [])
    write_record(path, record)
    if any(look.p_values for look in record.looks):
        looks = record.looks if case.gate.add_repeats else [*known, *record.looks]
        write_record(_looks_path(state, case.family), LooksRecord(family=case.family, looks=looks))
    return record


def _unplanned(known: Sequence[Look], case: Case) -> list[str]:
    """Say that the same digests were judged before with other repeats, which a gate of one look does not pay for."""
    others = sorted({look.repeats for look in known if look.repeats != case.candidate.run.repeats})
    if not others:
        return []
    times = " and ".join(map(str, others))
    told = f"these digests were judged before (measurements of each row: {times})"
    return [f"{told}; the error rates are those of one look: set gate.add_repeats for looks that share them"]


def _judge(state: Path, case: Case, read_lines: ReadLines, identifier: str, earlier: Sequence[Look]) -> VerdictRecord:
    candidate = read_scores(state, case.candidate)
    baseline = read_scores(state, case.baseline) if case.baseline else None
    run = case.candidate.run
    evidence = _gather(case, candidate, baseline, earlier)
    findings = judge(case.gate, evidence)
    rows = _RowPicker(case, candidate, baseline)
    created_at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    decided = outcome(findings)
    return VerdictRecord(
        id=identifier,
        experiment=case.experiment,
        environment=case.environment,
        outcome=decided,
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
        created_at=created_at,
        stand_in=run.stand_in,
        notes=[*case.notes, *case.remarks, *_error_rate_notes(case.gate, findings, len(earlier) + 1)],
        distributions=_distributions(case, candidate, baseline),
        looks=[*earlier, _look(case, findings, decided, len(earlier) + 1, created_at)],
    )


def _distributions(case: Case, candidate: Scores, baseline: Scores | None) -> list[Distribution]:
    """Spread the scores behind the gate's metrics, then the others."""
    first = [f"{metric.evaluator}.{spec.score}" for metric, spec in _ranking_metrics(case)]
    names = [name for name in dict.fromkeys([*first, *candidate.columns]) if name in candidate.columns]
    columns = ((name, baseline.columns.get(name, ()) if baseline else None) for name in names[:DISTRIBUTIONS_SHOWN])
    spread = (distribute(name, candidate.columns[name], theirs) for name, theirs in columns)
    return [one for one in spread if one]


def _gather(case: Case, candidate: Scores, baseline: Scores | None, earlier: Sequence[Look]) -> Evidence:
    return gather(
        case.gate,
        _side(case.candidate, candidate),
        _side(case.baseline, baseline) if case.baseline and baseline else None,
        lambda metric: _spec(case, metric),
        Rows(
            design=_design(case, len(earlier)),
            slices=case.slices,
            slice_sizes=case.slice_sizes,
            judged=case.candidate.repeats,
            guessed=_guessed(case),
            earlier=_smallest(earlier),
            baseline_problem=case.baseline_problem,
        ),
    )


def _side(evaluation: EvaluationRecord, scores: Scores) -> Side:
    return Side(metrics=_by_name(evaluation), scores=scores, resampled=evaluation.resampled)


def judge_case(state: Path, case: Case) -> Outcome:
    """Judge a case as a first look, without recording anything."""
    candidate = read_scores(state, case.candidate)
    baseline = read_scores(state, case.baseline) if case.baseline else None
    return outcome(judge(case.gate, _gather(case, candidate, baseline, ()), explain=False))


def draw_positions(order: Sequence[int], drawn: int) -> list[int]:
    """Return, for the first rows of an order, their places among these rows in ascending order.

    Args:
        order: positions in the data set, in the order in which they are drawn.
        drawn: how many were.
    """
    places = {row: place for place, row in enumerate(sorted(order[:drawn]))}
    return [places[row] for row in order[:drawn]]


def _design(case: Case, earlier: int) -> Design:
    is_finite = case.gate.target == "this_dataset" and case.order is not None
    return Design(
        repeats=case.candidate.run.repeats,
        order=case.order,
        population=case.candidate.run.dataset.rows if is_finite else None,
        look=earlier + 1 if case.gate.add_repeats else 0,
    )


def _smallest(looks: Sequence[Look]) -> dict[str, tuple[float, float]]:
    """Return the smallest p-values of all looks: those of rules that hold for any number of looks."""
    found: dict[str, tuple[float, float]] = {}
    for look in looks:
        for name, (passing, failing) in look.p_values.items():
            before = found.get(name, (1.0, 1.0))
            found[name] = (min(before[0], passing), min(before[1], failing))
    return found


def _look(case: Case, findings: Sequence[Finding], decided: Outcome, number: int, at: str) -> Look:
    return Look(
        number=number,
        repeats=case.candidate.run.repeats,
        rows=case.candidate.rows,
        candidate=case.candidate.id,
        baseline=case.baseline.id if case.baseline else None,
        outcome=decided,
        p_values={
            question_name(finding): (finding.p_pass, finding.p_fail)
            for finding in findings
            if finding.p_pass is not None and finding.p_fail is not None
        },
        at=at,
    )


def _error_rate_notes(gate: Gate, findings: Sequence[Finding], looks: int) -> list[str]:
    """Say what the error rates are, over what they hold, and what the rows can find."""
    judged = [finding for finding in findings if finding.confidence is not None and finding.rule]
    if not judged:
        return []
    alpha = 1.0 - min(finding.confidence or 1.0 for finding in judged)
    over = f"{looks} recorded looks" if looks > 1 else "all recorded looks" if gate.has_many_looks else "the one look"
    rates = (
        f"a pass although a limit is violated: at most {100 * alpha:.3g} %; a fail although all limits hold: the same; "
        f"over {over}, for {gate.target.replace('_', ' ')}; a lost record or a new digest starts anew"
    )
    approximate = [finding.metric for finding in judged if not finding.is_guaranteed]
    notes = [f"error rates: {rates}"]
    if approximate:
        notes.append(f"no guarantee for {', '.join(dict.fromkeys(approximate))}: the method is approximate")
    notes += [
        f"power, {finding.metric} {finding.limit}: {finding.power}"
        for finding in judged
        if finding.power and not finding.slice
    ]
    return notes


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


def _guessed(case: Case) -> frozenset[str]:
    """Return the metrics that nobody declared, by `evaluator.metric`."""
    return frozenset(
        name
        for name, metric in _by_name(case.candidate).items()
        if metric.name not in case.specs.get(metric.evaluator, {})
    )


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
            if value is not None and math.isfinite(value):
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
        rows = self._candidate.rows or range(len(self._candidate.statuses))
        wanted = {rows[index] for index in indexes}
        new = _views(state, self._case.candidate, wanted, read_lines)
        old = _views(state, self._case.baseline, wanted, read_lines) if self._case.baseline else {}
        return [
            RowComparison(
                row=rows[index],
                inputs=new[rows[index]][0],
                candidate=new[rows[index]][1],
                baseline=old[rows[index]][1] if rows[index] in old else None,
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
) -> dict[int, tuple[Mapping[str, Any], RowView]]:
    lines = _first_repeats(read_lines(evaluation.run), wanted)
    views = {}
    for scored in read_scored_rows(state, evaluation):
        if scored.row in wanted:
            line = lines[scored.row]
            views[scored.row] = (shorten(line.inputs), _view(line, scored))
    return views


def _first_repeats(lines: Iterator[Line], wanted: set[int]) -> dict[int, Line]:
    """Keep one line per wanted row: one that did not complete, if there is one."""
    kept: dict[int, Line] = {}
    for line in lines:
        if line.row in wanted and (line.row not in kept or kept[line.row].status == "completed"):
            kept[line.row] = line
    return kept


def shorten(value: Any) -> Any:
    """Cut long texts: a verdict holds what people look at, `lines.jsonl` holds all of it."""
    if isinstance(value, str) and len(value) > TEXT_SHOWN:
        return f"{value[:TEXT_SHOWN]}… ({len(value) - TEXT_SHOWN} more characters)"
    if isinstance(value, Mapping):
        return {key: shorten(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shorten(item) for item in value]
    return value


def _view(line: Line, scored: ScoredRow) -> RowView:
    errors = [f"{line.error.type}: {line.error.message}"] if line.error else []
    errors += [f"{name}: {message}" for name, message in scored.errors.items()]
    return RowView(
        status=scored.status,
        outputs=shorten(line.outputs),
        scores=scored.scores,
        error="; ".join(errors),
        duration_s=line.duration_s,
    )
