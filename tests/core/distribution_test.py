"""Scores counted by value or by bin: no row is lost, none is counted twice."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.core.distribution import BINS, DISTINCT, distribute

scores = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=200)


def test_few_values_are_counted_by_themselves() -> None:
    found = distribute("quality.correct", [1.0, 0.0, 1.0, math.nan], [1.0, 1.0, 1.0, 0.5])
    assert found
    assert (found.edges, found.candidate, found.baseline) == ([0.0, 0.5, 1.0], [1, 0, 2], [0, 1, 3])
    assert (found.missing, found.baseline_missing) == (1, 0)


def test_many_values_are_counted_in_bins_of_equal_width() -> None:
    found = distribute("quality.score", [float(number) for number in range(101)], None)
    assert found
    assert not found.is_discrete
    assert (found.edges[0], found.edges[1], found.edges[-1]) == (0.0, 5.0, 100.0)
    assert found.candidate == [5] * (BINS - 1) + [6]


def test_without_any_score_there_is_nothing_to_show() -> None:
    assert distribute("quality.score", [math.nan, math.inf], [math.nan]) is None


@given(scores, scores)
def test_every_finite_score_is_counted_once(ours: list[float], theirs: list[float]) -> None:
    found = distribute("quality.score", ours, theirs)
    if found is None:
        assert not [score for score in (*ours, *theirs) if math.isfinite(score)]
        return
    assert sum(found.candidate) + found.missing == len(ours)
    assert sum(found.baseline) + found.baseline_missing == len(theirs)
    assert len(found.candidate) == len(found.edges) - (0 if found.is_discrete else 1)


@pytest.mark.parametrize("values", [[-1e308, 1e308], [0.0, 5e-324], [1e-300, 2e-300]])
def test_extreme_values_find_a_bin(values: list[float]) -> None:
    low, high = values
    spread = [low + (high / 20 - low / 20) * at for at in range(DISTINCT + 2)] + [high]
    found = distribute("quality.score", spread, None)
    assert found
    assert sum(found.candidate) == len(spread)
