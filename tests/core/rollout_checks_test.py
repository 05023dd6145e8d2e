"""What live requests must show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmops.core.endpoint import Window
from llmops.core.release_rules import Checks, LiveScores, ScoreLimit
from llmops.core.rollout_checks import LiveMetric, judge_scores, judge_window


def window(requests: int, errors: int = 0, p95: float = 0.1) -> Window:
    return Window(requests=requests, errors=errors, latency_s={50: p95, 95: p95, 99: p95} if requests else {})


@pytest.mark.parametrize(("errors", "code"), [(0, 0), (1, 0), (2, 10)])
def test_the_error_rate_may_reach_its_limit_and_not_pass_it(errors: int, code: int) -> None:
    assert judge_window(Checks(max_error_rate=0.01), window(100, errors), None, is_over=True).exit_code == code


def test_while_the_time_runs_a_few_requests_decide_nothing() -> None:
    assert judge_window(Checks(), window(19, 19), None, is_over=False).exit_code == 0
    assert judge_window(Checks(), window(20, 20), None, is_over=False).exit_code == 10


def test_latency_is_compared_with_the_old_deployment_in_the_same_time() -> None:
    checks = Checks(max_latency_ratio=2.0)
    found = judge_window(checks, window(50, p95=0.5), window(50, p95=0.2), is_over=True)
    assert found.exit_code == 10
    assert "p95 latency 0.5 s is over 2 times the old one's 0.2 s" in found.sentence


def test_latencies_of_too_few_requests_are_not_compared_and_it_says_so() -> None:
    checks = Checks(max_latency_ratio=2.0)
    found = judge_window(checks, window(19, p95=9.0), window(50, p95=0.2), is_over=True)
    assert found.exit_code == 0
    assert "latencies not compared" in found.sentence


def test_too_few_requests_are_inconclusive_where_some_are_asked_for() -> None:
    assert judge_window(Checks(min_requests=10), window(9), None, is_over=True).exit_code == 11
    assert judge_window(Checks(min_requests=10), window(10), None, is_over=True).exit_code == 0


def test_an_absolute_latency_limit_needs_no_old_deployment() -> None:
    assert judge_window(Checks(max_latency_s=0.2), window(5, p95=0.3), None, is_over=True).exit_code == 10


def test_a_request_that_waits_for_too_long_counts_as_failed_and_others_do_not() -> None:
    waiting = Window(requests=98, latency_s={95: 0.1}, waiting_s=[61, 60, 59])
    found = judge_window(Checks(max_error_rate=0.01), waiting, None, is_over=True)
    assert (found.exit_code, found.sentence) == (
        10,
        "100 requests, 2 failed, 2 of these had no answer after 60 s: error rate 2.0% is over 1.0%",
    )
    assert judge_window(Checks(max_error_rate=0.02), waiting, None, is_over=True).exit_code == 0


LIMITS = LiveScores(
    capture_percent=10, limits=[ScoreLimit(metric="quality.polite", min=0.5, max_drop=0.1)], min_answers=20
)


def polite(value: float | None, n: int = 20, *, higher_is_better: bool = True) -> dict[str, LiveMetric]:
    return {"quality.polite": LiveMetric(value=value, n=n, higher_is_better=higher_is_better)}


@pytest.mark.parametrize(
    ("new", "old", "code", "said"),
    [
        (polite(0.8), polite(0.9), 0, "scored 20 live answers: quality.polite 0.8 (old 0.9)"),
        (polite(0.4), {}, 10, "quality.polite of live answers is 0.4, under 0.5"),
        (polite(0.7), polite(0.9), 10, "is 0.7, the old one's 0.9: worse by more than 0.1"),
        (polite(0.7, higher_is_better=False), polite(0.9), 0, "(old 0.9)"),
        (polite(0.7), polite(0.9, n=19), 0, "quality.polite 0.7 (not compared: too few answers of the old one)"),
        (polite(None), polite(0.9), 11, "quality.polite was measured on 20 of 20 answers"),
        (polite(0.9, n=19), {}, 11, "quality.polite was measured on 19 of 20 answers"),
        ({}, {}, 11, "quality.polite was measured on nothing"),
    ],
)
def test_scores_of_live_answers_are_judged_by_limits_and_beside_the_old_ones(
    new: dict[str, LiveMetric], old: dict[str, LiveMetric], code: int, said: str
) -> None:
    found = judge_scores(LIMITS, new, old, answers=20)
    assert (found.exit_code, said in found.sentence) == (code, True), found


def test_too_few_live_answers_decide_nothing_unless_they_are_required() -> None:
    few = judge_scores(LIMITS, polite(0.0, n=19), {}, answers=19)
    assert (few.exit_code, few.sentence) == (0, "scores not judged: 19 live answers, at least 20 are asked for")
    assert judge_scores(replace(LIMITS, required=True), {}, {}, answers=19).exit_code == 11


def test_no_requests_and_none_asked_for_pass() -> None:
    assert judge_window(Checks(max_latency_s=0.2), window(0), None, is_over=True).exit_code == 0
