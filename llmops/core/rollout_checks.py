"""Judge what live requests showed while a step of a rollout was watched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from llmops.core.endpoint import Window
from llmops.core.release_rules import Checks, LiveScores, ScoreLimit
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


@dataclass(frozen=True, kw_only=True)
class LiveMetric:
    """One metric over the live answers of one deployment.

    Attributes:
        value: None when the evaluator reported none.
        n: answers that it rests on.
    """

    value: float | None
    n: int
    higher_is_better: bool = True


def judge_scores(
    rules: LiveScores, new: Mapping[str, LiveMetric], old: Mapping[str, LiveMetric], *, answers: int
) -> Judgement:
    """Judge what the evaluators say of live answers.

    Args:
        rules: the limits, as numbers: a limit is broken or not, whatever chance may have done.
        new: metric to its value, of the deployment under watch.
        old: of the deployment that it replaces, over answers of the same time.
        answers: of the deployment under watch that could be scored.
    """
    if answers < rules.min_answers:
        code = ExitCode.INCONCLUSIVE if rules.required else ExitCode.PASS
        sentence = f"scores not judged: {answers} live answers, at least {rules.min_answers} are asked for"
        return Judgement(exit_code=int(code), sentence=sentence)
    said = []
    for limit in rules.limits:
        mine, theirs = new.get(limit.metric), old.get(limit.metric)
        if mine is None or mine.value is None or mine.n < rules.min_answers:
            found = f"{mine.n} of {answers} answers" if mine else "nothing"
            sentence = f"{limit.metric} was measured on {found}"
            return Judgement(exit_code=int(ExitCode.INCONCLUSIVE), sentence=sentence)
        if reason := _broken(limit, mine.value, mine, theirs, rules.min_answers):
            return Judgement(exit_code=int(ExitCode.GATE_FAILED), sentence=f"{limit.metric} of live answers {reason}")
        said.append(f"{limit.metric} {mine.value:.3g}" + _beside(limit, theirs, rules.min_answers))
    return Judgement(exit_code=0, sentence=f"scored {answers} live answers: {', '.join(said)}")


def _broken(limit: ScoreLimit, value: float, mine: LiveMetric, theirs: LiveMetric | None, least: int) -> str:
    if limit.min is not None and value < limit.min:
        return f"is {value:.3g}, under {limit.min:g}"
    if limit.max is not None and value > limit.max:
        return f"is {value:.3g}, over {limit.max:g}"
    if limit.max_drop is None or theirs is None or theirs.value is None or theirs.n < least:
        return ""
    drop = theirs.value - value if mine.higher_is_better else value - theirs.value
    if drop <= limit.max_drop:
        return ""
    return f"is {value:.3g}, the old one's {theirs.value:.3g}: worse by more than {limit.max_drop:g}"


def _beside(limit: ScoreLimit, theirs: LiveMetric | None, least: int) -> str:
    if theirs is not None and theirs.value is not None and theirs.n >= least:
        return f" (old {theirs.value:.3g})"
    return " (not compared: too few answers of the old one)" if limit.max_drop is not None else ""


def judge_window(checks: Checks, new: Window, old: Window | None, *, is_over: bool) -> Judgement:
    """Judge the requests that a deployment saw in a span of time.

    Args:
        checks: the limits.
        new: of the deployment under watch.
        old: of the deployment that it replaces, in the same span; None when there is none.
        is_over: False while the span still runs: then only what no later request can mend is a failure, and from
            20 requests on.
    """
    overdue = sum(waited >= checks.max_wait_s for waited in new.waiting_s)
    new = replace(new, requests=new.requests + overdue, errors=new.errors + overdue)
    seen = f"{new.requests} requests, {new.errors} failed"
    seen += f", {overdue} of these had no answer after {checks.max_wait_s:g} s" if overdue else ""
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
