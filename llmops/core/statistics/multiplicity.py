"""Many limits at once."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p-values, in the given order: rejecting those up to alpha errs at all with at most alpha.

    Holds for any dependence between the p-values.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def holm_in_shares(p_values: Sequence[float], critical: Sequence[bool], critical_share: float) -> list[float]:
    """Return adjusted p-values where the critical limits have their own share of alpha and the others the rest.

    Each group is adjusted by Holm and divided by its share; a group that is alone has all of it.

    Args:
        critical_share: above 0 and below 1.

    Source: Holm (1979) within the groups, Bonferroni's inequality between them.
    """
    if not any(critical) or all(critical):
        return holm(p_values)
    adjusted = [0.0] * len(p_values)
    for is_critical, share in ((True, critical_share), (False, 1.0 - critical_share)):
        group = [index for index, mark in enumerate(critical) if mark == is_critical]
        for index, value in zip(group, holm([p_values[i] for i in group]), strict=True):
            adjusted[index] = min(1.0, value / share)
    return adjusted
