"""Inference on a number that only its own program can form, from that program's answers to resampled rows."""

from __future__ import annotations

from collections.abc import Sequence

from llmops.core.statistics.distributions import STANDARD_NORMAL


def bootstrap_above(resampled: Sequence[float], observed: float, limit: float) -> float:
    """Return the approximate p-value of "the number is at most `limit`", with the bias of the bootstrap corrected.

    Numbers that do not vary prove nothing: 1.

    Args:
        resampled: the number over each bootstrap sample of the rows, ascending.
        observed: the number over the rows themselves.

    Source: Efron (1981), Nonparametric standard errors and confidence intervals, section 7 (the bias-corrected
    percentile method), solved for the level at which the bound is `limit`; one is added to both counts as in Davison
    and Hinkley (1997), Bootstrap methods and their application, equation 4.11.
    """
    if not resampled or resampled[0] == resampled[-1]:
        return 1.0
    share = (sum(value <= limit for value in resampled) + 1) / (len(resampled) + 2)
    return STANDARD_NORMAL.cdf(STANDARD_NORMAL.inv_cdf(share) - 2.0 * _bias(resampled, observed))


def bootstrap_lower(resampled: Sequence[float], observed: float, alpha: float) -> float:
    """Return the approximate one-sided lower bound at confidence 1 - alpha; see `bootstrap_above`.

    Args:
        resampled: at least one, ascending.
    """
    share = STANDARD_NORMAL.cdf(STANDARD_NORMAL.inv_cdf(alpha) + 2.0 * _bias(resampled, observed))
    return resampled[min(len(resampled) - 1, max(0, int(share * (len(resampled) + 2)) - 1))]


def _bias(resampled: Sequence[float], observed: float) -> float:
    """Return how far the observed number is from the middle of the resampled ones, in standard deviations."""
    below = sum(value < observed for value in resampled) + sum(value == observed for value in resampled) / 2
    share = below / len(resampled)
    margin = 1.0 / (len(resampled) + 2)
    return STANDARD_NORMAL.inv_cdf(min(1.0 - margin, max(margin, share)))
