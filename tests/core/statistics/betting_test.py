from __future__ import annotations

import itertools
import math
import random

import pytest

from llmops.core.statistics import Bettor, betting_above, log_capital, rounded_tallies, tally_of
from llmops.core.statistics.betting import SHARES


def expected_capital(limit: float, values: dict[float, float], n: int) -> float:
    """Average the capital over every sequence of n values with these chances."""
    total = 0.0
    for row in itertools.product(values, repeat=n):
        total += math.prod(values[value] for value in row) * math.exp(log_capital(tally_of(row), limit, 0.0))
    return total


def test_the_capital_is_not_expected_to_grow_where_the_mean_is_at_the_limit() -> None:
    assert expected_capital(0.4, {0.0: 0.5, 0.5: 0.2, 1.0: 0.3}, 5) == pytest.approx(1.0, abs=1e-12)


def test_the_capital_is_expected_to_shrink_where_the_mean_is_below_the_limit() -> None:
    assert expected_capital(0.5, {0.0: 0.5, 0.5: 0.2, 1.0: 0.3}, 5) < 1.0


def test_the_capital_is_the_mean_of_the_gamblers_products() -> None:
    values, limit = [0.2, 0.9, 0.4, 1.0], 0.5
    products = [math.prod(1 + share / limit * (value - limit) for value in values) for share in SHARES]
    assert math.exp(log_capital(tally_of(values), limit, 0.0)) == pytest.approx(
        sum(products) / len(products), rel=1e-12
    )


def test_betting_row_by_row_ends_with_the_capital_of_all_rows_and_remembers_its_best() -> None:
    values = [1.0, 1.0, 1.0, 0.0, 0.5, 0.0]
    bettor = Bettor(0.4, 0.0)
    best = 0.0
    for count, value in enumerate(values, start=1):
        bettor.add(value)
        best = max(best, log_capital(tally_of(values[:count]), 0.4, 0.0))
    assert bettor.best_log == pytest.approx(best, abs=1e-12)


def test_without_replacement_the_capital_is_not_expected_to_grow() -> None:
    """Over all orders of a data set whose mean is the limit; the last draw is forced and wins nothing."""
    rows = [0.0, 0.0, 1.0, 0.5, 1.0]
    for drawn in range(1, 5):
        ends = []
        for order in itertools.permutations(rows):
            bettor = Bettor(0.5, 0.0, population=5)
            for value in order[:drawn]:
                bettor.add(value)
            ends.append(sum(math.exp(one) for one in bettor._logs) / len(SHARES))
        assert sum(ends) / len(ends) == pytest.approx(1.0, abs=1e-9)


def test_a_limit_that_the_rows_left_cannot_undo_is_disproved() -> None:
    bettor = Bettor(0.5, 0.0, population=4)
    for value in (1.0, 1.0):
        bettor.add(value)
    assert bettor.p_value > 0.0
    bettor.add(0.1)
    assert bettor.p_value == 0.0


def test_averages_over_more_repeats_are_a_fair_game_played_backwards() -> None:
    """Given the averages over two repeats, the expected capital over the first repeat is the capital over both."""
    rows = [(0.0, 1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0)]
    both = log_capital(tally_of([(a + b) / 2 for a, b in rows]), 0.4, 0.0)
    firsts = [math.exp(log_capital(tally_of(picked), 0.4, 0.0)) for picked in itertools.product(*rows)]
    assert sum(firsts) / len(firsts) == pytest.approx(math.exp(both), rel=1e-12)


def test_rounding_against_what_is_to_be_shown_never_helps() -> None:
    chooser = random.Random(2)
    values = [chooser.betavariate(4, 2) for _ in range(300)]
    down, up = rounded_tallies(values, (0.0, 1.0), 64)
    assert (
        betting_above(up, 0.6, 0.0) < betting_above(tally_of(values), 0.6, 0.0) < betting_above(down, 0.6, 0.0) < 1e-6
    )


def test_a_mean_of_the_lowest_value_is_disproved_by_any_larger_one() -> None:
    assert betting_above(((0.0, 9), (0.5, 1)), 0.0, 0.0) == 0.0
    assert betting_above(((0.0, 10),), 0.0, 0.0) == 1.0
