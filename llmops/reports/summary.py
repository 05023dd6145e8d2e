"""What every report says of a verdict, whatever it looks like."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmops.core.latency import PERCENTILES
from llmops.core.metrics import Finding, FindingOutcome, Metric
from llmops.records import EvaluationRecord, FlowRef, RowComparison, RunRecord, VerdictRecord
from llmops.reports.numbers import count, format_number

_STUDIO = re.compile(r"https://(ml\.azure\.com|ml\.azure\.us|studio\.ml\.azure\.cn)/[A-Za-z0-9/_.~?=&%:-]{1,1000}")

STAND_IN_LABEL = "stand-in model, not a real model"

OUTCOME_WORDS: dict[FindingOutcome, str] = {
    "pass": "passed",
    "fail": "failed",
    "inconclusive": "inconclusive",
    "skipped": "not judged",
}


@dataclass(frozen=True, kw_only=True)
class MetricSummary:
    """One metric of the candidate beside the baseline's, with what the gate says of it.

    Attributes:
        baseline: None without a baseline, and when the baseline does not report this metric.
        difference: candidate minus baseline; None unless both have a value.
        findings: in the order of the gate; empty when no threshold names the metric.
    """

    metric: Metric
    baseline: Metric | None
    difference: float | None
    findings: Sequence[Finding]


def summarize_metrics(verdict: VerdictRecord) -> Sequence[MetricSummary]:
    """Join metrics, baseline and findings; metrics that the gate judges come first, else the record's order."""
    baseline = verdict.baseline.metrics if verdict.baseline else ()
    theirs = {(metric.evaluator, metric.name): metric for metric in baseline}
    summaries = [
        _summarize(metric, theirs.get((metric.evaluator, metric.name)), _findings_on(metric, verdict))
        for metric in verdict.candidate.metrics
    ]
    return sorted(summaries, key=lambda summary: not summary.findings)


def other_findings(verdict: VerdictRecord) -> Sequence[Finding]:
    """Give the findings on no reported metric: row counts, and metrics that no evaluator reported."""
    return [finding for finding in verdict.findings if metric_of(finding, verdict.candidate) is None]


def metric_of(finding: Finding, evaluation: EvaluationRecord) -> Metric | None:
    """Find the metric that a finding speaks of, by its name or by `evaluator.name`."""
    names = ((metric, (metric.name, f"{metric.evaluator}.{metric.name}")) for metric in evaluation.metrics)
    return next((metric for metric, known in names if finding.metric in known), None)


def describe_outcome(verdict: VerdictRecord) -> str:
    """Say the outcome in a word or three, for instance `failed` or `inconclusive, does not block`."""
    word = OUTCOME_WORDS[verdict.outcome]
    return f"{word}, does not block" if verdict.outcome != "pass" and verdict.exit_code == 0 else word


def describe_findings(verdict: VerdictRecord) -> str:
    """Count the limits by outcome in one sentence."""
    if not verdict.findings:
        return "No limit was judged."
    outcomes: Sequence[FindingOutcome] = ("fail", "inconclusive", "pass", "skipped")
    tally = ((sum(f.outcome == outcome for f in verdict.findings), OUTCOME_WORDS[outcome]) for outcome in outcomes)
    parts = ", ".join(f"{number} {word}" for number, word in tally if number)
    return f"{count(len(verdict.findings), 'limit')}: {parts}."


def describe_rows(evaluation: EvaluationRecord) -> str:
    """Count the rows of a run by status in one sentence."""
    counts = f"{evaluation.scored} scored, {evaluation.failed} failed, {evaluation.unmeasured} unmeasured"
    return f"{count(evaluation.rows, 'row')}: {counts}."


def describe_changes(verdict: VerdictRecord) -> str:
    """Count the rows that changed against the baseline, or say why there is none, in one sentence."""
    if verdict.baseline is None:
        return f"No baseline: {verdict.baseline_reason or 'none was asked for'}."
    flow = verdict.baseline.run.flow
    against = flow.ref or (flow.commit[:7] if flow.commit else "the baseline")
    if not verdict.compares_rows:
        return f"Against {against}: numbers only, no rows."
    return f"Against {against}: {count(verdict.regressed, 'row')} regressed, {verdict.improved} improved."


