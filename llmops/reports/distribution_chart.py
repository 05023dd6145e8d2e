"""Geometry of the histograms in the HTML report: the candidate's bars upwards, the baseline's downwards."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from llmops.core.distribution import BINS, DISTINCT, Distribution
from llmops.reports.interval_chart import AxisTick
from llmops.reports.numbers import count, format_number

WIDTH = 360
_BARS = 64
_GAP = 2
_LABELS = 22
_MOST_ROWS = 10**12


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One value or bin on one side."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, kw_only=True)
class CountRow:
    """The same as numbers: a value or bin with its counts; `baseline` is None without one."""

    label: str
    candidate: int
    baseline: int | None


@dataclass(frozen=True, kw_only=True)
class DistributionChart:
    """All that the template draws, and the same in words and as a table.

    Attributes:
        axis: height of the line between candidate and baseline.
        remark: how many rows have no score; empty when all have one.
    """

    name: str
    candidate: Sequence[Bar]
    baseline: Sequence[Bar]
    ticks: Sequence[AxisTick]
    rows: Sequence[CountRow]
    label: str
    remark: str
    axis: float
    height: float
    width: int = WIDTH


def draw_distribution(spread: Distribution) -> DistributionChart | None:
    """Lay out a histogram; shares are drawn, so that runs of different length can be compared.

    Returns:
        None for counts that do not belong together, as only a record that was not written by us has them.
    """
    if not _is_sound(spread):
        return None
    has_baseline = bool(spread.baseline)
    totals = (sum(spread.candidate) or 1, sum(spread.baseline) or 1)
    shares = [[number / total for number in side] for side, total in zip(_sides(spread), totals, strict=True)]
    top = max([share for side in shares for share in side], default=1.0) or 1.0
    labels = _labels(spread)
    axis = float(_BARS + 4)
    height = axis + (_BARS + 4 if has_baseline else 0) + _LABELS
    rows = [
        CountRow(label=label, candidate=ours, baseline=spread.baseline[at] if has_baseline else None)
        for at, (label, ours) in enumerate(zip(labels, spread.candidate, strict=True))
    ]
    return DistributionChart(
        name=spread.name,
        candidate=[
            _bar(at, len(labels), share / top, axis, rows[at], is_up=True) for at, share in enumerate(shares[0])
        ],
        baseline=[
            _bar(at, len(labels), share / top, axis, rows[at], is_up=False) for at, share in enumerate(shares[1])
        ],
        ticks=_ticks(spread),
        rows=rows,
        label=_describe(spread, rows),
        remark=_remark(spread),
        axis=axis,
        height=height,
    )


def _is_sound(spread: Distribution) -> bool:
    bars = len(spread.edges) - (0 if spread.is_discrete else 1)
    counts = (*spread.candidate, *spread.baseline)
    fits = len(spread.candidate) == bars and len(spread.baseline) in (0, bars)
    return fits and 0 < bars <= max(BINS, DISTINCT) and all(0 <= number < _MOST_ROWS for number in counts)


def _sides(spread: Distribution) -> tuple[Sequence[int], Sequence[int]]:
    return (spread.candidate, spread.baseline)


def _labels(spread: Distribution) -> Sequence[str]:
    if spread.is_discrete:
        return [format_number(value) for value in spread.edges]
    ends = [format_number(edge) for edge in spread.edges]
    return [f"{low} to {high}" for low, high in itertools.pairwise(ends)]


def _bar(at: int, number: int, part: float, axis: float, row: CountRow, *, is_up: bool) -> Bar:
    room = WIDTH / number
    width = min(room - _GAP, 48.0)
    # What occurs at all can be seen.
    height = round(max(part * _BARS, 1.5), 1) if part else 0.0
    side, counted = ("candidate", row.candidate) if is_up else ("baseline", row.baseline or 0)
    return Bar(
        x=round(at * room + (room - width) / 2, 1),
        y=round(axis - height, 1) if is_up else axis,
        width=round(width, 1),
        height=height,
        title=f"{side}, {row.label}: {count(counted, 'row')}",
    )


def _ticks(spread: Distribution) -> Sequence[AxisTick]:
    if not spread.is_discrete:
        ends = [(0.0, spread.edges[0], "start"), (float(WIDTH), spread.edges[-1], "end")]
        middle = (WIDTH / 2, spread.edges[len(spread.edges) // 2], "middle")
        return [
            AxisTick(x=x, label=format_number(value), anchor=anchor) for x, value, anchor in (ends[0], middle, ends[1])
        ]
    room = WIDTH / len(spread.edges)
    step = 1 + (len(spread.edges) - 1) // 7
    return [
        AxisTick(x=round((at + 0.5) * room, 1), label=format_number(value), anchor="middle")
        for at, value in enumerate(spread.edges)
        if at % step == 0
    ]


def _describe(spread: Distribution, rows: Sequence[CountRow]) -> str:
    if spread.is_discrete:
        words = [f"{row.label}: {row.candidate}" + _beside(row) for row in rows]
    else:
        most = max(rows, key=lambda row: row.candidate)
        words = [f"from {rows[0].label.partition(' ')[0]} to {rows[-1].label.rpartition(' ')[2]}"]
        words.append(f"most rows at {most.label}: {most.candidate}" + _beside(most))
    return f"{spread.name}, rows by score; {'; '.join(words)}"


def _beside(row: CountRow) -> str:
    return "" if row.baseline is None else f", baseline {row.baseline}"


def _remark(spread: Distribution) -> str:
    parts = [f"{count(spread.missing, 'row')} without a score"] if spread.missing else []
    parts += [f"{spread.baseline_missing} of the baseline"] if spread.baseline_missing else []
    return ", ".join(parts)
