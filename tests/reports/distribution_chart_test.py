"""Where the bars of a histogram stand."""

from __future__ import annotations

import pytest

from llmops.core.distribution import Distribution, distribute
from llmops.reports.distribution_chart import WIDTH, DistributionChart, draw_distribution

BOTH = Distribution(name="q.s", edges=(0.0, 1.0), is_discrete=True, candidate=(5, 15), baseline=(1, 3))


def draw(spread: Distribution) -> DistributionChart:
    chart = draw_distribution(spread)
    assert chart
    return chart


def test_shares_are_drawn_so_that_runs_of_different_length_look_alike() -> None:
    chart = draw(BOTH)
    assert [bar.height for bar in chart.candidate] == [bar.height for bar in chart.baseline]
    assert chart.candidate[1].height == pytest.approx(3 * chart.candidate[0].height, abs=0.2)


def test_the_candidate_stands_on_the_axis_and_the_baseline_hangs_from_it() -> None:
    chart = draw(BOTH)
    assert {round(bar.y + bar.height, 1) for bar in chart.candidate} == {chart.axis}
    assert {bar.y for bar in chart.baseline} == {chart.axis}


def test_what_occurs_at_all_can_be_seen_and_what_does_not_has_no_bar() -> None:
    chart = draw(Distribution(name="q.s", edges=(0.0, 1.0, 2.0), is_discrete=True, candidate=(1, 99_999, 0)))
    assert chart.candidate[0].height >= 1
    assert chart.candidate[2].height == 0


def test_bins_are_inside_of_the_frame_and_named_by_their_ends() -> None:
    spread = distribute("q.s", [at / 7 for at in range(100)], None)
    assert spread
    chart = draw(spread)
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH for bar in chart.candidate)
    assert chart.rows[0].label.startswith("0 to 0.707")
    assert sum(row.candidate for row in chart.rows) == 100
