"""Judge a run: limits against metrics, never a yes by accident, with error rates that hold.

With confidence 1 - alpha, P(pass | a limit is violated) <= alpha and P(fail | every limit holds) <= alpha. A gate
passes only if every limit does, so each of them is tested at alpha (an intersection-union test: Berger 1982,
Multiparameter hypothesis testing and acceptance sampling); it fails if any does, so those p-values are adjusted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from llmops.core.comparison import Difference
from llmops.core.limits import Gate, Threshold
from llmops.core.metrics import Finding, FindingOutcome, Metric, Outcome
from llmops.core.power import describe_power, rows_to_decide
from llmops.core.rules import PERCENTILES, Rule, bound, choose_rule, p_values, percentile_shift
from llmops.core.samples import Sample
from llmops.core.statistics import Interval, holm_in_shares
from llmops.errors import ExitCode

_SLACK = 1e-12
"""Numbers that differ by less are equal: 0.7 + 0.1 must satisfy a limit of 0.8."""

LimitKind = Literal["min", "max", "max_regression"]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The rows behind one metric, as far as it follows from rows.

    Attributes:
        value: of the candidate; baseline: of the baseline; difference: of the pairs.
    """

    value: Sample | None = None
    baseline: Sample | None = None
    difference: Sample | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the gate judges.

    Attributes:
        metrics: `evaluator.metric` to the candidate's metric.
        baseline: the same of the baseline; None without one.
        baseline_problem: why a baseline that exists could not be measured; empty otherwise.
        differences: `evaluator.metric` to the paired difference, for metrics that follow from row scores.
        samples: `evaluator.metric` to its rows.
        rows: rows of the data set; failed and unmeasured: those of them that the candidate lost.
        slices: `column=value` to the same for the rows of that slice.
        earlier: `question_name` to the smallest p_pass and p_fail of the looks before this one.
    """

    metrics: Mapping[str, Metric]
    baseline: Mapping[str, Metric] | None
    differences: Mapping[str, Difference]
    rows: int
    failed: int
    unmeasured: int
    baseline_problem: str = ""
    samples: Mapping[str, Samples] = field(default_factory=dict)
    slices: Mapping[str, Evidence] = field(default_factory=dict)
    earlier: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One limit on one metric over all rows or one slice of them."""

    threshold: Threshold
    kind: LimitKind
    limit: float
    slice: str
    confidence: float | None

    @property
    def label(self) -> str:
        """The limit in words; the number is the second of them."""
        place = f" on {self.slice}" if self.slice else ""
        sure = "" if self.confidence is None else f" with {100 * self.confidence:g} % confidence"
        return f"{self.kind} {self.limit:g}{place}{sure}"

    @property
    def alpha(self) -> float:
        """The error rate; 0 for a plain comparison."""
        return 0.0 if self.confidence is None else round(1.0 - self.confidence, 12)


def question_name(finding: Finding) -> str:
    """Name what a finding answers, so that looks at it can be joined."""
    return f"{finding.metric}: {finding.limit}"


def judge(gate: Gate, evidence: Evidence, *, explain: bool = True) -> list[Finding]:
    """Judge every limit.

    Args:
        gate: the limits.
        evidence: what was measured.
        explain: whether to form bounds, power and rows needed, which take most of the time and decide nothing.

    Returns:
        The findings for failed and unmeasured rows, then one for each limit of each threshold, each followed by those
        of its slices, in the order of the configuration. No finding passes when its metric is missing, is not a
        finite number or rests on no row.
    """
    answers = [_answer(question, gate, evidence) for question in questions(gate, evidence)]
    _decide(gate, answers)
    counts = [_judge_failed(gate, evidence), _judge_unmeasured(gate, evidence)]
    return counts + [answer.explained() if explain else answer.finding for answer in answers]


def questions(gate: Gate, evidence: Evidence) -> Iterator[Question]:
    """Yield every limit of a gate, in the order of the configuration."""
    kinds: tuple[LimitKind, ...] = ("min", "max", "max_regression")
    for threshold in gate.thresholds:
        for kind in kinds:
            limit = getattr(threshold, kind)
            if limit is None:
                continue
            for name in ("", *_slices(threshold, evidence)):
                yield Question(
                    threshold=threshold, kind=kind, limit=limit, slice=name, confidence=gate.confidence_of(threshold)
                )


