from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan
from typing import Any

import pytest

from llmops.core.aggregate import Logged, aggregate
from llmops.core.gate import Evidence, exit_code, judge, outcome
from llmops.core.limits import Gate, MetricSpec, Threshold
from llmops.core.metrics import Finding, FindingOutcome, Metric
from llmops.errors import ExitCode
from tests.core.pull_requests import ACCURACY, Row, findings, gate, scores, verdict

RIGHT, WRONG = 1.0, 0.0


def judge_logged(value: object, *, rows: int = 20, **limits: Any) -> Finding:
    """Judge one logged metric that does not follow from rows."""
    (metric,) = aggregate(
        Logged(evaluator="quality", metrics={"f1": value}), scores([0.5] * rows), {"f1": MetricSpec(kind="opaque")}
    )[:1]
    evidence = Evidence(
        metrics={"quality.f1": metric}, baseline=None, differences={}, rows=rows, failed=0, unmeasured=0
    )
    limits_on_it = Gate(thresholds=[Threshold(metric="f1", **limits)])
    return judge(limits_on_it, evidence)[2]


@pytest.mark.parametrize("value", [nan, inf, -inf, "NaN", None, "high"])
def test_a_value_that_is_no_finite_number_never_passes(value: object) -> None:
    assert judge_logged(value, min=0.1).outcome == "inconclusive"
    assert judge_logged(value, max=0.1).outcome == "inconclusive"


def test_a_missing_metric_is_inconclusive_and_the_message_names_what_was_reported() -> None:
    limits = Gate(thresholds=[Threshold(metric="fluency", min=0.1)])
    metric = Metric(name="f1", evaluator="quality", value=1.0, kind="opaque", n=9, failed=0, unmeasured=0)
    evidence = Evidence(metrics={"quality.f1": metric}, baseline=None, differences={}, rows=9, failed=0, unmeasured=0)
    finding = judge(limits, evidence)[2]
    assert (finding.outcome, finding.message) == (
        "inconclusive",
        "no evaluator reported 'fluency' (reported: quality.f1)",
    )


@pytest.mark.parametrize("confidence", [None, 0.95])
def test_a_run_of_no_rows_never_passes(confidence: float | None) -> None:
    limits = gate(confidence, min=0.0)
    assert verdict(limits, []) == "inconclusive"
    empty = Evidence(metrics={}, baseline=None, differences={}, rows=0, failed=0, unmeasured=0)
    assert outcome(judge(Gate(), empty)) == "inconclusive"


def test_more_failed_rows_than_allowed_fail_whatever_the_others_score() -> None:
    evidence = Evidence(metrics={}, baseline=None, differences={}, rows=20, failed=12, unmeasured=0)
    assert exit_code(judge(Gate(max_failed=11), evidence)) == ExitCode.GATE_FAILED
    assert exit_code(judge(Gate(max_failed=12), evidence)) == ExitCode.PASS


def test_more_unmeasured_rows_than_allowed_are_inconclusive() -> None:
    evidence = Evidence(metrics={}, baseline=None, differences={}, rows=20, failed=0, unmeasured=3)
    assert exit_code(judge(Gate(max_unmeasured=2), evidence)) == ExitCode.INCONCLUSIVE
    assert exit_code(judge(Gate(max_unmeasured=3), evidence)) == ExitCode.PASS


def test_unmeasured_rows_beyond_what_may_be_lost_could_have_failed() -> None:
    evidence = Evidence(metrics={}, baseline=None, differences={}, rows=20, failed=1, unmeasured=1)
    assert judge(Gate(max_failed=1), evidence)[0].outcome == "inconclusive"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([RIGHT] * 8 + [WRONG] * 2, "pass"),
        ([RIGHT] * 7 + [WRONG] * 3, "fail"),
        ([RIGHT] * 8 + ["failed"] * 2, "pass"),
        ([RIGHT] * 7 + ["failed"] * 3, "fail"),
        ([RIGHT] * 8 + ["unmeasured"] * 2, "pass"),
        ([RIGHT] * 7 + ["unmeasured"] * 3, "inconclusive"),
        ([RIGHT] * 4 + ["unmeasured"] + [WRONG] * 5, "fail"),
    ],
)
def test_a_plain_comparison_counts_failed_rows_as_wrong_and_holds_for_every_unmeasured_row(
    rows: Sequence[Row], expected: FindingOutcome
) -> None:
    (finding,) = findings(gate(None, min=0.8), rows)
    assert finding.outcome == expected
    assert finding.message.endswith("(a plain comparison, no confidence asked)")


def test_sums_that_differ_from_the_limit_by_rounding_alone_meet_it() -> None:
    assert verdict(gate(None, min=0.1 + 0.2), [0.3] * 7, None, MetricSpec(score="correct", bounds=(0, 1))) == "pass"


