"""From a run and the runs of its evaluators to the evaluation record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmops.core.aggregate import Logged, aggregate
from llmops.core.documents import to_json
from llmops.core.limits import MetricSpec
from llmops.core.metrics import Metric, ScoredRow, Scores
from llmops.errors import UsageError
from llmops.evaluators.scoring import EvaluatedLines, ScoreColumns, join, score_rows
from llmops.records import EvaluationRecord, FlowRef, Line, RunRecord, read_record, write_record, write_stream

ReadLines = Callable[[RunRecord], Iterator[Line]]
Specs = Mapping[str, Mapping[str, MetricSpec]]
"""Evaluator to metric name to how the metric follows from the rows."""


def evaluation_id(run: RunRecord, evaluations: Mapping[str, RunRecord], specs: Specs) -> str:
    """Name an evaluation by what went into it."""
    parts = [run.id, run.lines_digest, to_json(specs)]
    parts += [
        [name, record.id, record.lines_digest, to_json(record.metrics)] for name, record in sorted(evaluations.items())
    ]
    return f"{run.id}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]}"


def evaluate_run(
    state: Path, run: RunRecord, evaluations: Mapping[str, RunRecord], specs: Specs, read_lines: ReadLines
) -> EvaluationRecord:
    """Score the rows of a run and aggregate them; an evaluation that exists is read, not formed again.

    Args:
        state: the project's `.llmops/` folder.
        evaluations: evaluator name to the run of its flow over the lines of `run`.
        read_lines: yields the lines of a run in order.
    """
    folder = _folder(state, evaluation_id(run, evaluations, specs))
    if (folder / "evaluation.json").exists():
        return read_record(folder / "evaluation.json", EvaluationRecord)
    columns = ScoreColumns()
    evaluated = {
        name: EvaluatedLines(lines=read_lines(record), repeats=record.repeats, labels=_labels(specs.get(name, {})))
        for name, record in evaluations.items()
    }
    joined = join(read_lines(run), evaluated)

    def rows() -> Iterator[str]:
        for row in score_rows(joined):
            columns.add(row)
            yield json.dumps(to_json(row), ensure_ascii=False)

    write_stream(folder / "rows.jsonl", rows())
    record = _build(run, evaluations, specs, columns.build(), folder.name)
    write_record(folder / "evaluation.json", record)
    return record


def _labels(metrics: Mapping[str, MetricSpec]) -> Mapping[str, Mapping[str, float]]:
    return {spec.score: spec.labels for spec in metrics.values() if spec.score and spec.labels}


def _build(
    run: RunRecord, evaluations: Mapping[str, RunRecord], specs: Specs, scores: Scores, identifier: str
) -> EvaluationRecord:
    metrics: list[Metric] = []
    for name, record in evaluations.items():
        error = record.aggregation_error
        logged = Logged(evaluator=name, metrics=record.metrics, error=f"{error.type}: {error.message}" if error else "")
        metrics += aggregate(logged, scores, specs.get(name, {}))
    return EvaluationRecord(
        id=identifier,
        run=run,
        evaluators={name: record.flow.digest for name, record in evaluations.items()},
        evaluation_runs={name: record.id for name, record in evaluations.items()},
        metrics=metrics,
        rows=len(scores.statuses),
        scored=scores.count("scored"),
        failed=scores.count("failed"),
        unmeasured=scores.count("unmeasured"),
        judges={
            name: judge_digest(record.flow, record.connections, record.column_mapping)
            for name, record in evaluations.items()
        },
        repeats={name: record.repeats for name, record in evaluations.items()},
        resampled={
            f"{name}.{metric}": values
            for name, record in evaluations.items()
            for metric, values in record.resampled.items()
        },
    )


def judge_digest(flow: FlowRef, connections: Mapping[str, str], column_mapping: Mapping[str, Any]) -> str:
    """Name what judges besides an evaluator's files.

    Args:
        flow: the evaluator's, with all that lies over its files: variants, models of its nodes, arguments.
        connections: connection name to its identity.
        column_mapping: of the evaluation.
    """
    parts = [flow.overlay, dict(connections), dict(column_mapping)]
    return f"sha256:{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()}"


def read_evaluation(state: Path, identifier: str) -> EvaluationRecord:
    """Read an evaluation record by its id."""
    return read_record(_folder(state, identifier) / "evaluation.json", EvaluationRecord)


def read_scored_rows(state: Path, evaluation: EvaluationRecord) -> Iterator[ScoredRow]:
    """Yield the rows of an evaluation in order."""
    path = _folder(state, evaluation.id) / "rows.jsonl"
    try:
        with path.open(encoding="utf-8") as handle:
            for text in handle:
                yield ScoredRow(**json.loads(text))
    except FileNotFoundError:
        raise UsageError.of(
            "the evaluation's rows are missing", where=str(path), fix="Run `llmops evaluate` again."
        ) from None


def read_scores(state: Path, evaluation: EvaluationRecord) -> Scores:
    """Read the scores of an evaluation as a table."""
    columns = ScoreColumns()
    for row in read_scored_rows(state, evaluation):
        columns.add(row)
    return columns.build()


def _folder(state: Path, identifier: str) -> Path:
    return state / "evaluations" / identifier
