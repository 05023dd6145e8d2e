"""The data columns that slices are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from llmops.config.data import read_rows
from llmops.core.limits import Gate
from llmops.errors import Problem, UsageError

MOST_SLICES = 50
"""Values of one column; a column with more of them names rows, not kinds of rows."""
ABSENT = "(none)"


def slice_columns(gate: Gate) -> tuple[str, ...]:
    """Return the columns by which the thresholds of a gate are sliced, without doubles."""
    return tuple(dict.fromkeys(column for threshold in gate.thresholds for column in threshold.slices))


def read_slices(data: Path, gate: Gate, rows: Collection[int] | None = None) -> Mapping[str, Sequence[str]]:
    """Read the slice of every row.

    Args:
        data: the data set.
        gate: names the columns.
        rows: positions of the rows that ran; all when None.

    Returns:
        Column to its value in each row, in the order of the file; a row without one is in a slice of its own.

    Raises:
        UsageError: a column has more than `MOST_SLICES` values.
    """
    columns = slice_columns(gate)
    if not columns:
        return {}
    found: dict[str, list[str]] = {column: [] for column in columns}
    for row in read_rows(data):
        if rows is None or row.number in rows:
            for column, values in found.items():
                value = row.values.get(column)
                values.append(ABSENT if value is None else str(value))
    problems = [
        Problem(
            what=f"the column '{column}' has too many values to slice by",
            where=str(data),
            found=f"{len(set(values))} values",
            expected=f"at most {MOST_SLICES}",
        )
        for column, values in found.items()
        if len(set(values)) > MOST_SLICES
    ]
    if problems:
        raise UsageError(*problems)
    return found


def count_slices(slices: Mapping[str, Sequence[str]]) -> Mapping[str, int]:
    """Count the rows of each slice, named `column=value`."""
    return {f"{column}={value}": count for column, values in slices.items() for value, count in Counter(values).items()}
