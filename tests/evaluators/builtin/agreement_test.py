from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from llmops.evaluators.builtin.agreement import Agreement


def measure(*rows: tuple[str, Sequence[str]], **options: Any) -> Mapping[str, float]:
    """Give the label of people and what the judge said of each row."""
    metric = Agreement(**options)
    lines = [
        metric(prediction=said, reference=people, row=row)
        for row, (people, judged) in enumerate(rows)
        for said in judged
    ]
    return metric.__aggregate__(lines)


def test_a_judge_that_always_says_what_people_say_has_kappa_one() -> None:
    metrics = measure(("a", ["A"]), ("b", ["b "]), ("a", ["a"]), ("b", ["b"]))
    assert (metrics["agreement"], metrics["kappa"], metrics["kappa.low"], metrics["kappa.high"]) == (1, 1, 1, 1)


def test_a_judge_that_always_says_one_thing_has_kappa_zero_however_often_it_is_right() -> None:
    metrics = measure(*[("fits", ["fits"])] * 9, ("misses", ["fits"]))
    assert metrics["agreement"] == pytest.approx(0.9)
    assert metrics["kappa"] == pytest.approx(0)


def test_kappa_is_absent_where_there_is_but_one_label() -> None:
    assert "kappa" not in measure(("a", ["a"]), ("a", ["a"]))


def test_no_lines_have_no_metrics() -> None:
    assert Agreement().__aggregate__([]) == {}


def test_repeats_of_a_row_are_compared_with_one_another() -> None:
    metrics = measure(("a", ["a", "a", "b"]), ("b", ["b", "b", "b"]))
    assert metrics["repeats_agree"] == pytest.approx((1 + 3) / 6)


def test_repeats_are_no_further_evidence() -> None:
    rows = [("a", ["a"]), ("b", ["b"]), ("a", ["b"]), ("b", ["b"]), ("a", ["a"])]
    once, thrice = measure(*rows), measure(*[(people, judged * 3) for people, judged in rows])
    for name in ("kappa", "kappa.low", "kappa.high"):
        assert once[name] == pytest.approx(thrice[name])


def test_a_near_miss_counts_less_than_a_wide_one() -> None:
    near = measure(("1", ["2"]), ("5", ["5"]), ("3", ["3"]), weights="linear")
    wide = measure(("1", ["5"]), ("5", ["5"]), ("3", ["3"]), weights="linear")
    assert near["kappa"] > wide["kappa"]


def test_weights_need_numbers() -> None:
    with pytest.raises(ValueError, match="'good' is no number, which linear weights need"):
        Agreement(weights="linear")("good", "3", row=0)


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="weights: 'cubic', expected nominal, linear or quadratic"):
        Agreement(weights="cubic")  # type: ignore[arg-type]


def test_few_rows_determine_no_interval() -> None:
    metrics = measure(("a", ["a"]), ("b", ["b"]))
    assert (metrics["kappa.low"], metrics["kappa.high"]) == (-1, 1)


def test_the_interval_holds_the_kappa_of_all_rows_about_as_often_as_it_says() -> None:
    chance = random.Random(7)
    held = 0
    for _ in range(300):
        rows = []
        for _ in range(80):
            people = chance.choice("ab")
            rows.append((people, [people if chance.random() < 0.8 else ("b" if people == "a" else "a")]))
        metrics = measure(*rows)
        held += metrics["kappa.low"] <= 0.6 <= metrics["kappa.high"]
    assert 270 <= held <= 297
