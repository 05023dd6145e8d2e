"""Column mapping: how a flow's inputs follow from a row and from a run.

A value of the mapping is a reference, `${data.x}`, `${run.inputs.x}`, `${run.outputs.x}` or `${run.line.x}`, or else a
literal. What follows the source is one column name, dots included: there is no access into nested values. `run.line`
is ours and not prompt flow's: what the engine measured of the line that is evaluated. An input that is not
mapped takes its default; without a default it takes the column of the same name.

Source: prompt flow's `promptflow._utils.inputs_mapping_utils.apply_inputs_mapping` (promptflow-core 1.18.5) and its
batch engine, which completes the mapping by `${data.name}` for inputs without a default. As there, `run.inputs` are
the columns of the data of that run, and the input name `line_number` is reserved and never mapped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from llmops.errors import Problem, UsageError, near_match

Source = Literal["data", "run.inputs", "run.outputs", "run.line"]

SOURCES: tuple[Source, ...] = get_args(Source)
RESERVED = "line_number"

_WHOLE = re.compile(r"^\${([^{}]+)}$")
_LOOKS_LIKE_ONE = re.compile(
    r"\$?\{+\s*(data|run\.inputs|run\.outputs|run\.line)\.|\$(data|run\.inputs|run\.outputs|run\.line)\."
)

MEASURED = ("row", "duration_s", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd")
"""What `run.line` holds."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One column of one source."""

    source: Source
    column: str

    def __str__(self) -> str:
        return f"${{{self.source}.{self.column}}}"


@dataclass(frozen=True, kw_only=True)
class ColumnMapping:
    """A mapping whose references are well formed.

    Attributes:
        references: flow input to the column that it takes.
        literals: flow input to the value that it takes in every row.
    """

    references: Mapping[str, Reference]
    literals: Mapping[str, Any]


def parse_mapping(
    mapping: Mapping[str, Any],
    *,
    sources: Collection[Source] = SOURCES,
    where: Callable[[str], str] = "column_mapping.{}".format,
) -> ColumnMapping:
    """Read a mapping as it stands in the configuration.

    Args:
        mapping: flow input to reference or literal; a value that is not text is a literal.
        sources: what may be referred to; a flow that is not an evaluation has `data` alone.
        where: flow input to the place that a message names.

    Raises:
        UsageError: one problem for each malformed reference.
    """
    problems = [replace(problem, where=where(name)) for name, problem in find_malformed(mapping, sources=sources)]
    if problems:
        raise UsageError(*problems)
    references, literals = {}, {}
    for name, value in mapping.items():
        if name == RESERVED:
            continue
        reference = _reference(value)
        if reference:
            references[name] = reference
        else:
            literals[name] = value
    return ColumnMapping(references=references, literals=literals)


def find_malformed(
    mapping: Mapping[str, Any], *, sources: Collection[Source] = SOURCES
) -> Iterator[tuple[str, Problem]]:
    """Find what looks like a reference and is none; yields flow input and a problem without a place."""
    for name, value in mapping.items():
        problem = _judge(value, sources) if isinstance(value, str) else None
        if problem:
            yield name, problem


def _judge(value: str, sources: Collection[Source]) -> Problem | None:
    expected = ", ".join(f"${{{source}.NAME}}" for source in SOURCES if source in sources) + " or a literal"
    match = _WHOLE.search(value)
    if match is None:
        if not _LOOKS_LIKE_ONE.search(value):
            return None
        fix = "Write the reference alone; it is not replaced inside other text."
        return Problem(what="malformed reference", found=f"'{value}'", expected=expected, fix=fix)
    reference = _reference(value)
    if reference is None:
        source = match.group(1).rpartition(".")[0] or match.group(1)
        fix = near_match(source.strip(), sources)
        return Problem(what="malformed reference", found=f"'{value}'", expected=expected, fix=fix)
    if reference.source not in sources:
        return Problem(what=f"there is no '{reference.source}' here", found=f"'{value}'", expected=expected)
    return None


def _reference(value: Any) -> Reference | None:
    match = _WHOLE.search(value) if isinstance(value, str) else None
    if match is None:
        return None
    # Shorter sources first, as prompt flow does; ours are no prefixes of each other, so at most one fits.
    for source in SOURCES:
        prefix, column = f"{source}.", match.group(1)
        if column.startswith(prefix) and len(column) > len(prefix):
            return Reference(source=source, column=column[len(prefix) :])
    return None


def complete(mapping: ColumnMapping, inputs: Mapping[str, bool]) -> ColumnMapping:
    """Add `${data.name}` for each input that has no default and is not mapped.

    Args:
        inputs: the flow's inputs; True for those that have no default.
    """
    mapped = {*mapping.references, *mapping.literals}
    same_name = {
        name: Reference(source="data", column=name)
        for name, is_required in inputs.items()
        if is_required and name not in mapped
    }
    return replace(mapping, references={**same_name, **mapping.references})


