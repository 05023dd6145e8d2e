"""A verdict as one self-contained HTML page; see `page`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmops.records import EvaluationRecord, RunRecord, VerdictRecord
from llmops.reports.distribution_chart import draw_distribution
from llmops.reports.evidence_table import HEADS, evidence_rows
from llmops.reports.interval_chart import IntervalChart, draw_intervals
from llmops.reports.numbers import format_number
from llmops.reports.page import readable_time, render_page
from llmops.reports.row_cards import RowCard, build_cards
from llmops.reports.summary import (
    STAND_IN_LABEL,
    MetricSummary,
    cloud_link,
    describe_changes,
    describe_commit,
    describe_findings,
    describe_outcome,
    describe_rows,
    describe_usage,
    findings_to_read,
    limit_number,
    name_limit,
    notes_of,
    say_outcome,
    summarize_metrics,
)
from llmops.reports.trend_chart import TrendChart, TrendLimit, TrendPoint, draw_trend, is_drawable

_FILTERS: Sequence[tuple[str, str]] = (
    ("all", "All"),
    ("regressed", "Regressed"),
    ("improved", "Improved"),
    ("failed", "Failed"),
    ("unmeasured", "Unmeasured"),
)
TRENDS_SHOWN = 8
POINTS_DRAWN = 180
_CHANGES = ("regressed", "improved")


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One line of the metrics table.

    Attributes:
        value: the candidate's, with digits enough to be told from the first limit.
        direction: `better` or `worse` than the baseline; empty when neither is known.
        remarks: sentences below the name.
    """

    summary: MetricSummary
    value: str
    direction: str
    chart: IntervalChart | None
    remarks: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """One choice of the row filter with the number of rows that it shows."""

    value: str
    label: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line of the table of what ran; `baseline` is None without a baseline."""

    name: str
    candidate: str
    baseline: str | None


def render(verdict: VerdictRecord) -> str:
    """Write a verdict as an HTML page that works offline, without JavaScript, on a phone and on paper."""
    cards = build_cards(verdict)
    judged, unjudged = _metric_rows(verdict)
    return render_page(
        "report.html.j2",
        script="report.js",
        verdict=verdict,
        stand_in_label=STAND_IN_LABEL.capitalize(),
        judged=judged,
        unjudged=unjudged,
        evidence_heads=HEADS,
        evidence=evidence_rows(verdict),
        findings=[*findings_to_read(verdict), *(f for f in verdict.findings if f.outcome == "pass")],
        created=readable_time(verdict.created_at),
        flips_left_out=max(0, verdict.regressed + verdict.improved - len(verdict.flipped)),
        notes=notes_of(verdict),
        cards=cards,
        filters=_count_filters(cards, verdict),
        facts=_list_facts(verdict),
        usages=describe_usage(verdict),
        distributions=[chart for one in verdict.distributions if (chart := draw_distribution(one))],
        trends=_draw_past(verdict),
        cloud_link=cloud_link(verdict.candidate.run),
        name_limit=name_limit,
        say_outcome=say_outcome,
        describe_outcome=describe_outcome,
        describe_findings=describe_findings,
        describe_rows=describe_rows,
        describe_changes=describe_changes,
    )


def _metric_rows(verdict: VerdictRecord) -> tuple[Sequence[MetricRow], Sequence[MetricRow]]:
    """Split the metrics into those that a limit judges and the others."""
    rows = [_metric_row(summary) for summary in summarize_metrics(verdict)]
    return [row for row in rows if row.summary.findings], [row for row in rows if not row.summary.findings]


def _metric_row(summary: MetricSummary) -> MetricRow:
    first = summary.findings[0] if summary.findings else None
    value = format_number(summary.metric.value, apart_from=limit_number(first))
    return MetricRow(
        summary=summary,
        value=value,
        direction=_direction(summary),
        chart=draw_intervals(summary),
        remarks=_remarks(summary),
    )


def _direction(summary: MetricSummary) -> str:
    if not summary.difference:
        return ""
    return "better" if (summary.difference > 0) == summary.metric.higher_is_better else "worse"


def _remarks(summary: MetricSummary) -> Sequence[str]:
    metric = summary.metric
    remarks = [] if metric.higher_is_better else ["Lower is better."]
    if metric.value is None:
        remarks.append("Not reported as a number.")
    if metric.unmeasured and metric.bounds:
        low, high = map(format_number, metric.bounds)
        remarks.append(f"Between {low} and {high}, whatever the unmeasured rows would have been.")
    if metric.reported is not None and metric.value is not None and metric.reported != metric.value:
        remarks.append(f"The evaluator itself reported {format_number(metric.reported, apart_from=metric.value)}.")
    return [*remarks, *([metric.note] if metric.note else [])]


def _draw_past(verdict: VerdictRecord) -> Sequence[tuple[str, TrendChart]]:
    """Draw what the main branch had, metric by metric, with what was measured now at the end; the gate's first."""
    trends = []
    for summary in summarize_metrics(verdict):
        metric = summary.metric
        name = f"{metric.evaluator}.{metric.name}"
        past = [value for value in verdict.past if value.metric == name and is_drawable(value.value)]
        if not past or metric.value is None or not is_drawable(metric.value):
            continue
        points = [
            TrendPoint(day=one.at[:10], value=one.value, interval=one.interval, outcome="none")
            for one in past[-POINTS_DRAWN:]
        ]
        outcomes = {finding.outcome for finding in summary.findings}
        outcome = next((one for one in ("fail", "inconclusive", "pass") if one in outcomes), "none")
        day = verdict.created_at[:10]
        now = TrendPoint(day=day, value=metric.value, interval=metric.interval, outcome=outcome, change="candidate")
        if chart := draw_trend(name, [*points, now], _fixed_limits(summary)):
            trends.append((name, chart))
    return trends[:TRENDS_SHOWN]


