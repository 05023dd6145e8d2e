"""Geometry of the small charts."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.core.metrics import Finding, Metric
from llmops.reports.interval_chart import WIDTH, choose_ticks, draw_intervals, limit_position
from llmops.reports.summary import MetricSummary
from tests.reports.verdicts import ACCURACY, build_finding

finite = st.floats(-1e12, 1e12)


def summarize(metric: Metric, baseline: Metric | None = None, *findings: Finding) -> MetricSummary:
    return MetricSummary(metric=metric, baseline=baseline, difference=None, findings=findings)


@given(finite, finite, finite, finite)
def test_everything_that_is_drawn_is_inside(value: float, low: float, high: float, limit: float) -> None:
    metric = dataclasses.replace(ACCURACY, value=value, interval=(min(low, high), max(low, high)), kind="mean")
    chart = draw_intervals(summarize(metric, None, build_finding(limit=f"min {limit!r}")))
    assert chart is not None
    assert chart.candidate is not None
    drawn = [chart.candidate.x, chart.candidate.low, chart.candidate.high, chart.limits[0].x]
    assert all(x is not None and 0 <= x <= WIDTH for x in drawn)


def test_the_better_value_of_a_proportion_is_to_the_right_on_an_axis_within_0_and_1() -> None:
    perfect = dataclasses.replace(ACCURACY, value=1.0, interval=(0.84, 1.0))
    chart = draw_intervals(summarize(perfect, ACCURACY))
    assert chart is not None
    assert chart.candidate is not None
    assert chart.baseline is not None
    assert chart.candidate.x > chart.baseline.x
    assert chart.ticks[-1].label == "1"


def test_a_metric_without_a_value_has_no_chart() -> None:
    assert draw_intervals(summarize(dataclasses.replace(ACCURACY, value=None, interval=None))) is None
    assert draw_intervals(summarize(dataclasses.replace(ACCURACY, value=float("nan"), interval=None))) is None


@pytest.mark.parametrize(("higher_is_better", "position"), [(True, 0.87), (False, 0.93)])
def test_a_regression_limit_stands_on_the_worse_side_of_the_baseline(
    *, higher_is_better: bool, position: float
) -> None:
    metric = dataclasses.replace(ACCURACY, higher_is_better=higher_is_better)
    finding = build_finding(limit="max_regression 0.03", baseline=0.9)
    assert limit_position(finding, summarize(metric, metric)) == pytest.approx(position)
    assert limit_position(finding, summarize(metric)) == pytest.approx(position)


def test_a_minimum_refuses_below_and_a_maximum_above() -> None:
    findings = (build_finding(limit="min 0.8"), build_finding(limit="max 0.95"))
    chart = draw_intervals(summarize(ACCURACY, None, *findings))
    assert chart is not None
    low, high = chart.limits
    assert (low.refused_from, low.refused_width) == (0.0, low.x)
    assert (high.refused_from, high.refused_width) == (high.x, round(WIDTH - high.x, 1))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.41, 0.98, [0.4, 0.6, 0.8, 1.0]), (0.0, 1.0, [0.0, 0.5, 1.0]), (-3.0, 12.0, [-5.0, 0.0, 5.0, 10.0, 15.0])],
)
def test_ticks_are_round_and_enclose_the_range(low: float, high: float, ticks: list[float]) -> None:
    assert choose_ticks(low, high) == ticks