def all_columns(columns: Collection[str]) -> ColumnMapping:
    """Map every column to the input of its name, for a flow that takes any input."""
    return ColumnMapping(references={name: Reference(source="data", column=name) for name in columns}, literals={})


def columns_needed(mapping: ColumnMapping) -> Mapping[Source, frozenset[str]]:
    """Return the columns that the mapping takes, for each source."""
    return {
        source: frozenset(item.column for item in mapping.references.values() if item.source == source)
        for source in SOURCES
    }


def apply(
    mapping: ColumnMapping,
    *,
    data: Mapping[str, Any],
    run_inputs: Mapping[str, Any] | None = None,
    run_outputs: Mapping[str, Any] | None = None,
    run_line: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build the inputs of one line.

    Args:
        data: the row.
        run_inputs: the row of the run that is evaluated; None when no run is.
        run_outputs: what the flow returned for it.
        run_line: what the engine measured of it, by the names in `MEASURED`.

    Raises:
        UsageError: one problem for each reference that finds nothing; `check` finds them before any line runs.
    """
    sources: Mapping[Source, Mapping[str, Any]] = {
        "data": data,
        "run.inputs": run_inputs or {},
        "run.outputs": run_outputs or {},
        "run.line": run_line or {},
    }
    missing = [ref for ref in mapping.references.values() if ref.column not in sources[ref.source]]
    if missing:
        raise UsageError(*(Problem(what=f"{reference} finds nothing in this line") for reference in missing))
    found = {name: sources[ref.source][ref.column] for name, ref in mapping.references.items()}
    return {**found, **mapping.literals}


def check(
    mapping: ColumnMapping,
    *,
    inputs: Mapping[str, bool],
    columns: Collection[str],
    lacking: Mapping[str, int] | None = None,
    run_inputs: Collection[str] | None = None,
    outputs: Collection[str] | None = None,
    where: Callable[[str], str] = "column_mapping.{}".format,
) -> Sequence[Problem]:
    """Find what would go wrong on some line.

    Args:
        inputs: the flow's inputs; True for those that have no default.
        columns: columns that every row has.
        lacking: column that only some rows have, to the first line of the file that lacks it.
        run_inputs: columns of the data of the run that is evaluated; None: the same as `columns`.
        outputs: outputs of the flow that was run; None when they are not known, and then not judged.
        where: flow input to the place that a message names.

    Returns:
        Problems in the order of the mapping, then inputs that nothing maps to.
    """
    known: Mapping[Source, Collection[str] | None] = {
        "data": columns,
        "run.inputs": columns if run_inputs is None else run_inputs,
        "run.outputs": outputs,
        "run.line": MEASURED,
    }
    problems = []
    for name in [*mapping.references, *mapping.literals]:
        reference = mapping.references.get(name)
        if name not in inputs:
            problems.append(_no_such(name, f"the flow has no input '{name}'", inputs, where))
        elif reference:
            problems.extend(_check_reference(name, reference, known[reference.source], lacking or {}, where))
    mapped = {*mapping.references, *mapping.literals}
    unmapped = (name for name, is_required in inputs.items() if is_required and name not in mapped)
    return [*problems, *(item for name in unmapped for item in _check_unmapped(name, columns, lacking or {}, where))]


def _no_such(name: str, what: str, known: Collection[str], where: Callable[[str], str], wanted: str = "") -> Problem:
    expected = ", ".join(f"'{item}'" for item in known) or "none"
    return Problem(what=what, where=where(name), expected=expected, fix=near_match(wanted or name, known))


_HOLDERS: Mapping[Source, str] = {
    "run.outputs": "the flow that was run has no output",
    "run.line": "of a line nobody measures",
}


def _check_reference(
    name: str,
    reference: Reference,
    known: Collection[str] | None,
    lacking: Mapping[str, int],
    where: Callable[[str], str],
) -> Iterator[Problem]:
    column = reference.column
    if known is None or column in known:
        return
    if reference.source in {"data", "run.inputs"} and column in lacking:
        yield _only_some(name, column, lacking[column], where)
        return
    holder = _HOLDERS.get(reference.source, "the data has no column")
    yield replace(_no_such(name, f"{holder} '{column}'", known, where, column), found=f"'{reference}'")


def _only_some(name: str, column: str, line: int, where: Callable[[str], str]) -> Problem:
    fix = "Give every row this column, or map the input to another."
    return Problem(
        what=f"some rows have no column '{column}'", where=where(name), found=f"none on line {line}", fix=fix
    )


def _check_unmapped(
    name: str, columns: Collection[str], lacking: Mapping[str, int], where: Callable[[str], str]
) -> Iterator[Problem]:
    if name in columns:
        return
    if name in lacking:
        yield _only_some(name, name, lacking[name], where)
        return
    listed = ", ".join(f"'{column}'" for column in columns) or "none"
    yield Problem(
        what=f"nothing maps to the required input '{name}'",
        where=where(name),
        found=f"the data has the columns {listed}",
        expected=f"a column '{name}' or an entry in the column mapping",
        fix=near_match(name, columns),
    )
