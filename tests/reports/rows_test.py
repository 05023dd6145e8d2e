"""What differs between the two sides of a row."""

from __future__ import annotations

from llmops.reports.rows import ABSENT, changed_fields, describe_side, pair_outputs, show_side
from tests.reports.verdicts import build_row, build_side


def test_scores_that_changed_come_before_outputs_that_changed() -> None:
    row = build_row(1, build_side("App", 0), build_side("Movie", 1), change="regressed")
    assert [(pair.name, pair.baseline, pair.candidate) for pair in changed_fields(row)] == [
        ("accuracy.grade", 1, 0),
        ("category", "Movie", "App"),
    ]


def test_nothing_changed_when_there_is_no_baseline() -> None:
    assert changed_fields(build_row(1, build_side())) == []


def test_a_failed_side_lacks_its_outputs() -> None:
    row = build_row(1, build_side(status="failed", error="ValueError: x"), build_side("Movie"))
    assert [(pair.name, pair.candidate, pair.changed) for pair in pair_outputs(row)] == [
        ("category", ABSENT, True),
        ("evidence", ABSENT, True),
    ]
    assert describe_side(row.candidate) == "failed: ValueError: x"


def test_two_numbers_that_differ_look_different_and_booleans_are_no_numbers() -> None:
    assert show_side(0.123456, 0.123457, 40) == "0.123456"
    assert show_side(True, False, 40) == "true"
    assert show_side(ABSENT, 1, 40) == "—"
