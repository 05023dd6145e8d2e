"""What serves now against what was recorded of it: by the numbers, or by both intervals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmops.core.limits import Gate, Threshold
from llmops.core.metrics import Finding, Metric
from llmops.core.since_record import Reading, judge_since

SKIPPED = Finding(metric="accuracy", limit="max_regression 0.1", outcome="skipped", message="there is no baseline")


def metric(value: float | None, *, interval: tuple[float, float] | None = None, is_better: bool = True) -> Metric:
    return Metric(
        name="accuracy", evaluator="quality", value=value, kind="proportion", n=20, failed=0, unmeasured=0,
        higher_is_better=is_better, interval=interval,
    )  # fmt: skip


def judge(
    now: Metric | None, then: Reading | None, *, confidence: float | None = None, finding: Finding = SKIPPED
) -> Finding:
    gate = Gate(thresholds=[Threshold(metric="accuracy", min=0.5, max_regression=0.1, confidence=confidence)])
    return judge_since(gate, finding, now, lambda _: then, called="version 3")


@pytest.mark.parametrize(("value", "outcome"), [(0.95, "pass"), (0.8125, "pass"), (0.75, "fail"), (0.0, "fail")])
def test_without_confidence_the_numbers_are_compared(value: float, outcome: str) -> None:
    assert judge(metric(value), Reading(0.875)).outcome == outcome


def test_where_lower_is_better_more_is_worse() -> None:
    assert judge(metric(0.5, is_better=False), Reading(0.2)).outcome == "fail"
    assert judge(metric(0.1, is_better=False), Reading(0.9)).outcome == "pass"


@pytest.mark.parametrize(
    ("interval", "outcome", "blocks"),
    [((0.60, 0.70), "fail", True), ((0.70, 0.90), "inconclusive", False), ((0.88, 0.99), "pass", True)],
)
def test_with_confidence_both_intervals_decide(interval: tuple[float, float], outcome: str, *, blocks: bool) -> None:
    found = judge(metric(sum(interval) / 2, interval=interval), Reading(0.9, (0.85, 0.95)), confidence=0.95)
    assert (found.outcome, found.blocks) == (outcome, blocks)


def test_with_confidence_and_without_intervals_nobody_knows() -> None:
    assert judge(metric(0.1), Reading(0.9), confidence=0.95).outcome == "inconclusive"


@pytest.mark.parametrize("now", [None, metric(None)])
def test_a_metric_that_is_missing_now_is_no_pass(now: Metric | None) -> None:
    found = judge(now, Reading(0.9))
    assert (found.outcome, found.blocks) == ("inconclusive", True)
    assert found.message == "accuracy has no value now; it was 0.9 in version 3"


def test_without_a_record_the_limit_stays_unjudged() -> None:
    assert judge(metric(0.5), None) == SKIPPED


@pytest.mark.parametrize(
    "finding",
    [
        replace(SKIPPED, limit="min 0.5", outcome="fail"),
        replace(SKIPPED, outcome="pass"),
        replace(SKIPPED, slice="language=de"),
        replace(SKIPPED, metric="other"),
    ],
)
def test_any_other_finding_stays_as_it_is(finding: Finding) -> None:
    assert judge(metric(0.1), Reading(0.9), finding=finding) == finding


def test_the_finding_says_both_numbers_and_the_difference() -> None:
    found = judge(metric(0.75), Reading(0.875))
    assert (found.value, found.baseline, found.difference) == (0.75, 0.875, -0.125)
    assert found.message == "accuracy is 0.75 now and was 0.875 in version 3: worse by 0.125, 0.1 may be"
