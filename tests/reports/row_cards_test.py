"""The rows of the HTML report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmops.reports.row_cards import FIELDS_SHOWN, build_cards, split_at_change
from tests.reports.verdicts import build_row, build_side, build_verdict

words = st.text(st.sampled_from("ab  "), max_size=30)


def test_only_what_differs_is_marked() -> None:
    assert split_at_change("a film about two sisters", "a film about three sisters") == (
        "a film about ",
        "two",
        " sisters",
    )
    assert split_at_change("Movie", "App") == ("", "Movie", "")
    assert split_at_change("one two", "one two three") == ("one two", "", "")


@given(words, words)
def test_the_parts_of_a_split_text_are_the_text(text: str, other: str) -> None:
    assert "".join(split_at_change(text, other)) == text


@given(words, words)
def test_a_text_that_differs_is_marked_on_one_side_at_least(text: str, other: str) -> None:
    marked = (split_at_change(text, other)[1], split_at_change(other, text)[1])
    assert (text == other) <= (marked == ("", ""))


def test_a_row_says_what_changed_and_begins_with_its_inputs() -> None:
    row = build_row(4, build_side("App", 0), build_side("Movie"), change="regressed")
    card = build_cards(build_verdict(flipped=(row,)))[0]
    assert card.title == "accuracy.grade: 1 → 0; category: Movie → App"
    assert card.preview == "url: https://apps.example/4"


def test_values_are_cut_and_the_rest_is_counted() -> None:
    row = build_row(1, build_side("x" * 10_000))
    category = build_cards(build_verdict(worst=(row,)))[0].outputs[0]
    assert (len(category.candidate.before), category.candidate.left_out) == (6_000, 4_000)


def test_many_fields_are_cut_and_counted() -> None:
    row = build_row(1, build_side(), inputs={f"column {at}": at for at in range(FIELDS_SHOWN + 5)})
    card = build_cards(build_verdict(worst=(row,)))[0]
    assert (len(card.inputs), card.fields_left_out) == (FIELDS_SHOWN, 5)


def test_the_status_is_listed_only_where_a_side_has_no_score() -> None:
    rows = (build_row(1, build_side(), badness=2.0), build_row(2, build_side(status="failed", error="KeyError: x")))
    fine, failed = build_cards(build_verdict(worst=rows))
    assert fine.errors is None
    assert failed.errors is not None
    assert failed.errors.candidate.before == "failed: KeyError: x"
