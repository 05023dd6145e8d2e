"""Data that once made a wrong pass, a wrong fail or a crash certain."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from typing import Any

import pytest

from llmops.core.aggregate import LARGEST_NUMBER, as_number, metric_of_rows
from llmops.core.evidence import Rows, Side, gather
from llmops.core.gate import judge, outcome
from llmops.core.limits import MetricSpec
from llmops.core.metrics import Outcome, Scores
from llmops.core.samples import Design
from llmops.core.statistics import Bettor
from tests.core.pull_requests import ACCURACY, Row, findings, gate, side, verdict

LATENCY = MetricSpec(score="correct", kind="percentile", percentile=80, higher_is_better=False)
TOKENS = MetricSpec(score="correct", kind="sum", bounds=(0.0, 100.0), higher_is_better=False)
STARS = MetricSpec(score="correct", bounds=(0.0, 1.0))


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_a_percentile_that_changed_by_exactly_what_is_allowed_does_not_fail(limit: float) -> None:
    (finding,) = findings(gate(max_regression=limit), [2.0 + limit] * 100, [2.0] * 100, LATENCY)
    assert finding.outcome == "pass"
    assert verdict(gate(max_regression=limit), [2.1 + limit] * 100, [2.0] * 100, LATENCY) == "fail"


@pytest.mark.parametrize("options", [{}, {"add_repeats": True}])
def test_rows_that_fail_on_both_sides_do_not_make_a_change_within_the_limit_look_larger(
    options: dict[str, Any],
) -> None:
    """The metric fell by 4 points of 100; by 8 of the rows that did not fail on both sides."""
    lost: Sequence[Row] = ["failed"] * 1000
    new: Sequence[Row] = [*([0.0] * 80), *([1.0] * 920), *lost]
    old: Sequence[Row] = [*([1.0] * 1000), *lost]
    assert verdict(gate(max_regression=0.05, **options), new, old, STARS) != "fail"
    assert verdict(gate(max_regression=0.01, **options), new, old, STARS) == "fail"


def test_rows_drawn_one_by_one_that_fail_on_both_sides_count_as_unchanged_where_that_is_weaker() -> None:
    pairs: list[tuple[Row, Row]] = [(0.0, 1.0)] * 160 + [(1.0, 1.0)] * 1840 + [("failed", "failed")] * 2000
    random.Random(1).shuffle(pairs)
    design = Design(order=range(len(pairs)))
    new, old = [one for one, _ in pairs], [other for _, other in pairs]
    limits = gate(max_regression=0.05, sequential=True)
    assert verdict(limits, new, old, ACCURACY, design=design) != "fail"
    assert (
        verdict(limits, [1.0] * 20 + ["failed"] * 200, [1.0] * 20 + ["failed"] * 200, design=Design(order=range(220)))
        != "pass"
    )


def test_what_failing_rows_cost_on_both_sides_is_part_of_a_sum() -> None:
    """Rows that failed on both sides cost ten times as much as before."""
    new, old = side([1.0] * 50 + ["failed"] * 50, TOKENS), side([1.0] * 50 + ["failed"] * 50, TOKENS)
    for index in range(50, 100):
        new.scores.columns["quality.correct"][index] = 100.0  # type: ignore[index]
        old.scores.columns["quality.correct"][index] = 10.0  # type: ignore[index]
    limits = gate(max_regression=1000.0)
    assert outcome(judge(limits, gather(limits, new, old, lambda _: TOKENS, Rows()))) == "fail"


def test_a_row_that_failed_in_one_of_many_repeats_counts_as_worst_in_that_one() -> None:
    """Each of 200 rows failed in 1 of 50 repeats and was right in the others: 98 % of all measurements were right."""
    table = Scores(
        statuses=["failed"] * 200, columns={"quality.correct": array("d", [1.0] * 200)}, failed_shares=[0.02] * 200
    )
    metric = metric_of_rows("accuracy", "quality", table, ACCURACY)
    one = Side(metrics={"quality.accuracy": metric}, scores=table)
    limits, rows = gate(min=0.9, max_regression=0.05), Rows(design=Design(repeats=50))
    found = judge(limits, gather(limits, one, one, lambda _: ACCURACY, rows))[2:]
    assert metric.value == pytest.approx(0.98)
    assert [finding.outcome for finding in found] == ["pass", "pass"]


def test_scores_of_0_and_1_that_nobody_declared_may_have_been_anything() -> None:
    """Rows of 0 and, in one of 33, of 100 have a mean of 3; fifty of them are all 0 in a fifth of all runs."""
    assert judge_undeclared([0.0] * 50, max=0.5) == "inconclusive"
    assert judge_undeclared([0.0] * 50, max=0.5, confidence=None) == "pass"


def judge_undeclared(rows: Sequence[Row], **limits: Any) -> Outcome:
    asked = gate(**limits)
    known = Rows(guessed=frozenset({"quality.accuracy"}))
    return outcome(judge(asked, gather(asked, side(rows), None, lambda _: ACCURACY, known))[2:])


def test_a_proportion_of_rows_that_are_neither_0_nor_1_says_what_to_declare() -> None:
    (finding,) = findings(gate(min=0.5), [1.0] * 99 + [0.5])
    assert (finding.outcome, finding.message) == (
        "inconclusive",
        "accuracy: a proportion has 0 or 1 in each row, but some have a number in between: "
        "declare `kind: mean` and `bounds: [0, 1]`",
    )
    assert verdict(gate(min=0.5), [1.0] * 99 + [0.5], design=Design(repeats=2)) == "pass"


@pytest.mark.parametrize("bounds", [(0.3, 1.7), (-1.1, 2.3), (1e-9, 3e-9)])
def test_many_scores_at_the_end_of_their_range_are_judged(bounds: tuple[float, float]) -> None:
    low, high = bounds
    spec = MetricSpec(score="correct", bounds=bounds)
    rows: Sequence[Row] = [low + (high - low) * step / 1e6 for step in range(6000)] + [high] * 10
    (finding,) = findings(gate(max=high - (high - low) / 7), rows, None, spec, explain=True)
    assert finding.outcome == "pass"
    assert finding.bounds is not None and low <= finding.bounds[0] <= finding.bounds[1] <= high


@pytest.mark.parametrize("value", [1e308, -1e308, 10**400, float("inf"), float("nan"), "1", None])
def test_what_is_too_large_to_be_added_up_is_no_number(value: object) -> None:
    assert as_number(value) is None
    assert as_number(LARGEST_NUMBER) == LARGEST_NUMBER
    assert as_number(True) == 1.0


def test_the_last_row_of_a_large_data_set_does_not_disprove_a_limit_that_it_meets_exactly() -> None:
    rows = [0.1, 0.2, 0.4, 0.7] * 20_000
    bettor = Bettor(0.35, 0.1, len(rows))
    for value in sorted(rows, reverse=True):
        bettor.add(value)
    assert bettor.best_log < float("inf")


@pytest.mark.parametrize(("wrong", "expected"), [(1, "pass"), (2, "pass"), (3, "fail")])
def test_all_rows_of_a_data_set_leave_nothing_open(wrong: int, expected: Outcome) -> None:
    limits = gate(min=0.8, sequential=True, target="this_dataset")
    rows: Sequence[Row] = [*([0.0] * wrong), *([1.0] * (10 - wrong))]
    assert verdict(limits, rows, design=Design(order=range(10), population=10)) == expected
    assert verdict(limits, rows, design=Design(order=range(10))) == "inconclusive"


def test_the_rows_of_a_slice_are_drawn_from_those_of_the_slice() -> None:
    """All 20 rows of a slice are right, so that their share is known, however few they are."""
    order = [*range(0, 100, 5), *(row for row in range(100) if row % 5)]
    languages = ["de" if row % 5 == 0 else "en" for row in range(100)]
    limits = gate(min=0.95, slices=["language"], sequential=True, target="this_dataset")
    design = Design(order=order, population=100)
    found = findings(
        limits,
        [1.0] * 100,
        None,
        slices={"language": languages},
        design=design,
        sizes={"language=de": 20, "language=en": 80},
    )
    assert [one.outcome for one in found] == ["pass", "pass", "pass"]
