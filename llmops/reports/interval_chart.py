"""Geometry of the small charts in the HTML report: candidate beside baseline on one axis, limits as ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmops.core.metrics import Finding, Metric
from llmops.reports.numbers import format_number
from llmops.reports.summary import MetricSummary, limit_number

WIDTH = 280
HEIGHT = 58
_MARGIN = 10
_SMALLEST_SPAN = {"proportion": 0.2}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One side of a chart in user units: the point, and its interval if there is one."""

    x: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class LimitTick:
    """A limit on the axis.

    Attributes:
        x: where it stands.
        refused_from, refused_width: the side of it on which values are refused.
        outcome: of the finding.
    """

    x: float
    refused_from: float
    refused_width: float
    outcome: str


@dataclass(frozen=True, kw_only=True)
class AxisTick:
    """A labelled value on the axis; `anchor` keeps labels at the ends inside."""

    x: float
    label: str
    anchor: str


@dataclass(frozen=True, kw_only=True)
class IntervalChart:
    """All that the template draws, and the same in words.

    Attributes:
        candidate, baseline: None where there is no value.
        label: what a screen reader says.
    """

    candidate: Mark | None
    baseline: Mark | None
    limits: Sequence[LimitTick]
    ticks: Sequence[AxisTick]
    label: str
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A range of values on `WIDTH` user units."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Give the position of a value, rounded to a tenth of a unit."""
        return round(_MARGIN + (value - self.low) / (self.high - self.low) * (WIDTH - 2 * _MARGIN), 1)


def draw_intervals(summary: MetricSummary) -> IntervalChart | None:
    """Lay out the chart of a metric; None when neither side has a value."""
    sides = [metric for metric in (summary.metric, summary.baseline) if metric is not None and _is_known(metric.value)]
    if not sides:
        return None
    limits = [
        (finding, position)
        for finding in summary.findings
        if (position := limit_position(finding, summary)) is not None
    ]
    axis, ticks = _choose_axis(sides, [position for _, position in limits])
    return IntervalChart(
        candidate=_mark(summary.metric, axis),
        baseline=_mark(summary.baseline, axis),
        limits=[_limit_tick(finding, axis.place(position), summary) for finding, position in limits],
        ticks=[_axis_tick(value, at, len(ticks), axis) for at, value in enumerate(ticks)],
        label=_describe(summary, limits),
    )


def limit_position(finding: Finding, summary: MetricSummary) -> float | None:
    """Give the value at which a limit stands: the number of `min` and `max`, else away from the baseline's value."""
    number = limit_number(finding)
    if not finding.limit.startswith("max_regression "):
        return number
    base = summary.baseline.value if summary.baseline else finding.baseline
    if number is None or base is None or not math.isfinite(base):
        return None
    return base - number if summary.metric.higher_is_better else base + number


def choose_ticks(low: float, high: float) -> Sequence[float]:
    """Choose three to six round values that enclose a range, by steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def _choose_axis(sides: Sequence[Metric], limits: Sequence[float]) -> tuple[Axis, Sequence[float]]:
    values = [
        *limits,
        *(float(side.value or 0.0) for side in sides),
        *(end for side in sides for end in side.interval or ()),
    ]
    values = [value for value in values if math.isfinite(value)]
    low, high = min(values), max(values)
    span = max(high - low, _SMALLEST_SPAN.get(sides[0].kind, 0.0), abs(high) * 0.01, 1e-9)
    pad = (span * 1.1 - (high - low)) / 2
    low, high = low - pad, high + pad
    if sides[0].kind == "proportion" and min(values) >= 0 and max(values) <= 1:
        low, high = max(0.0, low), min(1.0, high)
    ticks = choose_ticks(low, high)
    return Axis(low=ticks[0], high=ticks[-1]), ticks


def _mark(metric: Metric | None, axis: Axis) -> Mark | None:
    if metric is None or not _is_known(metric.value):
        return None
    ends = metric.interval if metric.interval and all(map(math.isfinite, metric.interval)) else (None, None)
    low, high = (None if end is None else axis.place(end) for end in ends)
    return Mark(x=axis.place(float(metric.value or 0.0)), low=low, high=high)


def _limit_tick(finding: Finding, x: float, summary: MetricSummary) -> LimitTick:
    """Shade the side on which the limit refuses: below a minimum, above a maximum."""
    words = finding.limit.split()
    is_minimum = words[0] == "min" or (words[0] == "max_regression" and summary.metric.higher_is_better)
    start, end = (0.0, x) if is_minimum else (x, float(WIDTH))
    return LimitTick(x=x, refused_from=start, refused_width=round(end - start, 1), outcome=finding.outcome)


def _axis_tick(value: float, at: int, number: int, axis: Axis) -> AxisTick:
    anchor = "start" if at == 0 else "end" if at == number - 1 else "middle"
    edge = {"start": 0.0, "end": float(WIDTH)}
    return AxisTick(x=edge.get(anchor, axis.place(value)), label=format_number(value), anchor=anchor)


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _describe(summary: MetricSummary, limits: Sequence[tuple[Finding, float]]) -> str:
    sides = (("candidate", summary.metric), ("baseline", summary.baseline))
    said = [_describe_side(name, metric) for name, metric in sides if metric is not None and _is_known(metric.value)]
    return "; ".join([*said, *(f"limit {finding.limit} at {format_number(position)}" for finding, position in limits)])


def _describe_side(name: str, metric: Metric) -> str:
    interval = metric.interval
    words = f", 95 % interval {format_number(interval[0])} to {format_number(interval[1])}" if interval else ""
    return f"{name} {format_number(metric.value)}{words}"
