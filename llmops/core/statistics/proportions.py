"""A proportion from n rows: the exact bounds that decide, the score interval for display."""

from __future__ import annotations

import math
from functools import lru_cache

from llmops.core.statistics.distributions import STANDARD_NORMAL, beta_quantile, binomial_at_least

Interval = tuple[float, float]


@lru_cache(maxsize=65536)
def binomial_above(successes: int, n: int, limit: float) -> float:
    """Return the p-value of "the proportion is at most `limit`": small when the data show that it is larger.

    It holds for any n. It also holds for the mean of n different proportions (fixed rows, each with its own chance of
    success) wherever it is below the chance of a result as large as the limit itself.

    Source: Clopper and Pearson (1934), The use of confidence or fiducial limits illustrated in the case of the
    binomial; for different proportions Hoeffding (1956), On the distribution of the number of successes in
    independent trials.
    """
    return binomial_at_least(successes, n, min(1.0, max(0.0, limit)))


def binomial_below(successes: int, n: int, limit: float) -> float:
    """Return the p-value of "the proportion is at least `limit`"; see `binomial_above`."""
    return binomial_above(n - successes, n, 1.0 - limit)


def clopper_pearson_lower(successes: int, n: int, alpha: float) -> float:
    """Return the exact one-sided lower bound of a proportion at confidence 1 - alpha.

    Source: Clopper and Pearson (1934).
    """
    return 0.0 if successes <= 0 else beta_quantile(alpha, successes, n - successes + 1)


def clopper_pearson_upper(successes: int, n: int, alpha: float) -> float:
    """Return the exact one-sided upper bound; see `clopper_pearson_lower`."""
    return 1.0 - clopper_pearson_lower(n - successes, n, alpha)


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Return the two-sided score interval of a proportion, without continuity correction; approximate.

    Args:
        successes: 0 to n.
        n: at least 1.
        confidence: two-sided, 0 to 1.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    z = STANDARD_NORMAL.inv_cdf((1 + confidence) / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def score_above(successes: float, n: int, limit: float) -> float:
    """Return the approximate p-value of "the proportion is at most `limit`": the test that Wilson's interval inverts.

    Source: Wilson (1927).
    """
    spread = math.sqrt(limit * (1 - limit) / n) if 0 < limit < 1 else 0.0
    if spread == 0.0:
        return 1.0
    return STANDARD_NORMAL.cdf(-(successes / n - limit) / spread)
