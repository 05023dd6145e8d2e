"""What the rows prove about each limit that asks for confidence, as the same table in every report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmops.core.metrics import Finding
from llmops.records import VerdictRecord
from llmops.reports.numbers import MISSING, format_chance, format_difference, format_interval, format_number
from llmops.reports.summary import limit_number, name_limit


class EvidenceRow(NamedTuple):
    """One limit.

    Attributes:
        estimate: the value, or the change against the baseline, with its two-sided interval.
        shown: what the rule that decides proves, each side by itself.
        p_violated: p-value of "the limit is violated", which a pass needs to be small; p_kept: that of "the limit
            holds", adjusted for the number of limits, which a fail needs to be small.
        power: what so many rows can find.
    """

    limit: str
    estimate: str
    shown: str
    p_violated: str
    p_kept: str
    rule: str
    power: str


HEADS = EvidenceRow("Limit", "Estimate", "Shown", "p of violated", "Adjusted p of kept", "Rule", "Power")


def evidence_rows(verdict: VerdictRecord) -> Sequence[EvidenceRow]:
    """Write a row for each finding that rests on p-values, in the order of the gate."""
    return [_row(finding) for finding in verdict.findings if finding.p_adjusted is not None]


def _row(finding: Finding) -> EvidenceRow:
    is_change = finding.limit.startswith("max_regression")
    alpha = 1.0 - (finding.confidence or 0.0)
    number = format_difference(finding.difference) if is_change else _value(finding)
    return EvidenceRow(
        limit=name_limit(finding),
        estimate=f"{number} {format_interval(finding.interval)}".rstrip(),
        shown=_shown(finding),
        p_violated=format_chance(finding.p_pass, alpha=alpha),
        p_kept=format_chance(finding.p_adjusted, alpha=alpha),
        rule=finding.rule if finding.is_guaranteed else f"{finding.rule}, approximate",
        power=finding.power or MISSING,
    )


def _value(finding: Finding) -> str:
    return format_number(finding.value, apart_from=limit_number(finding))


def _shown(finding: Finding) -> str:
    if finding.bounds is None:
        return MISSING
    low, high = map(format_number, finding.bounds)
    return f"at least {low}, at most {high}"
