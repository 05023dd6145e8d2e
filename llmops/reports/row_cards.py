"""The rows of the HTML report: every value cut to a bounded size, with the changed part marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmops.records import RowComparison, VerdictRecord
from llmops.reports.numbers import format_number
from llmops.reports.plain_text import show, show_line
from llmops.reports.rows import (
    ABSENT,
    FieldPair,
    changed_fields,
    describe_side,
    is_number,
    pair_outputs,
    pair_scores,
    show_side,
)
from llmops.reports.summary import rows_to_show

FIELDS_SHOWN = 60
_SMALLEST_VALUE = 300
_LARGEST_VALUE = 6_000
_ALL_VALUES = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A value, split where it differs from the other side.

    Attributes:
        before, marked, after: the text in three parts; all of it in `before` when nothing changed.
        left_out: characters of the value that are not shown.
        is_absent: the side has no such value.
    """

    before: str
    marked: str = ""
    after: str = ""
    left_out: int = 0
    is_absent: bool = False


@dataclass(frozen=True, kw_only=True)
class RowField:
    """One line of a row's table; `baseline` is None when there is no baseline."""

    name: str
    candidate: Piece
    baseline: Piece | None
    changed: bool


@dataclass(frozen=True, kw_only=True)
class RowCard:
    """One row of the data set, ready to be drawn.

    Attributes:
        rank: position in the order worst first, from 0.
        change: as in the record.
        status: of the candidate.
        baseline_status: None without a baseline.
        title: what changed or why there is no score, on one line.
        preview: the beginning of the inputs, on one line.
        inputs: name and text.
        fields_left_out: fields that are not shown.
    """

    row: int
    rank: int
    change: str
    status: str
    baseline_status: str | None
    title: str
    preview: str
    inputs: Sequence[RowField]
    outputs: Sequence[RowField]
    scores: Sequence[RowField]
    errors: RowField | None
    durations: RowField
    fields_left_out: int


def build_cards(verdict: VerdictRecord) -> Sequence[RowCard]:
    """Prepare the flipped and the worst rows, worst first.

    The size of a report is bounded: each value is cut to 300 to 6 000 characters, fewer where there are more values.
    """
    rows = rows_to_show(verdict)
    values = sum(_count_values(row) for row in rows)
    limit = max(_SMALLEST_VALUE, min(_LARGEST_VALUE, _ALL_VALUES // max(1, values)))
    return [_build_card(row, rank, limit) for rank, row in enumerate(rows)]


def split_at_change(text: str, other: str) -> tuple[str, str, str]:
    """Split a text into what it shares with another at its beginning, what differs, and the shared end, by words."""
    words, theirs = text.split(" "), other.split(" ")
    shortest = min(len(words), len(theirs))
    start = next((at for at in range(shortest) if words[at] != theirs[at]), shortest)
    room = shortest - start
    end = next((at for at in range(room) if words[-1 - at] != theirs[-1 - at]), room)
    middle = len(words) - end
    before, marked, after = (" ".join(part) for part in (words[:start], words[start:middle], words[middle:]))
    return before + " " * (0 < start < len(words)), marked, " " * (end > 0 and middle > start) + after


def _build_card(row: RowComparison, rank: int, limit: int) -> RowCard:
    outputs, scores = pair_outputs(row), pair_scores(row)
    has_baseline = row.baseline is not None
    counts = (len(row.inputs), len(outputs), len(scores))
    return RowCard(
        row=row.row,
        rank=rank,
        change=row.change,
        status=row.candidate.status,
        baseline_status=row.baseline.status if row.baseline else None,
        title=_title(row),
        preview=_preview(row.inputs),
        inputs=[_input_field(name, value, limit) for name, value in list(row.inputs.items())[:FIELDS_SHOWN]],
        outputs=[_field(pair, limit, has_baseline=has_baseline) for pair in outputs[:FIELDS_SHOWN]],
        scores=[_field(pair, limit, has_baseline=has_baseline) for pair in scores[:FIELDS_SHOWN]],
        errors=_error_field(row, limit),
        durations=_duration_field(row),
        fields_left_out=sum(max(0, number - FIELDS_SHOWN) for number in counts),
    )


def _count_values(row: RowComparison) -> int:
    sides = 2 if row.baseline else 1
    return min(len(row.inputs), FIELDS_SHOWN) + sides * min(len(row.candidate.outputs or ()), FIELDS_SHOWN)


def _title(row: RowComparison) -> str:
    if row.candidate.status != "scored":
        return show_line(describe_side(row.candidate), 160)
    pairs = changed_fields(row) or pair_scores(row)
    return "; ".join(_describe_pair(pair) for pair in pairs[:2])


def _describe_pair(pair: FieldPair) -> str:
    if not pair.changed:
        return f"{show_line(pair.name, 40)}: {show_side(pair.candidate, ABSENT, 40)}"
    before, after = show_side(pair.baseline, pair.candidate, 40), show_side(pair.candidate, pair.baseline, 40)
    return f"{show_line(pair.name, 40)}: {before} → {after}"


def _preview(inputs: Mapping[str, Any]) -> str:
    return "; ".join(f"{show_line(name, 40)}: {show_line(value, 120)}" for name, value in list(inputs.items())[:2])


def _input_field(name: str, value: Any, limit: int) -> RowField:
    return RowField(name=show_line(name, 100), candidate=_piece(value, ABSENT, limit), baseline=None, changed=False)


def _field(pair: FieldPair, limit: int, *, has_baseline: bool) -> RowField:
    other = pair.baseline if pair.changed else ABSENT
    return RowField(
        name=show_line(pair.name, 100),
        candidate=_piece(pair.candidate, other, limit),
        baseline=_piece(pair.baseline, pair.candidate if pair.changed else ABSENT, limit) if has_baseline else None,
        changed=pair.changed,
    )


def _piece(value: Any, other: Any, limit: int) -> Piece:
    """Cut a value and mark what differs from the other side; `other` is ABSENT when nothing is to be marked."""
    if value is ABSENT:
        return Piece(before="", is_absent=True)
    text, left_out = _cut(value, other, limit)
    if other is ABSENT:
        return Piece(before=text, left_out=left_out)
    before, marked, after = split_at_change(text, _cut(other, value, limit)[0])
    return Piece(before=before, marked=marked, after=after, left_out=left_out)


def _cut(value: Any, other: Any, limit: int) -> tuple[str, int]:
    if is_number(value):
        return show_side(value, other, limit), 0
    text = show(value)
    return text[:limit], max(0, len(text) - limit)


def _error_field(row: RowComparison, limit: int) -> RowField | None:
    sides = [row.candidate, *([row.baseline] if row.baseline else [])]
    if all(side.status == "scored" and not side.error for side in sides):
        return None
    pieces = [Piece(before=describe_side(side)[:limit]) for side in sides]
    return RowField(name="status", candidate=pieces[0], baseline=pieces[1] if row.baseline else None, changed=False)


def _duration_field(row: RowComparison) -> RowField:
    ours = Piece(before=_seconds(row.candidate.duration_s))
    theirs = Piece(before=_seconds(row.baseline.duration_s)) if row.baseline else None
    return RowField(name="duration", candidate=ours, baseline=theirs, changed=False)


def _seconds(duration: float) -> str:
    return f"{format_number(round(duration, 3))} s"
