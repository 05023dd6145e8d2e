"""Pairs of 0 and 1: an exact unconditional test of their mean difference, and Tango's interval for display.

Of n pairs, `gains` went from 0 to 1 (difference +1), `losses` from 1 to 0 (difference -1), the others did not change.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from llmops.core.statistics.distributions import STANDARD_NORMAL, binomial_at_least, binomial_log_pmf, find_root
from llmops.core.statistics.proportions import Interval

_GROWTH = 0.12
"""Step between two discordances, as a share of their distance from the nearer end of the range."""
_FIRST_STEP = 0.25
"""Smallest step, in standard deviations of the discordance."""
_BETWEEN = 1.02
_WIDTH = 8.0
_TIE = 1e-9


class Pairs(NamedTuple):
    """Counts of n pairs of 0 and 1; neither gains nor losses exceed n together."""

    gains: int
    losses: int
    n: int


@lru_cache(maxsize=262144)
def paired_above(pairs: Pairs, limit: float, enough: float = 1.0) -> float:
    """Return the p-value of "the mean difference is at most `limit`": small when the data show that it is larger.

    Exact and unconditional: the chance of a score statistic (Tango's) as large as the observed one, at the worst
    discordance. More gains or fewer losses raise the statistic and make each such outcome more likely, so that the
    worst case has a mean difference of exactly `limit`. The discordances are a fixed grid, fine near the ends of the
    range; between its points the chance is at most 2 % larger in relative terms (tests measure it), and the largest
    one is raised by that.

    Args:
        limit: above -1 and below 1.
        enough: a p-value above this may be returned too small, but still above it.

    Source: Barnard (1945), A new test for 2x2 tables; for pairs and a margin Liu, Hsueh, Hsieh and Chen (2002), Tests
    for equivalence or non-inferiority for paired binary data, and Sidik (2003), Exact unconditional tests for testing
    non-inferiority in matched-pairs design.
    """
    if pairs.n == 0 or pairs.gains - pairs.losses <= pairs.n * limit:
        return 1.0
    region = _Region(pairs, limit)
    discordances = _discordances(pairs.n, abs(limit))
    likely = bisect_left(discordances, (pairs.gains + pairs.losses) / pairs.n)
    worst = 0.0
    for discordance in (discordances[min(likely, len(discordances) - 1)], *discordances):
        worst = max(worst, region.chance(discordance) * _BETWEEN)
        if worst > enough:
            break
    return min(1.0, worst)


def paired_below(pairs: Pairs, limit: float, enough: float = 1.0) -> float:
    """Return the p-value of "the mean difference is at least `limit`"; see `paired_above`."""
    return paired_above(Pairs(pairs.losses, pairs.gains, pairs.n), -limit, enough)


@lru_cache(maxsize=256)
def _discordances(n: int, least: float, growth: float = _GROWTH, first_step: float = _FIRST_STEP) -> Sequence[float]:
    """Return the grid from `least` to 1, ascending: steps grow with the distance from the nearer end."""
    start, end = math.asin(math.sqrt(least)), math.pi / 2
    first = first_step / (2.0 * math.sqrt(n))
    rising, falling = [start], [end]
    while rising[-1] < falling[-1]:
        rising.append(rising[-1] + max(first, growth * (rising[-1] - start)))
        falling.append(falling[-1] - max(first, growth * (end - falling[-1])))
    middle = (start + end) / 2
    angles = [*(a for a in rising if a <= middle), *(a for a in reversed(falling) if a > middle)]
    return tuple(min(1.0, max(least, math.sin(angle) ** 2)) for angle in angles)


class _Region:
    """The outcomes that are at least as much evidence as the observed one.

    For each number of losses it holds the smallest number of gains; that number grows with the losses.
    """

    def __init__(self, pairs: Pairs, limit: float) -> None:
        self._n = pairs.n
        self._limit = limit
        self._observed = tango_score(pairs, limit) - _TIE
        self._least: dict[int, int] = {}

    def chance(self, discordance: float) -> float:
        """Return the region's probability at this discordance and a mean difference of `limit`."""
        gain, loss = max(0.0, (discordance + self._limit) / 2), max(0.0, (discordance - self._limit) / 2)
        first, last = self._window(loss)
        if gain <= 0.0:
            return sum(self._loss_chance(losses, loss) for losses in range(first, last + 1) if self.least(losses) == 0)
        share = gain / (1.0 - loss) if loss < 1.0 else 1.0
        if share >= 1.0 or loss <= 0.0:
            tails = (
                (losses, binomial_at_least(self.least(losses), self._n - losses, share))
                for losses in range(first, last + 1)
            )
            return sum(self._loss_chance(losses, loss) * tail for losses, tail in tails)
        return self._summed(first, last, loss, share)

    def _window(self, loss: float) -> tuple[int, int]:
        middle, spread = self._n * loss, _WIDTH * math.sqrt(self._n * loss * (1.0 - loss)) + _WIDTH * (loss > 0)
        return max(0, math.floor(middle - spread)), min(self._n, math.ceil(middle + spread))

    def _loss_chance(self, losses: int, loss: float) -> float:
        if loss <= 0.0 or loss >= 1.0:
            return float(losses == (0 if loss <= 0.0 else self._n))
        return math.exp(binomial_log_pmf(losses, self._n, loss))

    def _summed(self, first: int, last: int, loss: float, share: float) -> float:
        """Sum over the losses; the binomial tail of the gains moves from one number of losses to the next."""
        n, odds = self._n, share / (1.0 - share)
        gains, left = self.least(first), n - first
        tail = binomial_at_least(gains, left, share)
        point = math.exp(binomial_log_pmf(gains, left, share)) if gains <= left else 0.0
        weight, ratio = self._loss_chance(first, loss), loss / (1.0 - loss)
        total = weight * tail
        for losses in range(first, last):
            weight *= (n - losses) / (losses + 1) * ratio
            if gains > left or left == 0:
                break
            # One trial fewer: P(X >= g) loses share * P(X = g - 1) of the smaller experiment.
            smaller = point * (left - gains) / (left * (1.0 - share))
            below = smaller * gains / ((left - gains) * odds) if gains < left else point / share
            tail, point, left = tail - (share * below if gains else 0.0), smaller, left - 1
            target = self.least(losses + 1)
            while gains < target and gains <= left:
                tail -= point
                point *= (left - gains) / (gains + 1) * odds
                gains += 1
            gains = max(gains, target)
            if gains > left:
                break
            total += weight * max(0.0, tail)
        return total

    def least(self, losses: int) -> int:
        """Return the smallest number of gains that is enough beside these losses; n - losses + 1 if none is."""
        found = self._least.get(losses)
        if found is None:
            found = self._search(losses)
            self._least[losses] = found
        return found

    def _search(self, losses: int) -> int:
        before = self._least.get(losses - 1)
        most = self._n - losses
        if before is not None:
            gains = before
            while gains <= most and not self._is_enough(gains, losses):
                gains += 1
            return min(gains, most + 1)
        low, high = 0, most + 1
        while low < high:
            middle = (low + high) // 2
            if self._is_enough(middle, losses):
                high = middle
            else:
                low = middle + 1
        return low

    def _is_enough(self, gains: int, losses: int) -> bool:
        return tango_score(Pairs(gains, losses, self._n), self._limit) >= self._observed


def tango_score(pairs: Pairs, limit: float) -> float:
    """Return the score statistic of a mean difference of `limit`, approximately standard normal.

    Returns:
        Zero where neither the pairs nor the limit vary.

    Source: Tango (1998), Equivalence test and confidence interval for the difference in proportions for the paired-
    sample design, section 2: the closed form of the constrained maximum likelihood estimate.
    """
    gains, losses, n = pairs
    a, b = 2.0 * n, -gains - losses + (2.0 * n - gains + losses) * limit
    c = -losses * limit * (1.0 - limit)
    chance = (math.sqrt(max(0.0, b * b - 4.0 * a * c)) - b) / (2.0 * a)
    variance = n * (2.0 * chance + limit * (1.0 - limit))
    return (gains - losses - n * limit) / math.sqrt(variance) if variance > 0.0 else 0.0


def tango(pairs: Pairs, confidence: float = 0.95) -> Interval:
    """Return the two-sided score interval of a mean difference; approximate.

    Source: Tango (1998).
    """
    z = STANDARD_NORMAL.inv_cdf((1 + confidence) / 2)
    middle = (pairs.gains - pairs.losses) / pairs.n
    low = find_root(lambda limit: z - tango_score(pairs, limit), -1.0, middle) if middle > -1.0 else -1.0
    high = find_root(lambda limit: -z - tango_score(pairs, limit), middle, 1.0) if middle < 1.0 else 1.0
    return low, high


def tango_above(pairs: Pairs, limit: float) -> float:
    """Return the approximate p-value of "the mean difference is at most `limit`", by Tango's score."""
    return STANDARD_NORMAL.cdf(-tango_score(pairs, limit))
