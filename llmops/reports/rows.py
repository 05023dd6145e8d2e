"""What differs between the two sides of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmops.records import RowComparison, RowView
from llmops.reports.numbers import MISSING, format_number
from llmops.reports.plain_text import show_line


@dataclass(frozen=True, kw_only=True)
class Absent:
    """Stands where one side has no such field; prints as a dash."""

    def __str__(self) -> str:
        return MISSING


ABSENT = Absent()


@dataclass(frozen=True, kw_only=True)
class FieldPair:
    """One named value of a row on both sides.

    Attributes:
        candidate, baseline: the values; `ABSENT` where a side does not have the field.
        changed: whether two sides exist and differ.
    """

    name: str
    candidate: Any
    baseline: Any
    changed: bool


def pair_outputs(row: RowComparison) -> Sequence[FieldPair]:
    """Pair the outputs of both sides by name, in the candidate's order."""
    return _pair(row.candidate.outputs or {}, (row.baseline.outputs or {}) if row.baseline else None)


def pair_scores(row: RowComparison) -> Sequence[FieldPair]:
    """Pair the scores of both sides by `evaluator.output`."""
    return _pair(row.candidate.scores, row.baseline.scores if row.baseline else None)


def changed_fields(row: RowComparison) -> Sequence[FieldPair]:
    """Give what a reviewer looks for first: the scores, then the outputs that changed, short ones first."""
    outputs = sorted(pair_outputs(row), key=lambda pair: len(show_line(pair.candidate, 80)))
    return [pair for pair in (*pair_scores(row), *outputs) if pair.changed]


def describe_side(view: RowView) -> str:
    """Say how a side ended: `scored`, or `failed: …` with the error."""
    return f"{view.status}: {view.error}" if view.error else view.status


def is_number(value: Any) -> bool:
    """Say whether a value is a number to be written as one; true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def show_side(value: Any, other: Any, limit: int) -> str:
    """Write one side's value on one line; a number has enough digits to be told from the other side's."""
    if value is ABSENT:
        return str(ABSENT)
    if is_number(value):
        return format_number(value, apart_from=other if is_number(other) else None)
    return show_line(value, limit)


def _pair(candidate: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> Sequence[FieldPair]:
    theirs = baseline or {}
    names = [*candidate, *(name for name in theirs if name not in candidate)]
    return [
        FieldPair(
            name=name,
            candidate=candidate.get(name, ABSENT),
            baseline=theirs.get(name, ABSENT),
            changed=baseline is not None and candidate.get(name, ABSENT) != theirs.get(name, ABSENT),
        )
        for name in names
    ]
