from __future__ import annotations

import random

import pytest
from scipy import stats

from llmops.core.statistics import bootstrap_above, bootstrap_lower


def resample(values: list[float], count: int) -> list[float]:
    chooser = random.Random(3)
    return sorted(sum(chooser.choices(values, k=len(values))) / len(values) for _ in range(count))


def test_a_mean_is_bounded_about_as_students_interval_bounds_it() -> None:
    chooser = random.Random(5)
    values = [chooser.gauss(0.0, 1.0) for _ in range(200)]
    mean = sum(values) / len(values)
    spread = stats.tstd(values) / len(values) ** 0.5
    assert bootstrap_lower(resample(values, 4000), mean, 0.05) == pytest.approx(mean - 1.653 * spread, abs=0.01)


def test_the_p_value_crosses_alpha_at_the_bound() -> None:
    resampled = [float(value) for value in range(1000)]
    for observed in (430.0, 499.5, 560.0):
        bound = bootstrap_lower(resampled, observed, 0.05)
        assert bootstrap_above(resampled, observed, bound - 3) <= 0.05 < bootstrap_above(resampled, observed, bound + 3)


def test_without_bias_it_is_the_share_of_resampled_numbers_up_to_the_limit() -> None:
    assert bootstrap_above([float(value) for value in range(1000)], 499.5, 29.5) == pytest.approx(31 / 1002, abs=1e-9)


def test_numbers_that_do_not_vary_prove_nothing() -> None:
    assert bootstrap_above([1.0] * 1000, 1.0, 0.0) == 1.0
    assert bootstrap_above([], 1.0, 0.0) == 1.0