def _slices(threshold: Threshold, evidence: Evidence) -> list[str]:
    return [name for column in threshold.slices for name in evidence.slices if name.partition("=")[0] == column]


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


@dataclass(kw_only=True)
class _Answer:
    """A finding on its way: first its p-values, then, with those of all others, its outcome."""

    question: Question
    finding: Finding
    rule: Rule | None = None
    sample: Sample | None = None
    p_pass: float = 1.0
    p_fail: float = 1.0
    signed_limit: float = 0.0
    at_least: bool = True
    is_statistical: bool = False

    def settle(self, adjusted: float, alpha: float) -> None:
        """Set the outcome; a limit that is proved to hold and to be violated was violated in one of several looks."""
        verdict: FindingOutcome = "inconclusive"
        if adjusted <= alpha:
            verdict = "fail"
        elif self.p_pass <= self.question.alpha:
            verdict = "pass"
        self.finding = dataclasses.replace(
            self.finding,
            outcome=verdict,
            p_pass=self.p_pass,
            p_fail=self.p_fail,
            p_adjusted=adjusted,
            rule=self.rule.name if self.rule else PERCENTILES,
            is_guaranteed=self.rule.is_guaranteed if self.rule else True,
        )

    def explained(self) -> Finding:
        """Return the finding with what people ask next: bounds, power, rows needed."""
        if not self.is_statistical:
            return self.finding
        finding, alpha = self.finding, self.question.alpha
        changes: dict[str, object] = {}
        if self.rule and self.sample:
            low = bound(self.rule, self.sample, alpha, lower=True)
            high = bound(self.rule, self.sample, alpha, lower=False)
            if low is not None and high is not None:
                changes["bounds"] = (low, high)
            if self.question.kind == "max_regression":
                better, _ = p_values(self.rule, self.sample, 0.0, at_least=self.at_least, enough=alpha)
                changes["is_improved"] = better <= alpha
            changes["power"] = describe_power(
                self.rule, self.sample, self.signed_limit, at_least=self.at_least, alpha=alpha
            )
            if finding.outcome == "inconclusive":
                changes["rows_needed"] = rows_to_decide(
                    self.rule, self.sample, self.signed_limit, at_least=self.at_least, alpha=alpha
                )
        finding = dataclasses.replace(finding, **changes)  # type: ignore[arg-type]
        return dataclasses.replace(finding, message=_say_statistical(self.question, finding, self.sample, self.rule))


def _decide(gate: Gate, answers: Sequence[_Answer]) -> None:
    """Give every statistical answer its outcome: passes at alpha each, fails by Holm within their shares."""
    statistical = [answer for answer in answers if answer.is_statistical]
    if not statistical:
        return
    alpha = min(answer.question.alpha for answer in statistical)
    adjusted = holm_in_shares(
        [answer.p_fail for answer in statistical],
        [answer.question.threshold.critical for answer in statistical],
        gate.critical_share,
    )
    for answer, value in zip(statistical, adjusted, strict=True):
        answer.settle(value, alpha)


def _answer(question: Question, gate: Gate, evidence: Evidence) -> _Answer:
    here = evidence.slices[question.slice] if question.slice else evidence
    metric = find_metric(question.threshold.metric, here.metrics)
    if question.kind == "max_regression":
        return _answer_regression(question, gate, here, metric, evidence.earlier)
    problem = _why_unusable(question.threshold.metric, metric, here)
    if metric is None or problem:
        return _undecided(question, metric, problem)
    baseline = find_metric(question.threshold.metric, here.baseline) if here.baseline else None
    both_known = baseline is not None and baseline.value is not None and metric.value is not None
    base = Finding(
        metric=question.threshold.metric,
        limit=question.label,
        outcome="inconclusive",
        value=metric.value,
        baseline=baseline.value if baseline else None,
        difference=metric.value - baseline.value if both_known else None,  # type: ignore[operator, union-attr]
        interval=metric.interval,
        blocks=question.threshold.on_inconclusive == "block",
        slice=question.slice,
        confidence=question.confidence,
    )
    at_least = question.kind == "min"
    if question.confidence is None:
        return _compared(question, base, metric, at_least=at_least)
    sample = here.samples.get(f"{metric.evaluator}.{metric.name}", Samples()).value
    scale = metric.n if metric.kind == "sum" else 1
    return _weighed(question, gate, base, sample, question.limit / max(scale, 1), at_least, evidence.earlier)


