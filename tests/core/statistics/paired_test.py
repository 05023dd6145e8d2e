from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from llmops.core.statistics import Pairs, paired_above, paired_below, tango, tango_above
from llmops.core.statistics.paired import _discordances, _Region, tango_score


def outcomes(n: int) -> list[Pairs]:
    return [Pairs(gains, losses, n) for gains in range(n + 1) for losses in range(n + 1 - gains)]


def worst_chance(pairs: Pairs, limit: float, points: int) -> float:
    """Sum the multinomial over all outcomes that are as extreme, at many discordances."""
    least = tango_score(pairs, limit) - 1e-9
    table = [one for one in outcomes(pairs.n) if tango_score(one, limit) >= least]
    counts = np.array([(one.gains, one.losses, one.n - one.gains - one.losses) for one in table])
    return max(
        float(stats.multinomial.pmf(counts, pairs.n, [(d + limit) / 2, (d - limit) / 2, 1 - d]).sum())
        for d in np.linspace(abs(limit), 1, points)
    )


@pytest.mark.parametrize("limit", [-0.1, -0.05, 0.0, 0.1])
@pytest.mark.parametrize("pairs", [Pairs(0, 0, 30), Pairs(4, 1, 25), Pairs(9, 3, 40), Pairs(12, 2, 15)])
def test_the_p_value_is_the_largest_chance_over_all_discordances(pairs: Pairs, limit: float) -> None:
    expected = worst_chance(pairs, limit, 2000) if pairs.gains - pairs.losses > pairs.n * limit else 1.0
    found = paired_above(pairs, limit)
    assert min(1.0, expected) <= found <= expected * 1.0201 + 1e-12


def test_no_change_in_n_pairs_is_evidence_for_a_margin_as_far_as_n_losses_are_unlikely() -> None:
    assert paired_above(Pairs(0, 0, 58), -0.05) == pytest.approx(0.95**58 * 1.02, rel=1e-9)


def test_no_change_at_all_is_no_evidence_of_an_improvement() -> None:
    assert paired_above(Pairs(0, 0, 500), 0.0) == 1.0


@pytest.mark.parametrize("limit", [-0.3, -0.05, 0.0, 0.05, 0.2])
@pytest.mark.parametrize("n", [4, 11, 18])
def test_fewer_gains_or_more_losses_never_make_the_evidence_stronger(n: int, limit: float) -> None:
    for pairs in outcomes(n):
        for worse in (pairs._replace(gains=pairs.gains - 1), pairs._replace(losses=pairs.losses + 1)):
            if worse.gains >= 0 and worse.gains + worse.losses <= n:
                assert tango_score(worse, limit) <= tango_score(pairs, limit) + 1e-9
                assert paired_above(worse, limit) >= paired_above(pairs, limit) - 1e-12


def test_below_is_above_seen_in_the_mirror() -> None:
    assert paired_below(Pairs(3, 11, 60), -0.02) == paired_above(Pairs(11, 3, 60), 0.02)


def test_an_early_answer_is_on_the_same_side_of_what_is_enough() -> None:
    for gains, losses in itertools.product(range(0, 12, 3), range(0, 12, 3)):
        full, early = (paired_above(Pairs(gains, losses, 80), -0.06, enough) for enough in (1.0, 0.05))
        assert (full <= 0.05) == (early <= 0.05)


@pytest.mark.parametrize("pairs", [Pairs(43, 31, 100), Pairs(0, 6, 44), Pairs(1, 0, 20), Pairs(0, 0, 30)])
def test_tangos_score_is_that_of_the_constrained_maximum(pairs: Pairs) -> None:
    """The closed form against a search for the constrained maximum of the likelihood."""
    limit, n = 0.02, pairs.n
    grid = np.linspace(1e-12, (1 - limit) / 2 - 1e-12, 2_000_001)
    changed, same = pairs.gains + pairs.losses, n - pairs.gains - pairs.losses
    logs = pairs.losses * np.log(grid) + pairs.gains * np.log(grid + limit) + same * np.log(1 - limit - 2 * grid)
    loss = float(grid[int(np.argmax(logs))]) if changed else 0.0
    expected = (pairs.gains - pairs.losses - n * limit) / np.sqrt(n * (2 * loss + limit * (1 - limit)))
    assert tango_score(pairs, limit) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_tangos_interval_is_where_its_test_turns() -> None:
    pairs = Pairs(5, 14, 90)
    low, high = tango(pairs)
    assert tango_above(pairs, low) == pytest.approx(0.025, abs=1e-9)
    assert 1 - tango_above(pairs, high) == pytest.approx(0.025, abs=1e-9)


@pytest.mark.slow
def test_rows_that_each_have_chances_of_their_own_are_no_more_often_taken_for_better() -> None:
    """Exact chances of a wrong pass for fixed rows whose mean difference is the limit; one row may always lose."""
    n, limit, chooser = 20, -0.1, np.random.default_rng(4)
    passes = [(g, h) for g in range(n + 1) for h in range(n + 1 - g) if paired_above(Pairs(g, h, n), limit) <= 0.05]
    for _ in range(40):
        gains, losses = (chooser.dirichlet((0.3, 0.3, 0.6), n) * chooser.choice([0.2, 1.0])).T[:2]
        losses *= (gains.sum() - n * limit) / losses.sum()
        if (gains + losses).max() > 1.0:
            continue
        chances = np.zeros((n + 1, n + 1))
        chances[0, 0] = 1.0
        for gain, loss in zip(gains, losses, strict=True):
            moved = chances * (1.0 - gain - loss)
            moved[1:] += chances[:-1] * gain
            moved[:, 1:] += chances[:, :-1] * loss
            chances = moved
        assert sum(chances[place] for place in passes) <= 0.05


def test_between_the_points_of_the_grid_the_chance_is_at_most_two_percent_larger() -> None:
    counts = [Pairs(gains, losses, n) for n in (30, 90) for gains in range(0, 14, 2) for losses in range(8)]
    for pairs, limit in itertools.product(counts, (-0.08, -0.02, 0.03)):
        found = paired_above(pairs, limit)
        if found < 0.5:
            region = _Region(pairs, limit)
            fine = _discordances(pairs.n, abs(limit), 0.02, 0.04)
            assert found >= max(region.chance(discordance) for discordance in fine)