@pytest.mark.parametrize(("right", "expected"), [(100, "pass"), (85, "inconclusive"), (60, "fail")])
def test_with_confidence_a_limit_passes_only_when_it_is_proved(right: int, expected: FindingOutcome) -> None:
    (finding,) = findings(gate(min=0.8), [RIGHT] * right + [WRONG] * (100 - right))
    assert (finding.outcome, finding.rule, finding.is_guaranteed) == (expected, "Clopper-Pearson", True)


def test_twenty_perfect_rows_do_not_prove_nine_in_ten() -> None:
    assert verdict(gate(min=0.9), [RIGHT] * 20) == "inconclusive"
    assert verdict(gate(min=0.9), [RIGHT] * 29) == "pass"


@pytest.mark.parametrize(("right", "expected"), [(0, "pass"), (15, "inconclusive"), (40, "fail")])
def test_a_largest_allowed_value_is_the_mirror(right: int, expected: FindingOutcome) -> None:
    spec = MetricSpec(score="correct", kind="proportion", higher_is_better=False)
    assert verdict(gate(max=0.2), [RIGHT] * right + [WRONG] * (100 - right), None, spec) == expected


def test_without_a_baseline_a_regression_limit_is_skipped_and_the_others_decide() -> None:
    skipped, held = findings(gate(None, max_regression=0.05, min=0.5), [RIGHT] * 9)[::-1]
    assert (skipped.outcome, held.outcome) == ("skipped", "pass")


def paired(gains: int, losses: int, same: int) -> tuple[Sequence[Row], Sequence[Row]]:
    candidate = [RIGHT] * gains + [WRONG] * losses + [RIGHT] * same
    return list(candidate), [WRONG] * gains + [RIGHT] * losses + [RIGHT] * same


@pytest.mark.parametrize(
    ("gains", "losses", "expected"), [(9, 8, "pass"), (8, 20, "inconclusive"), (5, 45, "fail"), (40, 5, "pass")]
)
def test_a_regression_limit_compares_row_by_row(gains: int, losses: int, expected: FindingOutcome) -> None:
    (finding,) = findings(gate(max_regression=0.05), *paired(gains, losses, 300 - gains - losses), explain=True)
    assert (finding.outcome, finding.rule) == (expected, "exact paired test")
    assert finding.is_improved == ("an improvement is shown" in finding.message) == (gains == 40)


def test_equal_runs_over_few_rows_are_no_proof_of_equality() -> None:
    assert verdict(gate(max_regression=0.05), [RIGHT] * 20, [RIGHT] * 20) == "inconclusive"


def test_pairs_that_failed_on_both_sides_are_no_evidence_of_equality() -> None:
    limits = gate(max_regression=0.05)
    assert verdict(limits, [RIGHT] * 70, [RIGHT] * 70) == "pass"
    assert verdict(limits, [RIGHT] * 20 + ["failed"] * 50, [RIGHT] * 20 + ["failed"] * 50) == "inconclusive"


@pytest.mark.parametrize("losses", [0, 3])
def test_a_lower_is_better_metric_regresses_upwards(losses: int) -> None:
    spec = MetricSpec(score="correct", kind="proportion", higher_is_better=False)
    worse, better = paired(60, losses, 100)
    assert verdict(gate(max_regression=0.05), worse, better, spec) == "fail"
    assert verdict(gate(max_regression=0.05), better, worse, spec) == "pass"


def test_an_unmeasured_row_counts_against_a_pass_and_against_a_fail() -> None:
    limits = gate(max_regression=0.1)
    assert verdict(limits, [RIGHT] * 60, [RIGHT] * 60) == "pass"
    assert verdict(limits, [RIGHT] * 55 + ["unmeasured"] * 5, [RIGHT] * 60) == "inconclusive"
    lost: Sequence[Row] = [WRONG] * 15 + [RIGHT] * 45
    assert verdict(limits, lost, [RIGHT] * 60) == "fail"
    assert verdict(limits, ["unmeasured"] * 15 + [RIGHT] * 45, [RIGHT] * 60) == "inconclusive"


def test_an_opaque_number_with_confidence_is_never_decided() -> None:
    finding = judge_logged(0.99, min=0.1, confidence=0.95)
    assert finding.outcome == "inconclusive"
    assert finding.message == "f1: only its evaluator knows how it is formed, so that no confidence can be had"


def test_a_baseline_that_could_not_be_measured_is_inconclusive() -> None:
    metric = Metric(name="accuracy", evaluator="quality", value=0.9, kind="proportion", n=9, failed=0, unmeasured=0)
    evidence = Evidence(
        metrics={"quality.accuracy": metric},
        baseline=None,
        differences={},
        rows=9,
        failed=0,
        unmeasured=0,
        baseline_problem="it did not load",
    )
    finding = judge(gate(max_regression=0.1), evidence)[2]
    assert (finding.outcome, finding.message) == ("inconclusive", "it did not load")


