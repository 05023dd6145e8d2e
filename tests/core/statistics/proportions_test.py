from __future__ import annotations

import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint, proportions_ztest

from llmops.core.statistics import (
    binomial_above,
    binomial_below,
    clopper_pearson_lower,
    clopper_pearson_upper,
    score_above,
    wilson,
)

CASES = [(0, 10), (3, 10), (10, 10), (150, 200), (997, 1000)]


@pytest.mark.parametrize(("successes", "n"), CASES)
def test_clopper_pearson_agrees_with_statsmodels(successes: int, n: int) -> None:
    low, high = proportion_confint(successes, n, alpha=0.1, method="beta")
    assert clopper_pearson_lower(successes, n, 0.05) == pytest.approx(low, abs=1e-9)
    assert clopper_pearson_upper(successes, n, 0.05) == pytest.approx(high, abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), CASES)
def test_wilson_agrees_with_statsmodels(successes: int, n: int) -> None:
    assert wilson(successes, n) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), CASES)
@pytest.mark.parametrize("limit", [0.0, 0.2, 0.8, 1.0])
def test_exact_tests_agree_with_scipy(successes: int, n: int, limit: float) -> None:
    above = stats.binomtest(successes, n, limit, alternative="greater").pvalue
    below = stats.binomtest(successes, n, limit, alternative="less").pvalue
    assert binomial_above(successes, n, limit) == pytest.approx(above, abs=1e-9)
    assert binomial_below(successes, n, limit) == pytest.approx(below, abs=1e-9)


def test_the_score_test_agrees_with_statsmodels() -> None:
    _, expected = proportions_ztest(88, 100, 0.8, alternative="larger", prop_var=0.8)
    assert score_above(88, 100, 0.8) == pytest.approx(expected, abs=1e-9)


def test_ten_of_ten_right_is_no_certainty() -> None:
    assert clopper_pearson_lower(10, 10, 0.05) == pytest.approx(0.05**0.1, abs=1e-9)
