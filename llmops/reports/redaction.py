"""A verdict without what its rows say: numbers and row numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmops.records import EvaluationRecord, RowComparison, RowView, VerdictRecord

REDACTED_NOTE = "inputs, outputs and errors of rows are left out (redact: true)"


def redact(verdict: VerdictRecord) -> VerdictRecord:
    """Leave out inputs, outputs and errors of rows, and what aggregation nodes said; scores and row numbers stay."""
    return replace(
        verdict,
        candidate=_redact_evaluation(verdict.candidate),
        baseline=_redact_evaluation(verdict.baseline) if verdict.baseline else None,
        worst=_redact_rows(verdict.worst),
        flipped=_redact_rows(verdict.flipped),
        notes=(*(note for note in verdict.notes if note != REDACTED_NOTE), REDACTED_NOTE),
    )


def _redact_rows(rows: Sequence[RowComparison]) -> Sequence[RowComparison]:
    return [
        replace(
            row,
            inputs={},
            candidate=_redact_side(row.candidate),
            baseline=_redact_side(row.baseline) if row.baseline else None,
        )
        for row in rows
    ]


def _redact_side(view: RowView) -> RowView:
    return replace(view, outputs=None, error="")


def _redact_evaluation(evaluation: EvaluationRecord) -> EvaluationRecord:
    run = evaluation.run
    # Literals of the mapping may quote a row; references name columns only, but which is which is not worth a guess.
    return replace(evaluation, run=replace(run, column_mapping={}, metrics={}, aggregation_error=None))
