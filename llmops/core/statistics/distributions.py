"""Distribution functions that the standard library lacks, good to 1e-10."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

STANDARD_NORMAL = NormalDist()

_TINY = 1e-300
_MAX_TERMS = 100_000
_BISECTIONS = 200


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b).

    Args:
        x: 0 to 1.
        a, b: above 0.

    Source: continued fraction DLMF 8.17.22 (https://dlmf.nist.gov/8.17.E22), evaluated by the method of Lentz (1976),
    Generating Bessel functions in Mie scattering calculations using continued fractions.
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_cdf(1.0 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / (a * _beta_fraction(x, a, b))


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Return 1 + d1/(1 + d2/(1 + ...)), the denominator of DLMF 8.17.22."""
    value, c, d = 1.0, 1.0, 0.0
    for term in range(1, _MAX_TERMS):
        m = term // 2
        if term % 2:
            factor = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            factor = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / _away_from_zero(1.0 + factor * d)
        c = _away_from_zero(1.0 + factor / c)
        value *= c * d
        if abs(c * d - 1.0) < 1e-16:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def binomial_at_least(successes: int, n: int, p: float) -> float:
    """Return P(X >= successes) for X binomial(n, p).

    Source: DLMF 8.17.5 (https://dlmf.nist.gov/8.17.E5).
    """
    if successes <= 0:
        return 1.0
    if successes > n:
        return 0.0
    return beta_cdf(p, successes, n - successes + 1)


def binomial_at_most(successes: int, n: int, p: float) -> float:
    """Return P(X <= successes) for X binomial(n, p)."""
    return binomial_at_least(n - successes, n, 1.0 - p)


def binomial_log_pmf(successes: int, n: int, p: float) -> float:
    """Return log P(X = successes) for X binomial(n, p), 0 < p < 1."""
    log_ways = math.lgamma(n + 1) - math.lgamma(successes + 1) - math.lgamma(n - successes + 1)
    return log_ways + successes * math.log(p) + (n - successes) * math.log1p(-p)


def student_cdf(t: float, degrees: float) -> float:
    """Return P(T <= t) of Student's distribution.

    Source: Abramowitz and Stegun (1964), 26.7.1.
    """
    tail = 0.5 * beta_cdf(degrees / (degrees + t * t), degrees / 2, 0.5)
    return 1.0 - tail if t > 0 else tail


def student_quantile(probability: float, degrees: float) -> float:
    """Return the t with P(T <= t) = probability, by bisection; probability above 0 and below 1."""
    if probability < 0.5:
        return -student_quantile(1.0 - probability, degrees)
    high = 1.0
    while student_cdf(high, degrees) < probability:
        high *= 2.0
    return find_root(lambda t: student_cdf(t, degrees) - probability, 0.0, high)


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return the x with I_x(a, b) = probability, by bisection."""
    return find_root(lambda x: beta_cdf(x, a, b) - probability, 0.0, 1.0)


def find_root(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-15) -> float:
    """Return where a non-decreasing function crosses zero, by bisection.

    Returns:
        A point of [low, high], no further than `tolerance` (relative to its size) from the crossing; the end that is
        nearer to zero if there is no crossing.
    """
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if function(middle) < 0.0:
            low = middle
        else:
            high = middle
        if high - low <= tolerance * max(abs(low), abs(high)):
            break
    return (low + high) / 2
