"""What every report says of a verdict."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

from llmops.records import FlowRef
from llmops.reports.summary import (
    cloud_link,
    count_measured,
    describe_changes,
    describe_commit,
    describe_findings,
    describe_outcome,
    describe_rows,
    describe_usage,
    findings_to_read,
    limit_number,
    notes_of,
    other_findings,
    rows_to_show,
    say,
    summarize_metrics,
)
from tests.reports.verdicts import ACCURACY, build_evaluation, build_finding, build_verdict, failed_verdict

RECALL = dataclasses.replace(ACCURACY, name="recall", evaluator="classes")


def test_metrics_are_joined_with_the_baseline_and_their_findings() -> None:
    summary = summarize_metrics(failed_verdict())[0]
    assert summary.difference == pytest.approx(-0.25)
    assert [finding.limit for finding in summary.findings] == ["min 0.8", "max_regression 0.03"]


def test_a_metric_that_one_side_lacks_has_no_difference() -> None:
    verdict = failed_verdict(candidate=build_evaluation(ACCURACY, RECALL))
    assert [summary.difference for summary in summarize_metrics(verdict)] == [0.0, None]


def test_a_threshold_may_name_the_evaluator_too() -> None:
    finding = build_finding(metric="classes.recall")
    verdict = build_verdict(candidate=build_evaluation(ACCURACY, RECALL), findings=(finding,))
    assert [summary.metric.name for summary in summarize_metrics(verdict)] == ["recall", "accuracy"]
    assert other_findings(verdict) == []


def test_findings_on_no_metric_are_kept_apart() -> None:
    assert [finding.metric for finding in other_findings(failed_verdict())] == ["max_failed", "max_unmeasured"]


def test_findings_to_read_are_those_that_did_not_pass_failures_first() -> None:
    findings = [build_finding(outcome=outcome) for outcome in ("pass", "inconclusive", "fail")]
    assert [f.outcome for f in findings_to_read(build_verdict(findings=findings))] == ["fail", "inconclusive"]


def test_sentences_count_limits_rows_and_changes() -> None:
    verdict = failed_verdict()
    assert describe_findings(verdict) == "4 limits: 3 failed, 1 inconclusive."
    assert describe_rows(verdict.candidate) == "20 rows: 18 scored, 1 failed, 1 unmeasured."
    assert describe_changes(verdict) == "Against origin/main: 3 rows regressed, 1 improved."
    assert describe_findings(build_verdict(findings=())) == "No limit was judged."


def test_a_verdict_that_does_not_block_says_so() -> None:
    assert describe_outcome(build_verdict(outcome="inconclusive", exit_code=11)) == "inconclusive"
    assert describe_outcome(build_verdict(outcome="inconclusive", exit_code=0)) == "inconclusive, does not block"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "no commit"),
        ({"ref": "origin/main"}, "origin/main"),
        ({"commit": "1f3c2d1aaa"}, "1f3c2d1"),
        ({"commit": "1f3c2d1aaa", "dirty": True}, "1f3c2d1 with changes"),
        ({"commit": "1f3c2d1aaa", "ref": "v1"}, "v1 at 1f3c2d1"),
    ],
)
def test_a_commit_is_described(fields: dict[str, str], text: str) -> None:
    assert describe_commit(FlowRef(path="f", digest="sha256:0", **fields)) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limit", "number"),
    [("min 0.8", 0.8), ("max_regression 3e-2 of x", 0.03), ("min", None), ("min x", None), ("min inf", None)],
)
def test_the_number_of_a_limit_is_read(limit: str, number: float | None) -> None:
    assert limit_number(build_finding(limit=limit)) == number


def test_the_stand_in_note_is_not_said_twice() -> None:
    notes = ("The stand-in model, not a real model, answered.", "another")
    assert notes_of(build_verdict(notes=notes, stand_in=True)) == ["another"]
    assert notes_of(build_verdict(notes=notes)) == list(notes)


def test_rows_are_shown_once_and_worst_first() -> None:
    assert [row.row for row in rows_to_show(failed_verdict())] == [8, 12, 3, 17, 9, 5]


def test_lost_rows_are_counted_and_a_finding_without_a_message_still_speaks() -> None:
    assert count_measured(dataclasses.replace(ACCURACY, unmeasured=2)) == "20, 2 unmeasured"
    assert say(build_finding()) == "accuracy: min 0.8: passed"


def test_what_a_line_took_stands_beside_the_baselines() -> None:
    ours = build_evaluation()
    run = replace(ours.run, latency_s={"p50": 0.5, "p95": 1.25}, tokens={"total": 400}, cost_usd=0.02)
    theirs = replace(ours.run, latency_s={"p50": 0.4, "p95": 1.0}, tokens={}, cost_usd=None)
    verdict = build_verdict(candidate=replace(ours, run=run), baseline=replace(ours, run=theirs))
    assert [(one.name, one.candidate, one.baseline) for one in describe_usage(verdict)] == [
        ("latency p50", "0.5 s", "0.4 s"),
        ("latency p95", "1.25 s", "1 s"),
        ("tokens", "20", ""),
        ("cost", "$0.001", ""),
    ]


def test_what_is_not_known_of_a_line_is_left_out() -> None:
    run = replace(build_evaluation().run, tokens={}, cost_usd=None, latency_s={})
    assert describe_usage(build_verdict(candidate=replace(build_evaluation(), run=run))) == []


@pytest.mark.parametrize(
    ("link", "is_shown"),
    [
        ("https://ml.azure.com/prompts/flow/bulkrun/run/a-b_c/details?wsid=/subscriptions/1", True),
        ("https://ml.azure.com.evil.example/run", False),
        ("https://evil.example/https://ml.azure.com/", False),
        ("https://ml.azure.com/a)](https://evil.example/", False),
        ("https://ml.azure.com@evil.example/", False),
        ("javascript:alert(1)", False),
        ("", False),
    ],
)
def test_a_run_in_the_cloud_is_linked_only_where_the_studio_is(link: str, *, is_shown: bool) -> None:
    assert cloud_link(replace(build_evaluation().run, link=link)) == (link if is_shown else "")
