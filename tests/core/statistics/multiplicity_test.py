from __future__ import annotations

import pytest
from statsmodels.stats.multitest import multipletests

from llmops.core.statistics import holm, holm_in_shares

P_VALUES = [0.01, 0.2, 0.004, 0.03, 0.5, 0.0]


def test_holm_agrees_with_statsmodels() -> None:
    assert holm(P_VALUES) == pytest.approx(multipletests(P_VALUES, method="holm")[1].tolist(), abs=1e-12)


def test_critical_limits_alone_have_all_of_the_error() -> None:
    assert holm_in_shares(P_VALUES, [True] * 6, 0.2) == holm(P_VALUES)


def test_each_group_has_its_share() -> None:
    found = holm_in_shares([0.01, 0.02, 0.03], [True, False, False], 0.4)
    assert found == pytest.approx([0.01 / 0.4, 0.04 / 0.6, 0.04 / 0.6])
