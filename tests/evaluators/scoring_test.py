from __future__ import annotations

import math
from typing import Any

import pytest

from llmops.core.limits import MetricSpec
from llmops.evaluators.scoring import EvaluatedLines, ScoreColumns, join, score_rows
from llmops.records import Line, LineError, LineStatus


def line(row: int, status: LineStatus = "completed", repeat: int = 0, **outputs: Any) -> Line:
    error = None if status == "completed" else LineError(type="Broken", message="it broke")
    kept = outputs if status == "completed" else None
    return Line(row=row, repeat=repeat, status=status, inputs={}, outputs=kept, error=error)


def rows(lines: list[Line], **evaluations: list[Line]) -> list[Any]:
    return list(
        score_rows(join(iter(lines), {name: EvaluatedLines(lines=scored) for name, scored in evaluations.items()}))
    )


def test_a_row_is_scored_when_every_evaluator_scored_it() -> None:
    (row,) = rows([line(0)], quality=[line(0, correct=True, grade="good")])
    assert (row.status, row.scores) == ("scored", {"quality.correct": 1.0})
    assert row.outputs == {"quality": {"correct": True, "grade": "good"}}


def test_a_row_whose_flow_failed_is_failed_and_needs_no_evaluation() -> None:
    statuses = [row.status for row in rows([line(0, "failed"), line(1)], quality=[line(1, correct=1)])]
    assert statuses == ["failed", "scored"]


def test_a_row_that_an_evaluator_lost_is_unmeasured_and_says_why() -> None:
    broken, missing = rows([line(0), line(1)], quality=[line(0, "failed")])
    assert (broken.status, broken.errors) == ("unmeasured", {"quality": "it broke"})
    assert (missing.status, missing.errors) == ("unmeasured", {"quality": "it did not run"})


def test_repeats_are_averaged_within_their_row() -> None:
    lines = [line(0, repeat=0), line(0, repeat=1)]
    (row,) = rows(lines, quality=[line(0, repeat=0, correct=1), line(0, repeat=1, correct=0)])
    assert row.scores == {"quality.correct": 0.5}


def test_an_average_is_never_beyond_what_it_averages() -> None:
    lines = [line(0, repeat=repeat) for repeat in range(3)]
    (row,) = rows(lines, quality=[line(0, repeat=repeat, share=0.1) for repeat in range(3)])
    assert row.scores == {"quality.share": 0.1}


def test_a_number_that_is_too_large_to_be_added_up_is_no_score() -> None:
    (row,) = rows([line(0)], quality=[line(0, huge=1e308, larger=10**400, right=0.25)])
    assert row.scores == {"quality.right": 0.25}


def test_one_failed_repeat_makes_the_row_a_failed_one() -> None:
    lines = [line(0, repeat=0), line(0, "failed", repeat=1)]
    (row,) = rows(lines, quality=[line(0, repeat=0, correct=1)])
    assert (row.status, row.failed_share) == ("failed", 0.5)
    assert row.scores == {"quality.correct": 1.0}


def test_text_and_nan_are_no_scores() -> None:
    (row,) = rows([line(0)], quality=[line(0, grade="1", ratio="NaN", right=0.25)])
    assert row.scores == {"quality.right": 0.25}


LABELS = {"verdict": {"fits": 1, "misses": 0}}


def judged(*said: str) -> Any:
    lines = [line(0, repeat=repeat, verdict=text) for repeat, text in enumerate(said)]
    evaluated = {"judge": EvaluatedLines(lines=lines, repeats=len(said), labels=LABELS)}
    (row,) = score_rows(join(iter([line(0)]), evaluated))
    return row


def test_what_a_judge_says_in_words_is_the_score_of_its_label() -> None:
    assert judged("fits", " Fits\n", "misses").scores == {"judge.verdict": pytest.approx(2 / 3)}


def test_a_judge_that_says_none_of_the_labels_leaves_the_row_unmeasured() -> None:
    row = judged("fits", "It depends.", "fits")
    assert (row.status, row.scores) == ("unmeasured", {})
    assert row.errors == {"judge": "verdict is 'It depends.', which is none of the labels 'fits', 'misses'"}


def test_a_metric_with_labels_can_be_looked_up() -> None:
    assert {MetricSpec(score="verdict", labels={"fits": 1}): "found"}[MetricSpec(score="verdict", labels={"fits": 1})]


def test_columns_hold_nan_where_a_row_has_no_score() -> None:
    columns = ScoreColumns()
    for row in rows([line(0, "failed"), line(1)], quality=[line(1, correct=1)]):
        columns.add(row)
    scores = columns.build()
    assert list(scores.statuses) == ["failed", "scored"]
    assert math.isnan(scores.columns["quality.correct"][0])
    assert scores.columns["quality.correct"][1] == 1.0