def describe_commit(flow: FlowRef) -> str:
    """Say at which commit a flow was read: `1f3c2d1`, `1f3c2d1 with changes`, `origin/main at 1f3c2d1`."""
    if flow.commit is None:
        return flow.ref or "no commit"
    at = f"{flow.ref} at {flow.commit[:7]}" if flow.ref else flow.commit[:7]
    return f"{at} with changes" if flow.dirty else at


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a line took on average or at a percentile, with its unit; empty where it is not known."""

    name: str
    candidate: str
    baseline: str


def describe_usage(verdict: VerdictRecord) -> Sequence[Usage]:
    """Say how long a line took, its tokens and its cost, beside the baseline's; what neither side knows is left out."""
    ours = _usage_of(verdict.candidate.run)
    theirs = _usage_of(verdict.baseline.run) if verdict.baseline else {}
    usages = [Usage(name=name, candidate=text, baseline=theirs.get(name, "")) for name, text in ours.items()]
    return [one for one in usages if one.candidate or one.baseline]


def _usage_of(run: RunRecord) -> Mapping[str, str]:
    latency = {f"latency {name}": _seconds(run.latency_s.get(name)) for name in PERCENTILES}
    tokens, cost = run.tokens.get("total"), run.cost_usd
    return {
        **latency,
        "tokens": format_number(tokens / run.lines) if tokens and run.lines else "",
        "cost": f"${format_number(cost / run.lines)}" if cost is not None and run.lines else "",
    }


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{format_number(round(value, 3))} s"


def cloud_link(run: RunRecord) -> str:
    """Give the address of the run in Azure's studio; empty when there is none, or when it leads elsewhere.

    A record may come from code of a pull request, and no report links to where that code wants.
    """
    return run.link if _STUDIO.fullmatch(run.link) else ""


def notes_of(verdict: VerdictRecord) -> Sequence[str]:
    """Give the notes to show beside the stand-in label, which every report shows by itself."""
    return [note for note in verdict.notes if not (verdict.stand_in and STAND_IN_LABEL in note.lower())]


def findings_to_read(verdict: VerdictRecord) -> Sequence[Finding]:
    """Give the findings that did not pass, failures first."""
    return sorted((f for f in verdict.findings if f.outcome != "pass"), key=lambda f: f.outcome != "fail")


def say_outcome(finding: Finding) -> str:
    """Say a finding's outcome in a word, and whether it only warns."""
    if finding.outcome == "skipped":
        return "not judged"
    return finding.outcome if finding.blocks or finding.outcome == "pass" else f"{finding.outcome}, warns"


def count_measured(metric: Metric) -> str:
    """Say on how many rows a metric rests and how many were lost: `19, 1 failed`; zeros are left out."""
    lost = ((metric.failed, "failed"), (metric.unmeasured, "unmeasured"))
    return ", ".join([str(metric.n), *(f"{number} {word}" for number, word in lost if number)])


def name_limit(finding: Finding) -> str:
    """Name a limit with its metric once: `accuracy: min 0.8`, `max_failed 0`."""
    return finding.limit if finding.limit.startswith(finding.metric) else f"{finding.metric}: {finding.limit}"


def say(finding: Finding) -> str:
    """Give the sentence of a finding; it names the metric, whether or not the gate's message does."""
    message = finding.message or OUTCOME_WORDS[finding.outcome]
    return message if finding.metric in message else f"{name_limit(finding)}: {message}"


def limit_number(finding: Finding | None) -> float | None:
    """Read the number in a finding's limit, as in `min 0.8`; None when there is none."""
    words = finding.limit.split() if finding else []
    try:
        number = float(words[1])
    except (IndexError, ValueError):
        return None
    return number if math.isfinite(number) else None


def rows_to_show(verdict: VerdictRecord) -> Sequence[RowComparison]:
    """Join the flipped and the worst rows without doubles, worst first."""
    rows = {row.row: row for row in (*verdict.flipped, *verdict.worst)}
    return sorted(rows.values(), key=lambda row: (-row.badness, row.row))


def _summarize(metric: Metric, baseline: Metric | None, findings: Sequence[Finding]) -> MetricSummary:
    ours, theirs = metric.value, baseline.value if baseline else None
    difference = None if ours is None or theirs is None else ours - theirs
    return MetricSummary(metric=metric, baseline=baseline, difference=difference, findings=findings)


def _findings_on(metric: Metric, verdict: VerdictRecord) -> Sequence[Finding]:
    return [finding for finding in verdict.findings if metric_of(finding, verdict.candidate) is metric]
