"""How what serves now compares with what was recorded of it: numbers with numbers, since the rows of then are gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from llmops.core.limits import Gate, Threshold
from llmops.core.metrics import Finding, FindingOutcome, Metric

_KIND = "max_regression "


class Reading(NamedTuple):
    """A metric as it was recorded."""

    value: float
    interval: tuple[float, float] | None = None


def judge_since(
    gate: Gate, finding: Finding, now: Metric | None, find: Callable[[str], Reading | None], *, called: str
) -> Finding:
    """Judge a regression limit that nothing was compared with, by what was recorded; any other finding stays as it is.

    Without `confidence` the numbers are compared as they are. With it, the 95 % intervals of both numbers decide: the
    limit fails when they are further apart than it allows, passes when they cannot be, and is inconclusive between the
    two, which does not block: only rows that are paired could tell more, and those of then are gone.

    Args:
        gate: that made the finding.
        finding: of a verdict without a baseline.
        now: the metric that it is about.
        find: the metric's name, as the threshold gives it, to what was recorded of it.
        called: what the record is called, for people.
    """
    threshold = _threshold_of(gate, finding)
    then = find(finding.metric) if threshold and finding.outcome == "skipped" and not finding.slice else None
    if threshold is None or then is None:
        return finding
    if now is None or now.value is None:
        said = f"{finding.metric} has no value now; it was {then.value:.4g} in {called}"
        return replace(finding, outcome="inconclusive", baseline=then.value, message=said)
    allowed = threshold.max_regression or 0.0
    sign = 1.0 if now.higher_is_better else -1.0
    worse = sign * (then.value - now.value)
    least, most = (worse, worse)
    if gate.confidence_of(threshold) is not None:
        least, most = _bounds(now, then, sign)
    outcome: FindingOutcome = "fail" if least > allowed else "pass" if most <= allowed else "inconclusive"
    change = f"worse by {worse:.4g}, {allowed:.4g} may be" if worse > 0 else "not worse"
    unsure = "; the intervals of both do not tell" if outcome == "inconclusive" else ""
    return replace(
        finding,
        outcome=outcome,
        value=now.value,
        baseline=then.value,
        difference=now.value - then.value,
        blocks=finding.blocks and outcome != "inconclusive",
        message=f"{finding.metric} is {now.value:.4g} now and was {then.value:.4g} in {called}: {change}{unsure}",
    )


def _bounds(now: Metric, then: Reading, sign: float) -> tuple[float, float]:
    """Return by how much it is worse at least and at most, if both numbers are inside of their intervals."""
    if now.interval is None or then.interval is None:
        return float("-inf"), float("inf")
    ours, theirs = now.interval, then.interval
    low, high = (theirs[0] - ours[1], theirs[1] - ours[0]) if sign > 0 else (ours[0] - theirs[1], ours[1] - theirs[0])
    return low, high


def _threshold_of(gate: Gate, finding: Finding) -> Threshold | None:
    if not finding.limit.startswith(_KIND):
        return None
    return next((one for one in gate.thresholds if one.metric == finding.metric), None)