def _compared(question: Question, base: Finding, metric: Metric, *, at_least: bool) -> _Answer:
    if metric.value is None:
        return _undecided(question, metric, f"{metric.name!r} has no value")
    verdict = _compare(metric.value, metric.bounds, metric.unmeasured, question.limit, at_least=at_least)
    words = f"{question.threshold.metric} is {metric.value:.4g}"
    message = _say_plain(verdict, words, question.label, metric.unmeasured)
    return _Answer(question=question, finding=dataclasses.replace(base, outcome=verdict, message=message))


def _weighed(
    question: Question,
    gate: Gate,
    base: Finding,
    sample: Sample | None,
    limit: float,
    at_least: bool,  # noqa: FBT001
    earlier: Mapping[str, tuple[float, float]],
) -> _Answer:
    """Let the rule of the sample speak."""
    if sample is None:
        return _refused(question, base, NOT_RESAMPLED if question.threshold.method == "approximate" else OPAQUE)
    rule = choose_rule(sample, question.threshold.method, has_many_looks=gate.has_many_looks)
    if rule is None:
        return _refused(question, base, _NO_RULE[sample.kind])
    if gate.has_many_looks and not rule.is_guaranteed:
        return _refused(question, base, "an approximate method holds for one look only")
    passing, failing = p_values(rule, sample, limit, at_least=at_least, enough=question.alpha)
    before = earlier.get(question_name(base), (1.0, 1.0))
    return _Answer(
        question=question,
        finding=base,
        rule=rule,
        sample=sample,
        p_pass=min(passing, before[0]),
        p_fail=min(failing, before[1]),
        signed_limit=limit,
        at_least=at_least,
        is_statistical=True,
    )


UNBOUNDED = (
    "a mean of scores without bounds has no guaranteed interval: declare its bounds (or `kind: proportion` when rows "
    "are 0 or 1), put the limit on a percentile, or ask for `method: approximate`"
)
MIXED = (
    "a proportion has 0 or 1 in each row, but some have a number in between: declare `kind: mean` and `bounds: [0, 1]`"
)
OPAQUE = "only its evaluator knows how it is formed, so that no confidence can be had"
NOT_RESAMPLED = (
    f"{OPAQUE}: its aggregation was not run again over resampled rows (rows were lost, there are too many of them, it "
    "asks models, or this backend cannot)"
)
_NO_RULE: Mapping[str, str] = {"unbounded": UNBOUNDED, "mixed": MIXED, "resampled": OPAQUE}


def _refused(question: Question, base: Finding, why: str) -> _Answer:
    message = f"{question.threshold.metric}: {why}"
    return _Answer(question=question, finding=dataclasses.replace(base, message=message))


def _answer_regression(
    question: Question,
    gate: Gate,
    here: Evidence,
    metric: Metric | None,
    earlier: Mapping[str, tuple[float, float]],
) -> _Answer:
    name = question.threshold.metric
    if here.baseline is None and not here.baseline_problem:
        finding = Finding(
            metric=name,
            limit=question.label,
            outcome="skipped",
            value=metric.value if metric else None,
            message="there is no baseline",
            slice=question.slice,
        )
        return _Answer(question=question, finding=finding)
    baseline = find_metric(name, here.baseline or {})
    problem = here.baseline_problem or _why_unusable(name, metric, here)
    if not problem and (baseline is None or (baseline.value is None and baseline.kind != "percentile")):
        problem = f"the baseline has no value of {name!r}" + (
            f": {baseline.note}" if baseline and baseline.note else ""
        )
    if metric is None or baseline is None or problem:
        return _undecided(question, metric, problem)
    key = f"{metric.evaluator}.{metric.name}"
    difference = here.differences.get(key)
    change = None if metric.value is None or baseline.value is None else metric.value - baseline.value
    base = Finding(
        metric=name,
        limit=question.label,
        outcome="inconclusive",
        value=metric.value,
        baseline=baseline.value,
        difference=difference.value if difference else change,
        interval=difference.interval if difference else None,
        blocks=question.threshold.on_inconclusive == "block",
        slice=question.slice,
        confidence=question.confidence,
    )
    if difference is not None and difference.value is None and metric.kind != "percentile":
        return _undecided(question, metric, "no row was measured in both candidate and baseline")
    if question.confidence is None:
        return _compared_with_baseline(question, base, metric, baseline, difference)
    samples = here.samples.get(key, Samples())
    sign = 1.0 if metric.higher_is_better else -1.0
    limit = -sign * question.limit
    if metric.kind == "percentile":
        return _shifted(question, gate, base, samples, limit, metric.higher_is_better, earlier)
    scale = metric.n if metric.kind == "sum" else 1
    return _weighed(question, gate, base, samples.difference, limit / max(scale, 1), metric.higher_is_better, earlier)


