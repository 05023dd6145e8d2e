"""Join the lines of a run with the lines of its evaluations: one status and a set of scores per row."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, NamedTuple

from llmops.core.aggregate import as_number
from llmops.core.metrics import RowStatus, ScoredRow, Scores
from llmops.records import Line, LineError

_NAN = float("nan")


class JoinedLine(NamedTuple):
    """A line of the run and, per evaluator, the lines that scored it: one per repeat of the evaluator."""

    line: Line
    evaluations: Mapping[str, Sequence[Line]]


@dataclass(frozen=True, kw_only=True)
class EvaluatedLines:
    """The lines of one evaluator's run, ordered by row and repeat.

    Attributes:
        repeats: lines per line of the run; their repeat is the run's repeat times this, and their own on top.
        labels: output to what it may say, and the score that each of that stands for.
    """

    lines: Iterable[Line]
    repeats: int = 1
    labels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def join(lines: Iterable[Line], evaluations: Mapping[str, EvaluatedLines]) -> Iterator[JoinedLine]:
    """Pair the lines by row and repeat; all streams are in that order, evaluations may leave lines out."""
    streams = {name: _Stream(evaluated) for name, evaluated in evaluations.items()}
    for line in lines:
        position = (line.row, line.repeat)
        yield JoinedLine(line, {name: stream.take(position) for name, stream in streams.items()})


class _Stream:
    def __init__(self, evaluated: EvaluatedLines) -> None:
        self._repeats = evaluated.repeats
        self._lines = (labelled(line, evaluated.labels) for line in evaluated.lines)
        self._next = next(self._lines, None)

    def take(self, position: tuple[int, int]) -> list[Line]:
        taken: list[Line] = []
        while self._next is not None and self._position(self._next) <= position:
            if self._position(self._next) == position:
                taken.append(self._next)
            self._next = next(self._lines, None)
        return taken

    def _position(self, line: Line) -> tuple[int, int]:
        return line.row, line.repeat // self._repeats


def labelled(line: Line, labels: Mapping[str, Mapping[str, float]]) -> Line:
    """Put scores in the place of labels; a line that says none of the labels is not measured.

    Case and surrounding space do not count.
    """
    if line.outputs is None:
        return line
    scores: dict[str, float] = {}
    for output, known in labels.items():
        said = str(line.outputs.get(output, "")).strip()
        score = {label.strip().casefold(): value for label, value in known.items()}.get(said.casefold())
        if score is None:
            message = f"{output} is {said!r}, which is none of the labels {', '.join(map(repr, known))}"
            return replace(line, status="unmeasured", outputs=None, error=LineError(type="NoLabel", message=message))
        scores[output] = score
    return replace(line, outputs={**line.outputs, **scores}) if scores else line


def score_rows(joined: Iterable[JoinedLine]) -> Iterator[ScoredRow]:
    """Turn joined lines into rows; repeats of a row, and of its evaluations, are averaged within it.

    A row failed if any of its repeats failed in the flow; else it is unmeasured if any repeat was, or if any
    evaluator could not score it. What was measured of a row that failed in some repeats is kept.
    """
    for row, group in groupby(joined, key=lambda entry: entry.line.row):
        yield _score_row(row, list(group))


def _score_row(row: int, repeats: Sequence[JoinedLine]) -> ScoredRow:
    errors: dict[str, str] = {}
    samples: dict[str, list[float]] = {}
    outputs: dict[str, Mapping[str, Any]] = {}
    expected: Counter[str] = Counter()
    for entry in repeats:
        for name, evaluations in entry.evaluations.items():
            if entry.line.status == "unmeasured" or (entry.line.status == "failed" and not evaluations):
                continue
            if not evaluations:
                errors[name] = "it did not run"
            for evaluation in evaluations:
                expected[name] += 1
                if evaluation.outputs is None:
                    errors[name] = evaluation.error.message if evaluation.error else "it has no outputs"
                    continue
                outputs[name] = evaluation.outputs
                for output, number in _numbers(evaluation.outputs):
                    samples.setdefault(f"{name}.{output}", []).append(number)
    scores = {
        key: _average(found)
        for key, found in samples.items()
        if len(found) == expected[key.partition(".")[0]] and _is_known(repeats)
    }
    return ScoredRow(
        row=row,
        status=_status(repeats, errors),
        scores=scores,
        failed_share=sum(entry.line.status == "failed" for entry in repeats) / len(repeats),
        outputs=outputs,
        errors=errors,
    )


def _average(found: Sequence[float]) -> float:
    """Average repeats; rounding never takes the average beyond them, and so not beyond declared bounds."""
    return min(max(found), max(min(found), math.fsum(found) / len(found)))


def _numbers(outputs: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for output, value in outputs.items():
        number = as_number(value)
        if number is not None:
            yield output, number


def _is_known(repeats: Sequence[JoinedLine]) -> bool:
    return all(entry.line.status != "unmeasured" for entry in repeats)


def _status(repeats: Sequence[JoinedLine], errors: Mapping[str, str]) -> RowStatus:
    statuses = {entry.line.status for entry in repeats}
    if "failed" in statuses:
        return "failed"
    return "unmeasured" if "unmeasured" in statuses or errors else "scored"


class ScoreColumns:
    """Collects rows into `Scores` while they stream by."""

    def __init__(self) -> None:
        self._statuses: list[RowStatus] = []
        self._rows: list[int] = []
        self._failed_shares = array("d")
        self._columns: dict[str, array[float]] = {}

    def add(self, row: ScoredRow) -> None:
        """Append the next row."""
        for key, value in row.scores.items():
            column = self._columns.setdefault(key, array("d"))
            column.extend([_NAN] * (len(self._statuses) - len(column)))
            column.append(value if math.isfinite(value) else _NAN)
        self._statuses.append(row.status)
        self._rows.append(row.row)
        self._failed_shares.append(row.failed_share)

    def build(self) -> Scores:
        """Return the table of all rows so far."""
        for column in self._columns.values():
            column.extend([_NAN] * (len(self._statuses) - len(column)))
        is_whole = self._rows == list(range(len(self._rows)))
        return Scores(
            statuses=self._statuses,
            columns=self._columns,
            rows=() if is_whole else self._rows,
            failed_shares=self._failed_shares if any(0.0 < share < 1.0 for share in self._failed_shares) else (),
        )