UNBOUNDED = MetricSpec(score="correct")
BOUNDED = MetricSpec(score="correct", bounds=(0.0, 5.0))


def test_a_mean_without_bounds_is_decided_only_where_approximation_is_asked_for() -> None:
    rows: Sequence[Row] = [3.0, 4.0, 5.0] * 30
    (refused,) = findings(gate(min=3.0), rows, None, UNBOUNDED)
    assert (refused.outcome, "declare its bounds" in refused.message) == ("inconclusive", True)
    (found,) = findings(gate(min=3.0, method="approximate"), rows, None, UNBOUNDED)
    assert (found.outcome, found.rule, found.is_guaranteed) == ("pass", "t test", False)


def test_a_failed_row_keeps_a_mean_without_bounds_from_passing() -> None:
    assert verdict(gate(min=3.0, method="approximate"), [4.0, 5.0] * 30 + ["failed"], None, UNBOUNDED) == "inconclusive"
    assert verdict(gate(min=3.0), [4.0, 5.0] * 30 + ["failed"], None, BOUNDED) == "pass"


def test_scores_between_bounds_are_decided_by_betting() -> None:
    (finding,) = findings(gate(min=3.0), [4.0, 5.0] * 20, None, BOUNDED)
    assert (finding.outcome, finding.rule, finding.is_guaranteed) == ("pass", "betting", True)
    assert verdict(gate(min=3.0), [2.0, 1.0] * 20, None, BOUNDED) == "fail"


def test_labels_bound_the_scores_that_they_stand_for() -> None:
    graded = MetricSpec(score="correct", labels={"poor": 1.0, "fair": 3.0, "good": 5.0})
    (finding,) = findings(gate(min=3.0), [5.0, 3.0] * 30, None, graded)
    assert (finding.outcome, finding.rule) == ("pass", "betting")


def test_equal_scores_are_no_certainty() -> None:
    (finding,) = findings(gate(min=3.9), [4.0] * 15, None, BOUNDED)
    assert finding.outcome == "inconclusive"
    assert verdict(gate(min=3.9, method="approximate"), [4.0] * 15, None, UNBOUNDED) == "inconclusive"


def test_a_score_outside_of_its_bounds_is_never_judged() -> None:
    (finding,) = findings(gate(min=3.0), [4.0] * 50 + [7.0], None, BOUNDED)
    assert (finding.outcome, finding.message) == (
        "inconclusive",
        "a row has the score 7, outside of the bounds 0 to 5",
    )


LATENCY = MetricSpec(score="correct", kind="percentile", percentile=90, higher_is_better=False)


def test_a_percentile_is_decided_by_the_order_of_the_rows() -> None:
    rows: Sequence[Row] = [1.0 + index / 100 for index in range(100)]
    (finding,) = findings(gate(max=2.5), rows, None, LATENCY)
    assert (finding.outcome, finding.rule, finding.value) == ("pass", "order statistics", rows[89])
    assert verdict(gate(max=1.9), rows, None, LATENCY) == "inconclusive"
    assert verdict(gate(max=1.5), rows, None, LATENCY) == "fail"


def test_failed_rows_are_infinitely_slow() -> None:
    rows: Sequence[Row] = [1.0] * 80 + ["failed"] * 20
    assert verdict(gate(max=1000.0), rows, None, LATENCY) == "fail"
    assert verdict(gate(max=1000.0), [1.0] * 99 + ["failed"], None, LATENCY) == "pass"


def test_the_change_of_a_percentile_is_bounded_on_both_sides() -> None:
    old: Sequence[Row] = [1.0 + index / 100 for index in range(100)]
    slow: Sequence[Row] = [3.0 + index / 100 for index in range(100)]
    assert verdict(gate(max_regression=0.5), old, old, LATENCY) == "pass"
    assert verdict(gate(max_regression=0.5), slow, old, LATENCY) == "fail"
    assert verdict(gate(max_regression=1.98), slow, old, LATENCY) == "inconclusive"


def test_a_sum_is_what_was_spent_and_needs_bounds_for_confidence() -> None:
    tokens = MetricSpec(score="correct", kind="sum", higher_is_better=False)
    (plain,) = findings(gate(None, max=300.0), [2.0] * 100, None, tokens)
    assert (plain.outcome, plain.value, plain.interval) == ("pass", 200.0, None)
    assert verdict(gate(max=300.0), [2.0] * 100, None, tokens) == "inconclusive"
    bounded = MetricSpec(score="correct", kind="sum", higher_is_better=False, bounds=(0.0, 5.0))
    assert verdict(gate(max=300.0), [2.0] * 100, None, bounded) == "pass"