def _compared_with_baseline(
    question: Question, base: Finding, metric: Metric, baseline: Metric, difference: Difference | None
) -> _Answer:
    if base.difference is None:
        return _undecided(question, metric, "candidate or baseline has no value")
    unknown = difference.unknown if difference else metric.unmeasured + baseline.unmeasured
    bounds = difference.bounds if difference else None
    sign = 1.0 if metric.higher_is_better else -1.0
    signed = None if bounds is None else (min(sign * b for b in bounds), max(sign * b for b in bounds))
    verdict = _compare(sign * base.difference, signed, unknown, -question.limit, at_least=True)
    words = f"{question.threshold.metric} went from {baseline.value:.4g} to {metric.value:.4g}"
    message = _say_plain(verdict, words, question.label, unknown)
    return _Answer(question=question, finding=dataclasses.replace(base, outcome=verdict, message=message))


def _shifted(
    question: Question,
    gate: Gate,
    base: Finding,
    samples: Samples,
    limit: float,
    at_least: bool,  # noqa: FBT001
    earlier: Mapping[str, tuple[float, float]],
) -> _Answer:
    if samples.value is None or samples.baseline is None:
        return _refused(question, base, "its rows are not known on both sides")
    if gate.sequential:
        return _refused(question, base, "the change of a percentile cannot be judged while rows are drawn")
    passing, failing = percentile_shift(samples.value, samples.baseline, limit, at_least=at_least)
    before = earlier.get(question_name(base), (1.0, 1.0))
    return _Answer(
        question=question,
        finding=base,
        p_pass=min(passing, before[0]),
        p_fail=min(failing, before[1]),
        signed_limit=limit,
        at_least=at_least,
        is_statistical=True,
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
    if metric.failed and metric.bounds is None and metric.kind not in {"percentile", "sum"}:
        return f"{metric.failed} rows failed and {name!r} does not say how they count (declare its `score` and bounds)"
    return ""


def _undecided(question: Question, metric: Metric | None, problem: str) -> _Answer:
    finding = Finding(
        metric=question.threshold.metric,
        limit=question.label,
        outcome="inconclusive",
        value=metric.value if metric else None,
        blocks=question.threshold.on_inconclusive == "block",
        message=problem,
        slice=question.slice,
    )
    return _Answer(question=question, finding=finding)


def _say_plain(verdict: FindingOutcome, words: str, label: str, unknown: int) -> str:
    ends = {"pass": f"{words}, within {label}", "fail": f"{words}, which breaks {label}"}
    open_end = f"{words}; {unknown} rows that nobody measured could decide {label} either way"
    return f"{ends.get(verdict, open_end)} (a plain comparison, no confidence asked)"


def _say_statistical(question: Question, finding: Finding, sample: Sample | None, rule: Rule | None) -> str:
    ends = {"pass": "holds", "fail": "is broken", "inconclusive": "is undecided"}
    change = " changed by" if question.kind == "max_regression" else " is"
    number = finding.difference if question.kind == "max_regression" else finding.value
    parts = [f"{finding.metric}{change} {_number(number)}: {finding.limit} {ends.get(finding.outcome, '')}"]
    if finding.is_improved:
        parts.append("an improvement is shown")
    if finding.bounds is not None:
        parts.append(f"shown to be at least {finding.bounds[0]:.4g} and at most {finding.bounds[1]:.4g}")
    parts.append(f"p {finding.p_pass:.2g} against violated, adjusted p {finding.p_adjusted:.2g} against kept")
    parts.append(f"{finding.rule}, {rule.promise if rule else 'guaranteed'}")
    if sample is not None and sample.both_failed:
        parts.append(f"{sample.both_failed} pairs failed on both sides and show nothing")
    if finding.outcome == "inconclusive":
        needed = finding.rows_needed
        parts.append(
            f"about {needed} rows like these would decide" if needed else "more rows like these would not decide"
        )
    return "; ".join(parts)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
