"""Which lines a request asks for, with their inputs: the same for every backend."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from llmops.backends.protocols import FlowSource, RunRequest
from llmops.config.data import read_rows
from llmops.core.mapping import ColumnMapping, all_columns, apply, complete, parse_mapping
from llmops.errors import UsageError
from llmops.records import Line, LineError, RunRecord


class PlannedLine(NamedTuple):
    """A line that the request asks for; `error` is set when its inputs cannot be formed.

    Attributes:
        key: what a backend finds its answer by; empty until it says so.
        data: the row of the data set; of a run of a flow itself.
    """

    row: int
    repeat: int
    inputs: Mapping[str, Any]
    key: str = ""
    error: LineError | None = None
    data: Mapping[str, Any] = {}


def plan_lines(
    request: RunRequest, target: RunRecord | None, read_lines: Callable[[RunRecord], Iterator[Line]]
) -> Iterator[PlannedLine]:
    """Yield every line of a request in order, reading the data (and the target's lines) as a stream.

    Args:
        request: names flow, data and mapping.
        target: the run that is evaluated: its lines that completed, and those that failed too where the mapping takes
            nothing of their outputs, for what was spent on them was spent.
        read_lines: yields the lines of a run in order.
    """
    inputs = {name: entry.required for name, entry in request.source.flow.inputs.items()}
    mapping = complete(parse_mapping(request.column_mapping), inputs)
    rows = read_rows(request.data)
    if target is None:
        takes_all = not inputs and not request.column_mapping
        wanted = None if request.rows is None else frozenset(request.rows)
        for row in rows:
            if wanted is not None and row.number not in wanted:
                continue
            by_name = all_columns(row.values) if takes_all else mapping
            for repeat in range(request.repeats):
                yield _plan(by_name, row.number, repeat, data=row.values)._replace(data=row.values)
        return
    row = next(rows)
    for line in read_lines(target):
        while row.number < line.row:
            row = next(rows)
        yield from plan_evaluation(request, row.values, line)


def plan_evaluation(request: RunRequest, data: Mapping[str, Any], line: Line) -> Iterator[PlannedLine]:
    """Yield the lines by which an evaluation measures one line of its target; none for a line that it leaves out.

    Args:
        request: names the evaluation flow and its mapping.
        data: the row of the data set.
        line: of the run that is evaluated.
    """
    if line.status != "completed" and not (line.status == "failed" and takes_failed_lines(request)):
        return
    inputs = {name: entry.required for name, entry in request.source.flow.inputs.items()}
    mapping = complete(parse_mapping(request.column_mapping), inputs)
    outputs = line.outputs or {}
    for repeat in range(request.repeats):
        number = line.repeat * request.repeats + repeat
        known = {"data": data, "run_inputs": data, "run_outputs": outputs, "run_line": measured(line)}
        yield _plan(mapping, line.row, number, **known)


def takes_failed_lines(request: RunRequest) -> bool:
    """Whether an evaluation needs what was measured of a line and nothing of its outputs."""
    sources = {reference.source for reference in parse_mapping(request.column_mapping).references.values()}
    return "run.line" in sources and "run.outputs" not in sources


def _plan(mapping: ColumnMapping, row: int, repeat: int, **sources: Mapping[str, Any]) -> PlannedLine:
    try:
        inputs = apply(mapping, **sources)
    except UsageError as error:
        problem = LineError(type="MissingValue", message=str(error))
        return PlannedLine(row, repeat, {}, error=problem)
    return PlannedLine(row, repeat, inputs)


def measured(line: Line) -> dict[str, float | None]:
    """Return what `${run.line.…}` refers to; None where it is not known."""
    tokens = {f"{kind}_tokens": line.tokens.get(kind) for kind in ("prompt", "completion", "total")}
    return {"row": line.row, "duration_s": line.duration_s, **tokens, "cost_usd": line.cost_usd}


def identify_target(request: RunRequest, target: RunRecord | None) -> str | None:
    """Name what the lines of an evaluation take from the run that they evaluate; None without one.

    Runs with equal lines are one, unless the mapping takes what was measured of them: two flows that answer alike need
    not be equally fast.
    """
    if target is None:
        return None
    references = parse_mapping(request.column_mapping).references.values()
    takes_measures = any(reference.source == "run.line" for reference in references)
    return f"{target.id}:{target.lines_digest}" if takes_measures else target.lines_digest


def slug_of(source: FlowSource) -> str:
    """Name a flow in the name of a file or a run."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", posixpath.basename(source.ref.path)).strip("-.") or "flow"
