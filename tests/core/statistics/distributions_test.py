from __future__ import annotations

import pytest
from scipy import stats

from llmops.core.statistics.distributions import (
    beta_cdf,
    beta_quantile,
    binomial_at_least,
    binomial_at_most,
    binomial_log_pmf,
    student_cdf,
    student_quantile,
)


@pytest.mark.parametrize("x", [0.0, 1e-9, 0.03, 0.5, 0.97, 1.0])
@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1, 9), (30, 2.5), (400, 600), (5e4, 5e4)])
def test_beta_distribution_agrees_with_scipy(x: float, a: float, b: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), abs=1e-9)


@pytest.mark.parametrize(
    ("successes", "n", "p"), [(0, 10, 0.1), (3, 10, 0.4), (10, 10, 0.9), (480, 500, 0.95), (11, 10, 0.5)]
)
def test_binomial_tails_agree_with_scipy(successes: int, n: int, p: float) -> None:
    assert binomial_at_least(successes, n, p) == pytest.approx(stats.binom.sf(successes - 1, n, p), abs=1e-9)
    assert binomial_at_most(successes, n, p) == pytest.approx(stats.binom.cdf(successes, n, p), abs=1e-9)


def test_binomial_points_agree_with_scipy() -> None:
    assert binomial_log_pmf(37, 100, 0.3) == pytest.approx(stats.binom.logpmf(37, 100, 0.3), abs=1e-9)


@pytest.mark.parametrize("degrees", [1, 4, 29, 499.5])
@pytest.mark.parametrize("probability", [0.001, 0.025, 0.5, 0.95, 0.9995])
def test_students_distribution_agrees_with_scipy(probability: float, degrees: float) -> None:
    t = float(stats.t.ppf(probability, degrees))
    assert student_cdf(t, degrees) == pytest.approx(probability, abs=1e-9)
    assert student_quantile(probability, degrees) == pytest.approx(t, rel=1e-9, abs=1e-9)


def test_beta_quantile_is_the_inverse_of_the_distribution() -> None:
    assert beta_quantile(0.05, 7, 4) == pytest.approx(stats.beta.ppf(0.05, 7, 4), abs=1e-9)
