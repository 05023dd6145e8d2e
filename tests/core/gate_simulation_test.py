"""The simulation of `benchmarks/gate_simulation.py`, short and seeded."""

from __future__ import annotations

import pytest

from benchmarks.gate_simulation import ALPHA, Cell, errors_of, list_cells, simulate

PULLS = 400

CELLS = [
    Cell(n=60, points=-5.0, discordance=0.2),
    Cell(n=120, points=-6.0, discordance=0.1),
    Cell(n=120, points=-5.0, discordance=0.15, metrics=20),
    Cell(n=60, points=-5.0, discordance=0.15, metrics=5, is_correlated=True, failed=0.05, unmeasured=0.02),
    Cell(n=60, points=0.0, discordance=0.3, design="absolute", metrics=5, unmeasured=0.02),
    Cell(n=120, points=-5.0, discordance=0.2, design="sequential"),
    Cell(n=15, points=-5.0, discordance=0.2, noise=0.1, design="repeats", looks=10),
    Cell(n=60, points=-5.0, discordance=0.2, design="this_dataset"),
]


def test_at_least_two_hundred_different_situations_are_simulated() -> None:
    cells = list_cells()
    assert len(cells) == len(set(cells)) >= 200
    assert {cell.design for cell in cells} == {"fixed", "absolute", "repeats", "sequential", "this_dataset"}
    assert max(cell.looks for cell in cells) == 50


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_wrong_answers_stay_within_the_error_rate(cell: Cell) -> None:
    tally = simulate(cell, PULLS, seed=7)
    assert tally.pulls == PULLS
    for error in errors_of(cell, tally, cells=len(CELLS)):
        assert error.low <= ALPHA, error


@pytest.mark.slow
def test_rerunning_the_rule_of_the_mean_lets_nearly_all_regressions_through() -> None:
    tally = simulate(Cell(n=60, points=-6.0, discordance=0.2), PULLS, seed=7)
    assert tally.peers["re-run"] > 0.9
    assert tally.passed / PULLS < 0.05


@pytest.mark.slow
def test_drawing_rows_one_by_one_takes_half_of_them_where_the_truth_is_far_from_the_limit() -> None:
    tally = simulate(Cell(n=510, points=5.0, discordance=0.2, design="sequential"), PULLS, seed=7)
    assert tally.rows <= 510 / 2
    assert tally.passed > 0.9 * PULLS
