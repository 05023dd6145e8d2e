"""Geometry of charts of a number over time: points with intervals, limits as lines, and where something changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from llmops.reports.interval_chart import choose_ticks
from llmops.reports.numbers import count, format_interval, format_number

WIDTH = 640
HEIGHT = 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 14, 26
_LONGEST_RADIUS_POINTS = 90
_LARGEST = 1e300


@dataclass(frozen=True, kw_only=True)
class TrendPoint:
    """One value.

    Attributes:
        day: as the axis shows it.
        outcome: of the evaluation: colour and shape of the mark.
        change: what is different from the point before, for instance `version 3`; empty when nothing is.
    """

    day: str
    value: float
    interval: tuple[float, float] | None
    outcome: str
    change: str = ""


@dataclass(frozen=True, kw_only=True)
class TrendLimit:
    """A limit that holds now."""

    value: float
    is_minimum: bool


@dataclass(frozen=True, kw_only=True)
class PointMark:
    """A point as it is drawn; `title` is what a pointer shows."""

    x: float
    y: float
    outcome: str
    title: str
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class AxisLabel:
    """A label on an axis."""

    at: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True, kw_only=True)
class LimitLine:
    """A limit as it is drawn, with the side on which values are refused."""

    y: float
    refused_from: float
    refused_height: float


@dataclass(frozen=True, kw_only=True)
class TrendChart:
    """All that the template draws, and the same in words.

    Attributes:
        path: of the line through the points.
        changes: where something changed, left to right.
    """

    marks: Sequence[PointMark]
    path: str
    limits: Sequence[LimitLine]
    rows: Sequence[AxisLabel]
    days: Sequence[AxisLabel]
    changes: Sequence[AxisLabel]
    label: str
    radius: float
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def is_drawable(value: float | None) -> TypeGuard[float]:
    """Say whether a number can be on an axis: it is finite, and so are differences with its like."""
    return value is not None and math.isfinite(value) and abs(value) <= _LARGEST


def draw_trend(name: str, points: Sequence[TrendPoint], limits: Sequence[TrendLimit] = ()) -> TrendChart | None:
    """Lay out a chart; None when there is no point.

    Args:
        name: of the number, for the words.
        points: oldest first, evenly spaced whatever time lies between them; values that are drawable.
        limits: on the number; drawable too.
    """
    if not points:
        return None
    low, high = _range(points, limits)
    ticks = choose_ticks(low, high)
    low, high = ticks[0], ticks[-1]

    def place(value: float) -> float:
        inside = min(max(value, low), high)
        return round(_TOP + (high - inside) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    xs = [_place_x(at, len(points)) for at in range(len(points))]
    marks = [_mark(point, x, place) for point, x in zip(points, xs, strict=True)]
    return TrendChart(
        marks=marks,
        path="M" + "L".join(f"{mark.x} {mark.y}" for mark in marks),
        limits=[_limit(limit, place(limit.value)) for limit in limits],
        rows=[AxisLabel(at=place(tick), text=format_number(tick), anchor="end") for tick in ticks],
        days=_days(points, xs),
        changes=_changes(points, xs),
        label=_describe(name, points, limits),
        radius=4.0 if len(points) <= _LONGEST_RADIUS_POINTS else 2.0,
    )


def _range(points: Sequence[TrendPoint], limits: Sequence[TrendLimit]) -> tuple[float, float]:
    values = [end for point in points for end in (point.value, *(point.interval or ())) if is_drawable(end)]
    values += [limit.value for limit in limits]
    low, high = min(values), max(values)
    span = max(high - low, abs(high) * 0.02, 1e-9)
    inside = low >= 0 and high <= 1
    low, high = low - 0.06 * span, high + 0.06 * span
    return (max(0.0, low), min(1.0, high)) if inside and min(1.0, high) - max(0.0, low) > 0 else (low, high)


def _place_x(at: int, number: int) -> float:
    room = WIDTH - _LEFT - _RIGHT - 16
    return round(_LEFT + 8 + (room * at / (number - 1) if number > 1 else room / 2), 1)


def _mark(point: TrendPoint, x: float, place: object) -> PointMark:
    assert callable(place)
    interval = point.interval if point.interval and all(map(is_drawable, point.interval)) else None
    words = f"{point.day}: {format_number(point.value)} {format_interval(interval)}".rstrip()
    title = f"{words}, {point.outcome}" + (f", {point.change}" if point.change else "")
    return PointMark(
        x=x,
        y=place(point.value),
        outcome=point.outcome,
        title=title,
        low=place(interval[0]) if interval else None,
        high=place(interval[1]) if interval else None,
    )


def _limit(limit: TrendLimit, y: float) -> LimitLine:
    start, end = (y, HEIGHT - _BOTTOM) if limit.is_minimum else (_TOP, y)
    return LimitLine(y=y, refused_from=start, refused_height=round(max(0.0, end - start), 1))


def _days(points: Sequence[TrendPoint], xs: Sequence[float]) -> Sequence[AxisLabel]:
    """Label the first day, the last one, and one between where there is room."""
    if len(points) == 1:
        return [AxisLabel(at=xs[0], text=points[0].day)]
    shown = [(0, "start"), (len(points) - 1, "end")]
    if len(points) > 4:
        shown.insert(1, (len(points) // 2, "middle"))
    return [AxisLabel(at=xs[at], text=points[at].day, anchor=anchor) for at, anchor in shown]


def _changes(points: Sequence[TrendPoint], xs: Sequence[float]) -> Sequence[AxisLabel]:
    """Mark where something changed; a label stands beside its line, on the side where there is more room."""
    found = [(point.change, x) for point, x in zip(points, xs, strict=True) if point.change and x > xs[0]]
    return [AxisLabel(at=x, text=text, anchor="start" if x < WIDTH / 2 else "end") for text, x in found]


def _describe(name: str, points: Sequence[TrendPoint], limits: Sequence[TrendLimit]) -> str:
    last = points[-1]
    values = [point.value for point in points]
    words = [
        f"{name} over {count(len(points), 'evaluation')}, {points[0].day} to {last.day}",
        f"last {format_number(last.value)}, lowest {format_number(min(values))}, highest {format_number(max(values))}",
        *(f"limit {'min' if one.is_minimum else 'max'} {format_number(one.value)}" for one in limits),
        *(f"{point.change} from {point.day} on" for point in points[1:] if point.change),
    ]
    return "; ".join(words)
