from __future__ import annotations

import math
import random

import pytest

from llmops.core.limits import MetricSpec
from llmops.core.power import (
    Spread,
    assumed_spread,
    describe_spread_power,
    likely_sample,
    nearest_mean,
    rows_for,
    spread_of,
)
from llmops.core.rules import BINOMIAL, PAIRED, choose_rule, p_values
from llmops.core.samples import pairs_sample, proportion_sample

ACCURACY = MetricSpec(score="correct", kind="proportion")
PAIRS = assumed_spread(ACCURACY, is_difference=True, repeats=1, discordance=0.2)


def share_passing(rows: int, change: float, margin: float, pulls: int = 400) -> float:
    """Draw pull requests with discordance 0.2 and count those that the exact paired test passes."""
    chooser = random.Random(5)
    gain, loss = (0.2 + change) / 2, (0.2 - change) / 2
    passed = 0
    for _ in range(pulls):
        draws = chooser.choices((1, -1, 0), (gain, loss, 1 - gain - loss), k=rows)
        sample = pairs_sample(draws.count(1), draws.count(-1), draws.count(0))
        passed += p_values(PAIRED, sample, -margin, at_least=True, enough=0.05)[0] <= 0.05
    return passed / pulls


def test_five_points_at_a_fifth_of_discordance_need_about_five_hundred_rows() -> None:
    rows = rows_for(PAIRED, PAIRS, 0.0, -0.05, at_least=True, alpha=0.05)
    assert rows is not None
    assert 480 <= rows <= 560


def test_the_rows_that_are_said_to_be_needed_pass_four_of_five_unchanged_flows() -> None:
    rows = rows_for(PAIRED, PAIRS, 0.0, -0.1, at_least=True, alpha=0.05)
    assert rows is not None
    assert 0.75 < share_passing(rows, 0.0, 0.1) < 0.92


def test_a_change_that_is_said_to_pass_passes_in_four_of_five_runs() -> None:
    passes = nearest_mean(PAIRED, PAIRS, 150, -0.05, at_least=True, alpha=0.05, passes=True)
    assert passes is not None
    assert share_passing(150, passes, 0.05) == pytest.approx(0.8, abs=0.07)


def test_a_flow_beyond_its_limit_needs_no_number_of_rows() -> None:
    assert rows_for(PAIRED, PAIRS, -0.06, -0.05, at_least=True, alpha=0.05) is None


def test_few_rows_can_never_fail_a_strict_limit() -> None:
    spread = assumed_spread(ACCURACY, is_difference=False, repeats=1)
    assert nearest_mean(BINOMIAL, spread, 3, 0.02, at_least=True, alpha=0.05, passes=False) is None
    words = describe_spread_power(BINOMIAL, spread, 3, 0.02, at_least=True, alpha=0.05)
    assert words.startswith("3 rows: can never fail it, passes one of ")


def test_repeats_make_a_proportion_a_bounded_mean() -> None:
    spread = assumed_spread(ACCURACY, is_difference=True, repeats=3)
    rule = choose_rule(likely_sample(spread, 0.0, 100, is_low=True), "guaranteed", has_many_looks=False)
    assert rule is not None
    assert rule.name == "betting"


def test_the_spread_is_read_from_the_rows_and_never_nothing() -> None:
    assert spread_of(proportion_sample(60, 40)).deviation == pytest.approx(math.sqrt(0.24))
    assert spread_of(pairs_sample(0, 0, 99)).deviation == pytest.approx(0.1)


def test_a_likely_result_is_a_possible_one() -> None:
    spread = Spread(is_binary=False, is_difference=True, deviation=0.6, lowest=-1.0, highest=1.0)
    for mean in (-1.0, -0.999, 0.0, 1.0):
        for is_low in (True, False):
            sample = likely_sample(spread, mean, 30, is_low=is_low)
            assert all(-1.0 <= value <= 1.0 for value, _ in sample.low)