def _fixed_limits(summary: MetricSummary) -> Sequence[TrendLimit]:
    kinds = ((finding, finding.limit.partition(" ")[0]) for finding in summary.findings if not finding.slice)
    found = ((limit_number(finding), kind) for finding, kind in kinds if kind in ("min", "max"))
    return [TrendLimit(value=value, is_minimum=kind == "min") for value, kind in found if is_drawable(value)]


def _count_filters(cards: Sequence[RowCard], verdict: VerdictRecord) -> Sequence[Filter]:
    """Offer the choices that can show a row: nothing regresses or improves without a baseline."""
    choices = _FILTERS if verdict.baseline else [(value, label) for value, label in _FILTERS if value not in _CHANGES]
    counts = Counter([*(card.change for card in cards), *(card.status for card in cards)])
    counts["all"] = len(cards)
    return [Filter(value=value, label=label, rows=counts[value]) for value, label in choices]


def _list_facts(verdict: VerdictRecord) -> Sequence[Fact]:
    ours = _describe_run(verdict.candidate)
    theirs = _describe_run(verdict.baseline) if verdict.baseline else None
    facts = [Fact(name=name, candidate=text, baseline=theirs[name] if theirs else None) for name, text in ours.items()]
    return [fact for fact in facts if fact.candidate or fact.baseline]


def _describe_run(evaluation: EvaluationRecord) -> Mapping[str, str]:
    run = evaluation.run
    return {
        "Flow": run.flow.path,
        "Digest": run.flow.digest,
        "Commit": describe_commit(run.flow)
        if run.flow.commit is None
        else f"{describe_commit(run.flow)} ({run.flow.commit})",
        "Variants": _join(run.flow.variants),
        "Model": STAND_IN_LABEL if run.stand_in else "",
        "Connections": _join(run.connections),
        "Data set": f"{run.dataset.name}: {run.dataset.path}, {run.dataset.rows} rows, {run.dataset.digest}",
        "Column mapping": _join(run.column_mapping),
        "Repeats": str(run.repeats),
        "Lines": _count_lines(run),
        "Latency": ", ".join(f"{name} {format_number(round(value, 3))} s" for name, value in run.latency_s.items()),
        "Tokens": _join(run.tokens),
        "Cost": "" if run.cost_usd is None else f"${format_number(run.cost_usd)}",
        "Evaluators": _join(evaluation.evaluators),
        "Started": run.started_at,
        "Ended": run.ended_at,
        "Versions": _join(run.versions),
        "Run": run.id,
    }


def _count_lines(run: RunRecord) -> str:
    states = f"{run.completed} completed, {run.failed} failed, {run.unmeasured} unmeasured"
    return f"{states}, {run.cached} from the cache"


def _join(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
