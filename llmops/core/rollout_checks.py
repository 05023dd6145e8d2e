"""Judge what live requests showed while a step of a rollout was watched."""

from __future__ import annotations

from dataclasses import dataclass

from llmops.core.endpoint import Window
from llmops.core.release_rules import Checks
from llmops.errors import ExitCode

MIN_TO_COMPARE = 20
"""Requests on each side without which latencies are not compared: a 95th percentile of fewer is the maximum."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What one check says.

    Attributes:
        exit_code: 0 when it passes, else that of the command that stops on it.
        sentence: what was seen, for people.
        verdict: id of the verdict record behind it; empty when there is none.
    """

    exit_code: int
    sentence: str
    verdict: str = ""


def judge_window(checks: Checks, new: Window, old: Window | None, *, is_over: bool) -> Judgement:
    """Judge the requests that a deployment saw in a span of time.

    Args:
        checks: the limits.
        new: of the deployment under watch.
        old: of the deployment that it replaces, in the same span; None when there is none.
        is_over: False while the span still runs: then only what no later request can mend is a failure, and from
            20 requests on.
    """
    seen = f"{new.requests} requests, {new.errors} failed"
    if not is_over and new.requests < MIN_TO_COMPARE:
        return Judgement(exit_code=0, sentence=seen)
    reason = _error_rate(checks, new) or (_latency(checks, new, old) if is_over else "")
    if reason:
        return Judgement(exit_code=int(ExitCode.GATE_FAILED), sentence=f"{seen}: {reason}")
    if is_over and new.requests < checks.min_requests:
        sentence = f"{seen}: too few to decide, at least {checks.min_requests} are asked for"
        return Judgement(exit_code=int(ExitCode.INCONCLUSIVE), sentence=sentence)
    return Judgement(exit_code=0, sentence=seen + _not_compared(checks, new, old))


def _error_rate(checks: Checks, new: Window) -> str:
    if checks.max_error_rate is None or not new.requests:
        return ""
    rate = new.errors / new.requests
    return f"error rate {rate:.1%} is over {checks.max_error_rate:.1%}" if rate > checks.max_error_rate else ""


def _latency(checks: Checks, new: Window, old: Window | None) -> str:
    percentile = checks.latency_percentile
    mine = new.latency_s.get(percentile)
    if mine is None:
        return ""
    if checks.max_latency_s is not None and mine > checks.max_latency_s:
        return f"p{percentile} latency {mine:.3g} s is over {checks.max_latency_s:g} s"
    if checks.max_latency_ratio is None or old is None or min(new.requests, old.requests) < MIN_TO_COMPARE:
        return ""
    theirs = old.latency_s[percentile]
    if mine > checks.max_latency_ratio * theirs:
        limit = f"{checks.max_latency_ratio:g} times the old one's {theirs:.3g} s"
        return f"p{percentile} latency {mine:.3g} s is over {limit}"
    return ""


def _not_compared(checks: Checks, new: Window, old: Window | None) -> str:
    if checks.max_latency_ratio is None or old is None or min(new.requests, old.requests) >= MIN_TO_COMPARE:
        return ""
    return f"; latencies not compared: fewer than {MIN_TO_COMPARE} requests on one side"
