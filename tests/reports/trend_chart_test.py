"""Where the marks of a trend stand."""

from __future__ import annotations

import pytest

from llmops.reports.trend_chart import HEIGHT, WIDTH, TrendLimit, TrendPoint, draw_trend


def point(day: int, value: float, **changes: object) -> TrendPoint:
    base = {"day": f"2026-07-{day:02}", "value": value, "interval": None, "outcome": "pass", **changes}
    return TrendPoint(**base)  # type: ignore[arg-type]


def test_without_points_there_is_no_chart() -> None:
    assert draw_trend("accuracy", []) is None


def test_later_is_further_right_and_more_is_higher() -> None:
    chart = draw_trend("accuracy", [point(1, 0.5), point(2, 0.7), point(3, 0.6)])
    assert chart
    xs, ys = [mark.x for mark in chart.marks], [mark.y for mark in chart.marks]
    assert xs == sorted(xs)
    assert ys[1] < ys[2] < ys[0]


@pytest.mark.parametrize("values", [[0.0], [1.0, 1.0], [-5.0, 1e9], [1e-12, 2e-12], [0.3] * 400])
def test_everything_is_inside_of_the_frame(values: list[float]) -> None:
    points = [point(1, value, interval=(value - 1, value + 1)) for value in values]
    chart = draw_trend("number", points, [TrendLimit(value=0.5, is_minimum=False)])
    assert chart
    ends = [end for mark in chart.marks for end in (mark.y, mark.low, mark.high) if end is not None]
    assert all(0 <= end <= HEIGHT for end in [*ends, *(row.at for row in chart.rows), chart.limits[0].y])
    assert all(0 <= mark.x <= WIDTH for mark in chart.marks)


def test_a_minimum_refuses_below_it_and_a_maximum_above() -> None:
    limits = [TrendLimit(value=0.4, is_minimum=True), TrendLimit(value=0.8, is_minimum=False)]
    chart = draw_trend("accuracy", [point(1, 0.5), point(2, 0.6)], limits)
    assert chart
    low, high = chart.limits
    assert low.refused_from == low.y > high.y
    assert high.refused_from == chart.top
    assert high.refused_from + high.refused_height == pytest.approx(high.y)


def test_a_change_is_marked_where_it_happened_and_said_in_words() -> None:
    chart = draw_trend("accuracy", [point(1, 0.5), point(2, 0.6, change="version 2"), point(3, 0.6)])
    assert chart
    (change,) = chart.changes
    assert (change.at, change.text) == (chart.marks[1].x, "version 2")
    assert "version 2 from 2026-07-02 on" in chart.label


def test_a_chart_says_in_words_what_it_draws() -> None:
    chart = draw_trend("accuracy", [point(1, 0.5), point(2, 0.75)], [TrendLimit(value=0.4, is_minimum=True)])
    assert chart
    assert chart.label == (
        "accuracy over 2 evaluations, 2026-07-01 to 2026-07-02; last 0.75, lowest 0.5, highest 0.75; limit min 0.4"
    )