def test_each_slice_has_to_hold_and_a_small_one_says_what_it_lacks() -> None:
    languages = ["en"] * 100 + ["de"] * 8
    whole, german, english = findings(
        gate(min=0.8, slices=["language"]), [RIGHT] * 108, slices={"language": languages}, explain=True
    )
    assert [whole.outcome, german.outcome, english.outcome] == ["pass", "inconclusive", "pass"]
    assert german.limit == "min 0.8 on language=de with 95 % confidence"
    assert german.rows_needed == 14


def test_a_bad_slice_fails_although_the_whole_holds() -> None:
    rows: Sequence[Row] = [RIGHT] * 300 + [WRONG] * 20
    slices = {"language": ["en"] * 300 + ["de"] * 20}
    outcomes = [one.outcome for one in findings(gate(min=0.8, slices=["language"]), rows, slices=slices)]
    assert outcomes == ["pass", "fail", "pass"]


def test_an_inconclusive_limit_blocks_unless_it_only_warns() -> None:
    blocking = findings(gate(min=0.8), [RIGHT] * 5)
    warning = findings(gate(min=0.8, on_inconclusive="warn"), [RIGHT] * 5)
    assert exit_code(blocking) == ExitCode.INCONCLUSIVE
    assert exit_code(warning) == ExitCode.PASS


def test_many_limits_need_more_evidence_to_fail_and_no_more_to_pass() -> None:
    rows: Sequence[Row] = [RIGHT] * 70 + [WRONG] * 30
    metric = {"quality.m": ACCURACY}
    alone = findings(gate(min=0.78), rows)[0]
    assert (alone.outcome, alone.p_adjusted) == ("fail", alone.p_fail)
    limits = Gate(
        thresholds=[
            Threshold(metric="accuracy", min=0.78),
            *(Threshold(metric="quality.accuracy", min=0.01) for _ in range(9)),
        ],
        confidence=0.95,
        max_unmeasured=1,
    )
    first, *others = findings(limits, rows)
    assert metric
    assert first.outcome == "inconclusive"
    assert {one.outcome for one in others} == {"pass"}


@pytest.mark.parametrize(("critical", "expected"), [(True, "fail"), (False, "inconclusive")])
def test_a_critical_limit_has_a_share_of_the_error_that_others_do_not_weaken(
    *, critical: bool, expected: FindingOutcome
) -> None:
    others = [Threshold(metric="quality.accuracy", min=0.01) for _ in range(9)]
    limits = Gate(thresholds=[Threshold(metric="accuracy", min=0.78, critical=critical), *others], confidence=0.95)
    first = findings(limits, [RIGHT] * 68 + [WRONG] * 32)[0]
    assert first.outcome == expected
    assert first.p_adjusted == pytest.approx((first.p_fail or 0.0) * (2 if critical else 10))


def test_where_looks_may_follow_the_first_one_already_pays_for_them() -> None:
    rows: Sequence[Row] = [RIGHT] * 92 + [WRONG] * 8
    assert verdict(gate(min=0.85), rows) == "pass"
    (finding,) = findings(gate(min=0.85, add_repeats=True), rows)
    assert (finding.outcome, finding.rule) == ("inconclusive", "betting")


def test_the_message_names_bounds_p_values_and_the_rule() -> None:
    (finding,) = findings(gate(min=0.8), [RIGHT] * 95 + [WRONG] * 5, explain=True)
    assert finding.message == (
        "accuracy is 0.95: min 0.8 with 95 % confidence holds; shown to be at least 0.8977 and at most 0.9802; "
        "p 1.9e-05 against violated, adjusted p 1 against kept; Clopper-Pearson, guaranteed"
    )


def test_the_bounds_are_where_the_verdict_turns() -> None:
    rows: Sequence[Row] = [RIGHT] * 90 + [WRONG] * 10
    (finding,) = findings(gate(min=0.5), rows, explain=True)
    assert finding.bounds is not None
    low, high = finding.bounds
    assert verdict(gate(min=low), rows) == "pass"
    assert verdict(gate(min=low + 0.001), rows) == "inconclusive"
    assert verdict(gate(min=high), rows) == "fail"
    assert verdict(gate(min=high - 0.001), rows) == "inconclusive"


def test_rows_needed_would_decide() -> None:
    (finding,) = findings(gate(min=0.85), [RIGHT] * 36 + [WRONG] * 4, explain=True)
    assert finding.rows_needed is not None
    n = finding.rows_needed
    assert verdict(gate(min=0.85), [RIGHT] * round(0.9 * n) + [WRONG] * (n - round(0.9 * n))) == "pass"
