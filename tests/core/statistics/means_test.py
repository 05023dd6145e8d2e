from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from llmops.core.statistics import bca_interval, moments, student_above, student_interval
from llmops.core.statistics.means import bca_from_means

CHOOSER = random.Random(4)
VALUES = [CHOOSER.expovariate(1.0) for _ in range(60)]


def test_the_t_interval_agrees_with_scipy() -> None:
    expected = stats.ttest_1samp(VALUES, 0.0).confidence_interval(0.95)
    assert student_interval(VALUES) == pytest.approx(tuple(expected), abs=1e-9)


def test_the_t_test_agrees_with_scipy() -> None:
    expected = stats.ttest_1samp(VALUES, 0.8, alternative="greater").pvalue
    assert student_above(moments(VALUES), 0.8) == pytest.approx(expected, abs=1e-9)


def test_bca_agrees_with_scipy_given_the_same_resamples() -> None:
    chooser = np.random.default_rng(1)
    means = [float(np.mean(chooser.choice(VALUES, len(VALUES)))) for _ in range(999)]
    known = SimpleNamespace(bootstrap_distribution=np.array(means))
    expected = stats.bootstrap(
        (VALUES,), np.mean, n_resamples=0, bootstrap_result=known, method="BCa", vectorized=True
    ).confidence_interval
    assert bca_from_means(VALUES, means) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_order_of_values_does_not_matter_to_the_bootstrap() -> None:
    assert bca_interval(VALUES) == bca_interval(VALUES[::-1])


def test_values_that_do_not_vary_prove_nothing() -> None:
    assert student_above(moments([0.9] * 50), 0.5) == 1.0
    assert student_above(moments([0.9]), 0.5) == 1.0


@pytest.mark.parametrize("size", [1e-320, 1e-144, 1e150, 1e300])
def test_neither_tiny_nor_huge_values_leave_the_floats(size: float) -> None:
    values = [size * value / 10 for value in VALUES]
    low, high = bca_interval(values) or (0.0, 0.0)
    assert 0.0 < low < moments(values).mean < high
    assert 0.0 <= student_above(moments(values), 0.0) < 1e-6
