from __future__ import annotations

import math

import pytest
from scipy import stats

from llmops.core.statistics import lower_rank, nearest_rank, percentile_interval, upper_rank


def test_the_nearest_rank_is_the_smallest_value_that_enough_rows_do_not_exceed() -> None:
    values = [float(value) for value in range(1, 11)]
    assert [nearest_rank(values, share) for share in (0.05, 0.5, 0.9, 0.91, 1.0)] == [1.0, 5.0, 9.0, 10.0, 10.0]


@pytest.mark.parametrize(("n", "share"), [(20, 0.9), (100, 0.9), (100, 0.5), (1000, 0.99)])
def test_bounds_are_the_tightest_ranks_that_cover(n: int, share: float) -> None:
    low, high = lower_rank(n, share, 0.05), upper_rank(n, share, 0.05)
    assert stats.binom.cdf(low, n, share) <= 0.05 < stats.binom.cdf(low + 1, n, share)
    assert stats.binom.sf(high, n, share) <= 0.05 < stats.binom.sf(high - 1, n, share)


def test_scipys_quantile_test_agrees_with_the_interval() -> None:
    values = sorted(stats.gamma(2).rvs(80, random_state=3).tolist())
    expected = stats.quantile_test(values, p=0.75).confidence_interval(0.95)
    assert percentile_interval(values, 0.75) == pytest.approx((expected.low, expected.high))


def test_twenty_rows_cannot_bound_the_99th_percentile_from_above() -> None:
    assert percentile_interval([float(value) for value in range(20)], 0.99)[1] == math.inf
