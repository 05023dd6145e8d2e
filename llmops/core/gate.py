"""Judge a run: limits against metrics, never a yes by accident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmops.core.comparison import Difference
from llmops.core.limits import Gate, Threshold
from llmops.core.metrics import Finding, FindingOutcome, Metric, Outcome
from llmops.core.statistics import Interval
from llmops.errors import ExitCode

_SLACK = 1e-12
"""Numbers that differ by less are equal: 0.7 + 0.1 must satisfy a limit of 0.8."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the gate judges.

    Attributes:
        metrics: `evaluator.metric` to the candidate's metric.
        baseline: the same of the baseline; None without one.
        baseline_problem: why a baseline that exists could not be measured; empty otherwise.
        differences: `evaluator.metric` to the paired difference, for metrics that follow from row scores.
        rows: rows of the data set; failed and unmeasured: those of them that the candidate lost.
    """

    metrics: Mapping[str, Metric]
    baseline: Mapping[str, Metric] | None
    differences: Mapping[str, Difference]
    rows: int
    failed: int
    unmeasured: int
    baseline_problem: str = ""


def judge(gate: Gate, evidence: Evidence) -> list[Finding]:
    """Judge every limit.

    Returns:
        The findings for failed and unmeasured rows, then one for each limit of each threshold, in the order of the
        configuration. No finding passes when its metric is missing, is not a finite number or rests on no row.
    """
    findings = [_judge_failed(gate, evidence), _judge_unmeasured(gate, evidence)]
    for threshold in gate.thresholds:
        findings += _judge_threshold(threshold, evidence)
    return findings


def outcome(findings: Sequence[Finding]) -> Outcome:
    """Return `fail` if any limit is broken, else `inconclusive` if any is undecided, else `pass`."""
    outcomes = {finding.outcome for finding in findings}
    if "fail" in outcomes:
        return "fail"
    return "inconclusive" if "inconclusive" in outcomes else "pass"


def exit_code(findings: Sequence[Finding]) -> ExitCode:
    """Return the exit code: an undecided limit blocks unless its threshold says `warn`."""
    if any(finding.outcome == "fail" for finding in findings):
        return ExitCode.GATE_FAILED
    if any(finding.outcome == "inconclusive" and finding.blocks for finding in findings):
        return ExitCode.INCONCLUSIVE
    return ExitCode.PASS


def find_metric(name: str, metrics: Mapping[str, Metric]) -> Metric | None:
    """Find a metric by `evaluator.metric`, or by its bare name if just one evaluator reports it."""
    if name in metrics:
        return metrics[name]
    found = [metric for metric in metrics.values() if metric.name == name]
    return found[0] if len(found) == 1 else None


def _judge_failed(gate: Gate, evidence: Evidence) -> Finding:
    failed, unmeasured, limit = evidence.failed, evidence.unmeasured, gate.max_failed
    if failed > limit:
        verdict: FindingOutcome = "fail"
        message = f"{failed} of {evidence.rows} rows failed in the flow; {limit} may"
    elif failed + unmeasured > limit and unmeasured > gate.max_unmeasured:
        verdict, message = "inconclusive", f"{failed} rows failed and {unmeasured} were not measured; {limit} may fail"
    else:
        verdict, message = "pass", f"{failed} of {evidence.rows} rows failed"
    return Finding(
        metric="max_failed", limit=f"max_failed {limit}", outcome=verdict, value=float(failed), message=message
    )


def _judge_unmeasured(gate: Gate, evidence: Evidence) -> Finding:
    unmeasured, limit = evidence.unmeasured, gate.max_unmeasured
    within = unmeasured <= limit and evidence.rows > 0
    return Finding(
        metric="max_unmeasured",
        limit=f"max_unmeasured {limit}",
        outcome="pass" if within else "inconclusive",
        value=float(unmeasured),
        message=f"{unmeasured} of {evidence.rows} rows could not be measured" + ("" if within else f"; {limit} may"),
    )


def _judge_threshold(threshold: Threshold, evidence: Evidence) -> list[Finding]:
    metric = find_metric(threshold.metric, evidence.metrics)
    findings = []
    for kind in ("min", "max"):
        limit = getattr(threshold, kind)
        if limit is not None:
            findings.append(_judge_absolute(threshold, kind, limit, metric, evidence))
    if threshold.max_regression is not None:
        findings.append(_judge_regression(threshold, threshold.max_regression, metric, evidence))
    return findings


def _judge_absolute(
    threshold: Threshold, kind: str, limit: float, metric: Metric | None, evidence: Evidence
) -> Finding:
    label = f"{kind} {limit:g}"
    problem = _why_unusable(threshold.metric, metric, evidence)
    if metric is None or metric.value is None or problem:
        return _undecided(threshold, label, metric, problem)
    verdict = _compare(metric.value, metric.bounds, metric.unmeasured, limit, at_least=kind == "min")
    baseline = find_metric(threshold.metric, evidence.baseline) if evidence.baseline else None
    return Finding(
        metric=threshold.metric,
        limit=label,
        outcome=verdict,
        value=metric.value,
        baseline=baseline.value if baseline else None,
        difference=metric.value - baseline.value if baseline and baseline.value is not None else None,
        interval=metric.interval,
        blocks=threshold.on_inconclusive == "block",
        message=_say(verdict, f"{threshold.metric} is {metric.value:.4g}", label, metric.unmeasured),
    )


def _judge_regression(threshold: Threshold, limit: float, metric: Metric | None, evidence: Evidence) -> Finding:
    label = f"max_regression {limit:g}"
    if evidence.baseline is None and not evidence.baseline_problem:
        value = metric.value if metric else None
        return Finding(
            metric=threshold.metric, limit=label, outcome="skipped", value=value, message="there is no baseline"
        )
    baseline = find_metric(threshold.metric, evidence.baseline or {})
    problem = evidence.baseline_problem or _why_unusable(threshold.metric, metric, evidence)
    if not problem and (baseline is None or baseline.value is None):
        problem = f"the baseline has no value of {threshold.metric!r}" + (
            f": {baseline.note}" if baseline and baseline.note else ""
        )
    if metric is None or metric.value is None or baseline is None or baseline.value is None or problem:
        return _undecided(threshold, label, metric, problem)
    difference = evidence.differences.get(f"{metric.evaluator}.{metric.name}")
    change, bounds, unknown = metric.value - baseline.value, None, metric.unmeasured + baseline.unmeasured
    if difference is not None:
        if difference.value is None:
            return _undecided(threshold, label, metric, "no row was measured in both candidate and baseline")
        change, bounds, unknown = difference.value, difference.bounds, difference.unknown
    sign = 1.0 if metric.higher_is_better else -1.0
    signed_bounds = None if bounds is None else (min(sign * b for b in bounds), max(sign * b for b in bounds))
    verdict = _compare(sign * change, signed_bounds, unknown, -limit, at_least=True)
    words = f"{threshold.metric} went from {baseline.value:.4g} to {metric.value:.4g}"
    return Finding(
        metric=threshold.metric,
        limit=label,
        outcome=verdict,
        value=metric.value,
        baseline=baseline.value,
        difference=change,
        interval=difference.interval if difference else None,
        blocks=threshold.on_inconclusive == "block",
        message=_say(verdict, words, label, unknown),
    )


def _compare(value: float, bounds: Interval | None, unknown: int, limit: float, *, at_least: bool) -> FindingOutcome:
    """Compare with a limit so that the answer holds whatever the rows that nobody measured would have been."""
    if unknown and bounds is None:
        return "inconclusive"
    low, high = bounds if unknown and bounds is not None else (value, value)
    keeps_low = low >= limit - _SLACK if at_least else high <= limit + _SLACK
    keeps_high = high >= limit - _SLACK if at_least else low <= limit + _SLACK
    if keeps_low:
        return "pass"
    return "inconclusive" if keeps_high else "fail"


def _why_unusable(name: str, metric: Metric | None, evidence: Evidence) -> str:
    if metric is None:
        reported = ", ".join(sorted(evidence.metrics)) or "nothing"
        return f"no evaluator reported {name!r} (reported: {reported})"
    if metric.note:
        return metric.note
    if metric.value is None or metric.n == 0:
        return f"{name!r} rests on no measured row"
    if metric.failed and metric.bounds is None:
        return f"{metric.failed} rows failed and {name!r} does not say how they count (declare its `score` and bounds)"
    return ""


def _undecided(threshold: Threshold, label: str, metric: Metric | None, problem: str) -> Finding:
    return Finding(
        metric=threshold.metric,
        limit=label,
        outcome="inconclusive",
        value=metric.value if metric else None,
        blocks=threshold.on_inconclusive == "block",
        message=problem,
    )


def _say(verdict: FindingOutcome, words: str, label: str, unknown: int) -> str:
    ends = {"pass": f"{words}, within {label}", "fail": f"{words}, which breaks {label}"}
    return ends.get(verdict, f"{words}; {unknown} rows that nobody measured could decide {label} either way")
