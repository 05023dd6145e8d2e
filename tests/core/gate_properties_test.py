"""What must hold of the gate for any rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmops.core.evidence import Rows, draw_order, gather
from llmops.core.gate import judge, question_name
from llmops.core.limits import Gate, MetricSpec
from llmops.core.metrics import Outcome
from llmops.core.samples import Design
from tests.core.pull_requests import ACCURACY, Row, findings, gate, side, verdict
from tests.properties import costly

BOUNDED = MetricSpec(score="correct", bounds=(0.0, 5.0))
LATENCY = MetricSpec(score="correct", kind="percentile", percentile=80, higher_is_better=False)
LOWER = MetricSpec(score="correct", kind="proportion", higher_is_better=False)

LOST: st.SearchStrategy[Row] = st.sampled_from(["failed", "unmeasured"])
BINARY: st.SearchStrategy[Row] = st.one_of(st.sampled_from([1.0, 1.0, 1.0, 0.0]), LOST)
FIVE: st.SearchStrategy[Row] = st.one_of(st.sampled_from([0.0, 2.5, 4.0, 5.0]), LOST)

CASES = [
    pytest.param(ACCURACY, BINARY, {"min": 0.7}, id="proportion"),
    pytest.param(ACCURACY, BINARY, {"max_regression": 0.15}, id="pairs"),
    pytest.param(ACCURACY, BINARY, {"max_regression": 0.0}, id="pairs without margin"),
    pytest.param(LOWER, BINARY, {"max_regression": 0.15}, id="lower is better"),
    pytest.param(BOUNDED, FIVE, {"min": 3.0, "max_regression": 0.8}, id="bounded"),
    pytest.param(LATENCY, FIVE, {"max": 4.0, "max_regression": 1.0}, id="percentile"),
    pytest.param(ACCURACY, BINARY, {"min": 0.7, "confidence": None}, id="plain"),
    pytest.param(ACCURACY, BINARY, {"max_regression": 0.15, "add_repeats": True}, id="looks"),
]
Pairs = list[tuple[Row, Row]]


def run_pairs(limits: Gate, pairs: Pairs, spec: MetricSpec) -> Outcome:
    return verdict(limits, [new for new, _ in pairs], [old for _, old in pairs], spec)


def many(rows: st.SearchStrategy[Row]) -> st.SearchStrategy[Pairs]:
    """Few kinds of pairs, each of them often: where verdicts are near their edges."""
    kind = st.tuples(st.tuples(rows, rows), st.integers(1, 30))
    return st.lists(kind, min_size=1, max_size=5).map(lambda kinds: [pair for pair, n in kinds for _ in range(n)])


@pytest.mark.hypothesis
@pytest.mark.parametrize(("spec", "rows", "limits"), CASES)
def test_the_order_of_the_rows_never_matters(
    spec: MetricSpec, rows: st.SearchStrategy[Row], limits: dict[str, Any]
) -> None:
    @costly(2)
    @given(many(rows), st.randoms(use_true_random=False))
    def check(pairs: Pairs, chance: random.Random) -> None:
        shuffled = chance.sample(pairs, len(pairs))
        assert run_pairs(gate(**limits), shuffled, spec) == run_pairs(gate(**limits), pairs, spec)

    check()


@pytest.mark.hypothesis
@pytest.mark.parametrize("lost", ["failed", "unmeasured"])
@pytest.mark.hypothesis
@pytest.mark.parametrize(("spec", "rows", "limits"), CASES)
def test_losing_a_measured_row_never_helps(
    spec: MetricSpec, rows: st.SearchStrategy[Row], limits: dict[str, Any], lost: Row
) -> None:
    """Turning a measured row into a failed one never turns fail into pass, nor inconclusive into pass."""

    @costly(4)
    @given(many(rows))
    def check(pairs: Pairs) -> None:
        before = run_pairs(gate(**limits), pairs, spec)
        for index, (new, old) in enumerate(pairs):
            if isinstance(new, float) and (index == 0 or pairs[index - 1] != (new, old)):
                after = run_pairs(gate(**limits), [*pairs[:index], (lost, old), *pairs[index + 1 :]], spec)
                assert after != "pass" or before == "pass"

    check()


@costly(4)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_adding_looks_never_turns_a_recorded_fail_into_a_pass(looks: list[tuple[float, float]]) -> None:
    limits = gate(max_regression=0.1, add_repeats=True)
    before: Outcome = "inconclusive"
    earlier: dict[str, tuple[float, float]] = {}
    for number, (first, second) in enumerate(looks, start=1):
        rows: Sequence[Row] = [first] * 40 + [second] * 40
        new, old = side(rows), side([1.0] * 80)
        evidence = gather(
            limits, new, old, lambda _: ACCURACY, Rows(design=Design(repeats=2, look=number), earlier=earlier)
        )
        (finding,) = judge(limits, evidence, explain=False)[2:]
        assert not (before == "fail" and finding.outcome != "fail")
        before = "fail" if finding.outcome == "fail" else before
        assert finding.p_pass is not None
        assert finding.p_fail is not None
        earlier[question_name(finding)] = (finding.p_pass, finding.p_fail)


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_a_sequential_verdict_does_not_depend_on_the_order_of_the_file(
    rows: Sequence[Row], chance: random.Random
) -> None:
    limits = gate(min=0.6, sequential=True)
    texts = [f"row {index}" for index in range(len(rows))]
    places = chance.sample(range(len(rows)), len(rows))
    moved, moved_texts = [rows[place] for place in places], [texts[place] for place in places]
    one = findings(limits, rows, design=Design(order=draw_order(texts, 3)))
    other = findings(limits, moved, design=Design(order=draw_order(moved_texts, 3)))
    assert one == other


def test_another_seed_draws_in_another_order() -> None:
    texts = [f"row {index}" for index in range(50)]
    orders = [tuple(draw_order(texts, seed)) for seed in range(3)]
    assert len({tuple(range(50)), *orders}) == 4


@given(st.lists(st.floats(0.0, 5.0), min_size=5, max_size=60))
@example([0.0, 0.0, 0.0, 0.0, 1.1e-144])
def test_the_same_rows_give_the_same_numbers_in_any_order(values: list[float]) -> None:
    first, second = (findings(gate(min=2.0), list(rows), None, BOUNDED)[0] for rows in (values, sorted(values)))
    assert (first.p_pass, first.p_fail) == (second.p_pass, second.p_fail)
