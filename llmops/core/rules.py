"""Which rule decides about a sample, and what it says: p-values of "above a limit" and of "below a limit"."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from llmops.core.limits import Method
from llmops.core.samples import Sample
from llmops.core.statistics import (
    Bettor,
    Moments,
    Pairs,
    Tally,
    betting_above,
    binomial_above,
    binomial_below,
    bootstrap_above,
    bootstrap_lower,
    lower_rank,
    paired_above,
    paired_below,
    score_above,
    student_above,
    tango_above,
    upper_rank,
)

EXACT_PAIRS = 20_000
"""Most rows for which the exact paired test is formed; above it bets decide."""
_DIGITS = 12
_SLACK = 1e-12
"""Changes that differ by less are equal, as in `gate`."""
_KNOWN = 1e-9
"""Share of the range within which the mean of a whole data set is equal to a limit."""
_SHIFT_STEPS = 40
_BOUND_STEPS = 4096
_UNBOUNDED_DEVIATIONS = 20.0


class Evidence(Protocol):
    """Says how well a sample shows that its number lies on one side of a limit."""

    def __call__(self, sample: Sample, limit: float, enough: float) -> float:
        """Return the p-value of the opposite; above `enough` it may be too small, but still above it."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A way to decide.

    Attributes:
        name: for reports.
        is_guaranteed: whether its error rates hold for any number of rows and any distribution.
        above, below: evidence that the number is above, or below, a limit.
        simulated_percent: of an approximate rule: the largest rate of wrong answers at a nominal 5 % that
            `benchmarks/gate_approximate.py` found; 0 where the rate is guaranteed.
    """

    name: str
    is_guaranteed: bool
    above: Evidence
    below: Evidence
    simulated_percent: int = 0

    @property
    def promise(self) -> str:
        """What the rule's error rates are worth, in words."""
        if self.is_guaranteed:
            return "guaranteed"
        return f"approximate, no guarantee: in simulations wrong up to {self.simulated_percent} % of the time, not 5 %"


def choose_rule(sample: Sample, method: Method, *, has_many_looks: bool) -> Rule | None:
    """Return the rule that decides about a sample; None when there is none of this method.

    Args:
        has_many_looks: whether the same limits are or may be judged more than once.
    """
    if method == "approximate":
        return _approximate(sample)
    if sample.kind == "percentile":
        return DRAWN_ORDER if sample.drawn else ORDER
    if sample.kind in {"unbounded", "mixed", "resampled"}:
        return None
    if sample.drawn or has_many_looks or sample.kind == "bounded":
        return BETTING
    if not sample.is_difference:
        return BINOMIAL
    return PAIRED if sample.rows + sample.both_failed <= EXACT_PAIRS else BETTING


def p_values(rule: Rule, sample: Sample, limit: float, *, at_least: bool, enough: float = 1.0) -> tuple[float, float]:
    """Return the p-values that a pass and a fail need to be small.

    Args:
        at_least: whether the number must be at least the limit; else at most.
        enough: see `Evidence`.

    Returns:
        Of "the limit is violated" and of "the limit holds", to 12 significant digits, so that no platform's last
        digit decides.
    """
    if sample.is_open or not sample.rows:
        return 1.0, 1.0
    if sample.kind != "percentile":
        trivial = _trivial(sample, limit, at_least=at_least)
        if trivial is not None:
            return trivial
    elif at_least:
        # "At least" is about the rows below the limit, "at most" about those up to it.
        limit = math.nextafter(limit, -math.inf)
    # Once all rows that exist are drawn their mean is known, and one that is exactly the limit meets it.
    is_finite = sample.population is not None and sample.kind != "percentile"
    slack = _KNOWN * (sample.highest - sample.lowest) if is_finite else 0.0
    over = rule.above(sample, limit - slack if at_least else limit, enough)
    under = rule.below(sample, limit if at_least else limit + slack, enough)
    passing, failing = (over, under) if at_least else (under, over)
    return _rounded(passing), _rounded(failing)


def _trivial(sample: Sample, limit: float, *, at_least: bool) -> tuple[float, float] | None:
    """Judge a limit that no, or every, possible number meets."""
    always = limit <= sample.lowest if at_least else limit >= sample.highest
    never = limit > sample.highest if at_least else limit < sample.lowest
    if always:
        return 0.0, 1.0
    return (1.0, 0.0) if never else None


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _count(tally: Tally, wanted: float) -> int:
    return next((count for value, count in tally if value == wanted), 0)


