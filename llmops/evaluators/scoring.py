"""Join the lines of a run with the lines of its evaluations: one status and a set of scores per row."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from llmops.core.aggregate import as_number
from llmops.core.metrics import RowStatus, ScoredRow, Scores
from llmops.records import Line

_NAN = float("nan")


class JoinedLine(NamedTuple):
    """A line of the run and, per evaluator, the line that scored it (None where it was not scored)."""

    line: Line
    evaluations: Mapping[str, Line | None]


def join(lines: Iterable[Line], evaluations: Mapping[str, Iterable[Line]]) -> Iterator[JoinedLine]:
    """Pair the lines by row and repeat; all streams are in that order, evaluations may leave lines out."""
    streams = {name: _Peekable(iter(stream)) for name, stream in evaluations.items()}
    for line in lines:
        position = (line.row, line.repeat)
        yield JoinedLine(line, {name: stream.take(position) for name, stream in streams.items()})


class _Peekable:
    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._next = next(lines, None)

    def take(self, position: tuple[int, int]) -> Line | None:
        while self._next is not None and (self._next.row, self._next.repeat) < position:
            self._next = next(self._lines, None)
        if self._next is None or (self._next.row, self._next.repeat) != position:
            return None
        return self._next


def score_rows(joined: Iterable[JoinedLine]) -> Iterator[ScoredRow]:
    """Turn joined lines into rows; repeats of a row are averaged within it.

    A row failed if any of its repeats failed in the flow; else it is unmeasured if any repeat was, or if any
    evaluator could not score it.
    """
    for row, group in groupby(joined, key=lambda entry: entry.line.row):
        yield _score_row(row, list(group))


def _score_row(row: int, repeats: Sequence[JoinedLine]) -> ScoredRow:
    errors: dict[str, str] = {}
    samples: dict[str, list[float]] = {}
    outputs: dict[str, Mapping[str, Any]] = {}
    for entry in repeats:
        for name, evaluation in entry.evaluations.items():
            if evaluation is None or evaluation.outputs is None:
                if entry.line.status == "completed":
                    errors[name] = evaluation.error.message if evaluation and evaluation.error else "it did not run"
                continue
            outputs[name] = evaluation.outputs
            for output, value in evaluation.outputs.items():
                number = as_number(value)
                if number is not None:
                    samples.setdefault(f"{name}.{output}", []).append(number)
    scores = {key: sum(found) / len(found) for key, found in samples.items() if len(found) == len(repeats)}
    return ScoredRow(row=row, status=_status(repeats, errors), scores=scores, outputs=outputs, errors=errors)


def _status(repeats: Sequence[JoinedLine], errors: Mapping[str, str]) -> RowStatus:
    statuses = {entry.line.status for entry in repeats}
    if "failed" in statuses:
        return "failed"
    return "unmeasured" if "unmeasured" in statuses or errors else "scored"


class ScoreColumns:
    """Collects rows into `Scores` while they stream by."""

    def __init__(self) -> None:
        self._statuses: list[RowStatus] = []
        self._columns: dict[str, array[float]] = {}

    def add(self, row: ScoredRow) -> None:
        """Append the next row."""
        for key, value in row.scores.items():
            column = self._columns.setdefault(key, array("d"))
            column.extend([_NAN] * (len(self._statuses) - len(column)))
            column.append(value if math.isfinite(value) else _NAN)
        self._statuses.append(row.status)

    def build(self) -> Scores:
        """Return the table of all rows so far."""
        for column in self._columns.values():
            column.extend([_NAN] * (len(self._statuses) - len(column)))
        return Scores(statuses=self._statuses, columns=self._columns)
