"""Bets against a limit: tests of a mean of bounded values that hold for any n, any distribution, any number of looks.

A gambler who believes that the mean is larger than `limit` stakes a fixed share on every row and multiplies the
capital by 1 + share * (value - limit). If the mean is at most `limit`, the capital is expected never to grow, so that
it reaches 1 / alpha with chance at most alpha at any time (Ville 1939). The capital here is the average of several
gamblers with shares fixed beforehand.

Three consequences are used, each with fixed shares only:
- the order of the rows does not matter, and a larger value never gives less capital;
- rows that are drawn one after the other may be looked at after each of them;
- measurements may be added to all rows, in any number of looks: given the averages over k + 1 exchangeable
  measurements the expected capital over k is the capital over k + 1, a martingale that runs backwards in k, to which
  Doob's maximal inequality applies all the same (as in Manole and Ramdas 2023, Martingale methods for sequential
  estimation of convex functionals and divergences).

For rows that are fixed, each with its own expected value, the capital of one look is at most that of equal rows, by
the inequality of the means.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from operator import mul, sub, truediv

SHARES = tuple(0.95 * 0.6**step for step in range(10))
"""What the gamblers stake, as shares of the largest stake that cannot ruin them."""

_ROOM = 1e-12

Tally = tuple[tuple[float, int], ...]
"""Values with how often each occurs, ascending."""


@lru_cache(maxsize=65536)
def log_capital(tally: Tally, limit: float, lowest: float) -> float:
    """Return the logarithm of the average capital of those who bet on a mean above `limit`.

    Args:
        tally: the rows' values, none below `lowest`.
        limit: a mean below `lowest` is impossible, and a mean of `lowest` is disproved by any larger value.
        lowest: the smallest value that a row can have.

    Source: the diversified bets of Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by
    betting, section 5.
    """
    if not tally:
        return 0.0
    if limit <= lowest + _ROOM:
        is_disproved = limit < lowest - _ROOM or any(value > lowest + _ROOM for value, _ in tally)
        return math.inf if is_disproved else 0.0
    gains = [_log_gains(value, limit, lowest) for value, _ in tally]
    counts = [count for _, count in tally]
    return log_mean_exp([math.fsum(map(mul, counts, column)) for column in zip(*gains, strict=True)])


@lru_cache(maxsize=65536)
def _log_gains(value: float, limit: float, lowest: float) -> tuple[float, ...]:
    """Return the logarithm of what each gambler's capital is multiplied by."""
    excess = (value - limit) / (limit - lowest)
    return tuple(math.log1p(share * excess) for share in SHARES)


def betting_above(tally: Tally, limit: float, lowest: float) -> float:
    """Return the p-value of "the mean is at most `limit`": small when the data show that it is larger.

    Source: Markov's inequality for one look, Ville's for many; see `log_capital`.
    """
    return math.exp(min(0.0, -log_capital(tally, limit, lowest)))


def log_mean_exp(values: Sequence[float]) -> float:
    """Return log of the mean of exp(value)."""
    largest = max(values)
    if math.isinf(largest):
        return largest
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values) / len(values))


class Bettor:
    """Bets row by row that the mean is above a limit, and remembers the most it ever had.

    Args:
        limit, lowest: see `log_capital`.
        population: number of rows that exist when they are drawn without replacement and the limit is on the mean of
            all of them; None when they are a sample of something larger.

    Without replacement the limit of each draw is the mean that the rows not yet drawn would need, and the last row
    settles it.

    Source: Ville (1939), Étude critique de la notion de collectif; without replacement Waudby-Smith and Ramdas
    (2020), Confidence sequences for sampling without replacement, and (2024), section 6.
    """

    def __init__(self, limit: float, lowest: float, population: int | None = None) -> None:
        self._limit = limit
        self._lowest = lowest
        self._population = population
        # What the rows left would need is a difference of sums, and as exact as those.
        self._tolerance = _ROOM * max(1.0, population or 0.0) * max(1.0, abs(limit), abs(lowest))
        self._logs = [0.0] * len(SHARES)
        self._drawn = 0
        self._sum = 0.0
        self.best_log = 0.0

    def add(self, value: float) -> None:
        """Draw one row."""
        limit = self._next_limit()
        self._drawn += 1
        self._sum += value
        room = limit - self._lowest
        if room <= self._tolerance:
            # The limit can still hold only if all rows that are left are the worst; a better one disproves it.
            if room < -self._tolerance or value > self._lowest + self._tolerance:
                self.best_log = math.inf
            return
        for index, share in enumerate(SHARES):
            self._logs[index] += math.log1p(share * (value - limit) / room)
        self.best_log = max(self.best_log, log_mean_exp(self._logs))
        if self._drawn == self._population and self._sum > self._drawn * self._limit + self._tolerance:
            self.best_log = math.inf

    def _next_limit(self) -> float:
        if self._population is None:
            return self._limit
        left = self._population - self._drawn
        return (self._population * self._limit - self._sum) / left if left else self._limit

    @property
    def p_value(self) -> float:
        """The smallest p-value so far; it holds whenever one stops."""
        return math.exp(-self.best_log)


def tally_of(values: Iterable[float]) -> Tally:
    """Count equal values."""
    return tuple(sorted(Counter(values).items()))


def rounded_tallies(values: Iterable[float], bounds: tuple[float, float], steps: int) -> tuple[Tally, Tally]:
    """Count values by the cells of a grid, so that many rows stay few numbers.

    Args:
        bounds: smallest and largest possible value, the ends of the grid.
        steps: of the grid.

    Returns:
        Every value as the lower end of its cell, and as the upper end: the one for what is to be shown above a limit,
        the other for what is to be shown below.
    """
    lowest, highest = bounds
    step = (highest - lowest) / steps
    counts = sorted(Counter(map(math.floor, map(truediv, map(sub, values, repeat(lowest)), repeat(step)))).items())
    down, up = (
        tuple((min(highest, max(lowest, lowest + (cell + end) * step)), count) for cell, count in counts)
        for end in (0, 1)
    )
    return down, up
