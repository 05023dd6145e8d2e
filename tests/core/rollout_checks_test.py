"""What live requests must show."""

from __future__ import annotations

import pytest

from llmops.core.endpoint import Window
from llmops.core.release_rules import Checks
from llmops.core.rollout_checks import judge_window


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


def test_no_requests_and_none_asked_for_pass() -> None:
    assert judge_window(Checks(max_latency_s=0.2), window(0), None, is_over=True).exit_code == 0