def _binomial_above(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    return binomial_above(_count(sample.low, 1.0), sample.rows, limit)


def _binomial_below(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    return binomial_below(_count(sample.high, 1.0), sample.rows, limit)


def _paired_above(sample: Sample, limit: float, enough: float) -> float:
    return max(paired_above(pairs, limit, enough) for pairs in _pairs(sample, sample.low))


def _paired_below(sample: Sample, limit: float, enough: float) -> float:
    return max(paired_below(pairs, limit, enough) for pairs in _pairs(sample, sample.high))


def _pairs(sample: Sample, tally: Tally) -> Sequence[Pairs]:
    """Return the counts without and with the pairs that failed on both sides; the weaker evidence counts."""
    gains, losses = _count(tally, 1.0), _count(tally, -1.0)
    return [Pairs(gains, losses, sample.rows + extra) for extra in {0, sample.both_failed}]


def _betting_above(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    if sample.drawn:
        return _bet_on_pairs([end if end is None else end[0] for end in sample.drawn], limit, sample.lowest, sample)
    return max(betting_above(tally, limit, sample.lowest) for tally in _with_both_failed(sample, sample.low))


def _betting_below(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    if sample.drawn:
        return _bet_on_pairs([end if end is None else -end[1] for end in sample.drawn], -limit, -sample.highest, sample)
    return max(
        betting_above(_mirrored(tally), -limit, -sample.highest) for tally in _with_both_failed(sample, sample.high)
    )


def _with_both_failed(sample: Sample, tally: Tally) -> Sequence[Tally]:
    """Return the values without and with the pairs that failed on both sides; the weaker evidence counts."""
    return [tally, tuple(sorted((*tally, (0.0, sample.both_failed))))] if sample.both_failed else [tally]


def _bet_on_pairs(values: Sequence[float | None], limit: float, lowest: float, sample: Sample) -> float:
    """Bet on rows in their order; pairs that failed on both sides (None) are left out, or did not change."""
    known = [value for value in values if value is not None]
    lost = len(values) - len(known)
    population = sample.population
    worst = _bet(known, limit, lowest, None if population is None else population - lost)
    if lost:
        worst = max(worst, _bet((value or 0.0 for value in values), limit, lowest, population))
    return worst


def _bet(values: Iterable[float], limit: float, lowest: float, population: int | None) -> float:
    bettor = Bettor(limit, lowest, population)
    for value in values:
        bettor.add(value)
    return bettor.p_value


def _mirrored(tally: Tally) -> Tally:
    return tuple((-value, count) for value, count in reversed(tally))


def _order_above(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    return _spent(binomial_below(_at_most(sample.low, limit), sample.rows, sample.share), sample.look)


def _order_below(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    return _spent(binomial_above(_at_most(sample.high, limit), sample.rows, sample.share), sample.look)


def _at_most(tally: Tally, limit: float) -> int:
    return sum(count for value, count in tally if value <= limit)


def _spent(p_value: float, look: int) -> float:
    """Pay for several looks: the k-th has 6 / (pi k)^2 of the error, in sum all of it; a single look pays nothing."""
    return min(1.0, p_value * (math.pi * look) ** 2 / 6.0) if look else p_value


def _drawn_above(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    values = [-float(end[0] <= limit) for end in sample.drawn if end is not None]
    return _bet(values, -sample.share, -1.0, sample.population)


def _drawn_below(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    values = [float(end[1] <= limit) for end in sample.drawn if end is not None]
    return _bet(values, sample.share, 0.0, sample.population)


def _score_above(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    if sample.is_difference:
        return tango_above(Pairs(_count(sample.low, 1.0), _count(sample.low, -1.0), sample.rows), limit)
    return score_above(_count(sample.low, 1.0), sample.rows, limit)


def _score_below(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    if sample.is_difference:
        return tango_above(Pairs(_count(sample.high, -1.0), _count(sample.high, 1.0), sample.rows), -limit)
    return score_above(sample.rows - _count(sample.high, 1.0), sample.rows, 1.0 - limit)


def _student_above(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    return student_above(_moments(sample.low), limit)


def _student_below(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    return student_above(_moments(_mirrored(sample.high)), -limit)


def _bootstrap_above(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    return bootstrap_above(_expanded(sample.low), sample.observed, limit)


def _bootstrap_below(sample: Sample, limit: float, enough: float) -> float:  # noqa: ARG001
    return bootstrap_above(_expanded(_mirrored(sample.high)), -sample.observed, -limit)


def _expanded(tally: Tally) -> Sequence[float]:
    return tuple(value for value, count in tally for _ in range(count))


@lru_cache(maxsize=1024)
def _moments(tally: Tally) -> Moments:
    n = sum(count for _, count in tally)
    mean = math.fsum(value * count for value, count in tally) / n
    if n < 2:  # one value has no deviation
        return Moments(n, mean, math.inf)
    return Moments(n, mean, math.sqrt(math.fsum(count * (value - mean) ** 2 for value, count in tally) / (n - 1)))


BINOMIAL = Rule(name="Clopper-Pearson", is_guaranteed=True, above=_binomial_above, below=_binomial_below)
PAIRED = Rule(name="exact paired test", is_guaranteed=True, above=_paired_above, below=_paired_below)
BETTING = Rule(name="betting", is_guaranteed=True, above=_betting_above, below=_betting_below)
ORDER = Rule(name="order statistics", is_guaranteed=True, above=_order_above, below=_order_below)
DRAWN_ORDER = Rule(name="betting on order statistics", is_guaranteed=True, above=_drawn_above, below=_drawn_below)
SCORE = Rule(name="score test", is_guaranteed=False, above=_score_above, below=_score_below, simulated_percent=8)
STUDENT = Rule(name="t test", is_guaranteed=False, above=_student_above, below=_student_below, simulated_percent=19)
BOOTSTRAP = Rule(
    name="bootstrap", is_guaranteed=False, above=_bootstrap_above, below=_bootstrap_below, simulated_percent=8
)
PERCENTILES = "order statistics of both runs"


def _approximate(sample: Sample) -> Rule:
    if sample.kind == "percentile":
        return ORDER
    if sample.kind == "resampled":
        return BOOTSTRAP
    return SCORE if sample.kind == "binary" else STUDENT


def percentile_shift(candidate: Sample, baseline: Sample, limit: float, *, at_least: bool) -> tuple[float, float]:
    """Return the p-values that a pass and a fail of a limit on the change of a percentile need to be small.

    Each run's percentile is bounded with half of the error; rows need not be paired.

    Source: order-statistic bounds (see `lower_rank`) joined by Bonferroni's inequality.
    """
    # A change of exactly the limit keeps it: it is shown by reaching the limit, the opposite only by passing it.
    above = _shift_above(candidate.low, baseline.high, candidate.share, limit, is_strict=not at_least)
    low, high = _mirrored(candidate.high), _mirrored(baseline.low)
    below = _shift_above(low, high, 1.0 - candidate.share, -limit, is_strict=at_least)
    above, below = (_rounded(_spent(p_value, candidate.look)) for p_value in (above, below))
    return (above, below) if at_least else (below, above)


def _shift_above(candidate: Tally, baseline: Tally, share: float, limit: float, *, is_strict: bool) -> float:
    """Return the smallest alpha at which the candidate's lower bound is `limit` above the baseline's upper one."""
    new, old = _expanded(candidate), _expanded(baseline)

    def is_shown(alpha: float) -> bool:
        low, high = lower_rank(len(new), share, alpha / 2), upper_rank(len(old), share, alpha / 2)
        if low < 0 or high >= len(old):
            return False
        change = new[low] - old[high]
        return change > limit + _SLACK if is_strict else change >= limit - _SLACK

    if not is_shown(1.0):
        return 1.0
    shown, hidden = 0.0, -60.0
    for _ in range(_SHIFT_STEPS):
        middle = (shown + hidden) / 2
        shown, hidden = (middle, hidden) if is_shown(math.exp(middle)) else (shown, middle)
    return math.exp(shown)


def bound(rule: Rule, sample: Sample, alpha: float, *, lower: bool) -> float | None:
    """Return the one-sided bound at confidence 1 - alpha that the rule proves, rounded outwards; None if there is none.

    It is the limit at which the rule's p-value crosses alpha, to a 4096th of the sample's range.
    """
    if sample.is_open or not sample.rows or sample.kind == "percentile":
        return None
    if sample.kind == "resampled":
        return _bootstrap_bound(sample, alpha, lower=lower)
    low, high = _ends(sample)
    if math.isinf(low) or math.isinf(high):
        return None
    steps = _BOUND_STEPS

    def is_shown(step: int) -> bool:
        limit = low + (high - low) * step / steps
        return (rule.above if lower else rule.below)(sample, limit, alpha) <= alpha

    first, last = (0, steps) if lower else (steps, 0)
    while abs(last - first) > 1:
        middle = (first + last) // 2
        first, last = (middle, last) if is_shown(middle) else (first, middle)
    return low + (high - low) * first / steps


def _bootstrap_bound(sample: Sample, alpha: float, *, lower: bool) -> float:
    if lower:
        return bootstrap_lower(_expanded(sample.low), sample.observed, alpha)
    return -bootstrap_lower(_expanded(_mirrored(sample.high)), -sample.observed, alpha)


def _ends(sample: Sample) -> tuple[float, float]:
    if not math.isinf(sample.lowest):
        return sample.lowest, sample.highest
    n, mean, deviation = _moments(sample.low)
    half = _UNBOUNDED_DEVIATIONS * deviation / math.sqrt(n) if n > 1 else math.inf
    return mean - half, mean + half
