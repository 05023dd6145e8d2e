"""Known regressions, planted in the lines of a run: what a gate should stop."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

PlantName = Literal["flip", "shuffle", "blank", "fail", "slow"]

SIZES = (1, 2, 5, 10, 20, 50)
"""Percent of the rows that are touched."""
SLOWER = 10.0

DESCRIPTIONS: Mapping[PlantName, str] = {
    "flip": "right answers replaced by another row's answer",
    "shuffle": "answers of rows exchanged, right or wrong",
    "blank": "answers emptied",
    "fail": "rows that fail in the flow",
    "slow": f"rows that take {SLOWER:g} times as long",
}


@dataclass(frozen=True, kw_only=True)
class PlantedLine:
    """What a plant makes of one line; `outputs` is None when it fails."""

    outputs: Mapping[str, Any] | None
    duration_s: float
    is_failed: bool = False


def touched_rows(rows: Collection[int], percent: int, total: int, name: PlantName) -> list[int]:
    """Choose which rows a plant touches: the same ones each time, more of them at a larger size.

    Args:
        rows: rows that may be touched.
        percent: of `total`, at least one row.
        total: rows of the data set.
        name: other plants touch other rows.
    """
    wanted = max(1, round(total * percent / 100))
    return sorted(rows, key=lambda row: hashlib.sha256(f"{name}:{row}".encode()).digest())[:wanted]


def find_other(row: int, outputs: Sequence[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """Return the outputs of the next row that answered differently; None when no row did."""
    own = outputs[row]
    for step in range(1, len(outputs)):
        other = outputs[(row + step) % len(outputs)]
        if other is not None and other != own:
            return other
    return None


def plant(name: PlantName, row: int, outputs: Sequence[Mapping[str, Any] | None], duration_s: float) -> PlantedLine:
    """Return what a plant makes of a row.

    Args:
        name: which plant.
        row: position of the row in `outputs`.
        outputs: of all rows; None where a row did not complete.
        duration_s: of this row, seconds.
    """
    own = outputs[row]
    if name == "fail":
        return PlantedLine(outputs=None, duration_s=duration_s, is_failed=True)
    if name == "slow":
        return PlantedLine(outputs=own, duration_s=duration_s * SLOWER)
    if name == "blank" and own is not None:
        return PlantedLine(outputs={key: _emptied(value) for key, value in own.items()}, duration_s=duration_s)
    return PlantedLine(outputs=find_other(row, outputs) or own, duration_s=duration_s)


def _emptied(value: Any) -> Any:
    """Return an empty value of the same type where there is one."""
    if isinstance(value, bool) or not isinstance(value, (str, list, dict, int, float)):
        return None
    return type(value)()
