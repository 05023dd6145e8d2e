"""Confidence about numbers that only an evaluator can form: its aggregation runs again over resampled rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.projects import TinyProject, make_project

GATE = "    - {metric: accuracy, min: 0.8, max_regression: 0.1}\n"
CLASSIFICATION = """\
  grades:
    builtin: classification
    column_mapping: {reference: "${data.expected}", prediction: "${run.outputs.answer}"}
    metrics:
      f1.macro: {kind: opaque}
"""


def make(tmp_path: Path, *thresholds: str, wrong: int = 3) -> TinyProject:
    """Make a project of 60 rows with three classes, of which the first `wrong` rows are answered wrongly."""
    project = make_project(tmp_path / "project")
    lines = "".join(f"    - {threshold}\n" for threshold in thresholds)
    project.replace("config/experiments/tiny.yaml", GATE, lines)
    project.replace("config/experiments/tiny.yaml", "gate:\n", f"{CLASSIFICATION}gate:\n")
    words = ["ab", "cd", "ef"]
    rows = [{"question": words[n % 3], "expected": words[(n + (n < wrong)) % 3][::-1]} for n in range(60)]
    project.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    project.commit("gate")
    return project


def last(verdict: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = verdict["findings"][-1]
    return found


def test_a_number_of_the_evaluators_own_is_judged_by_a_bootstrap_that_is_labelled_approximate(tmp_path: Path) -> None:
    project = make(tmp_path, "{metric: grades.f1.macro, min: 0.8, confidence: 0.95, method: approximate}")
    code, verdict = project.check("--baseline", "none")
    finding = last(verdict)
    assert (code, finding["outcome"], finding["rule"], finding["is_guaranteed"]) == (0, "pass", "bootstrap", False)
    low, high = finding["bounds"]
    assert 0.8 < low < finding["value"] < high <= 1.0
    assert any("no guarantee for grades.f1.macro: the method is approximate" in note for note in verdict["notes"])
    assert len(verdict["candidate"]["resampled"]["grades.f1.macro"]) == 1000


def test_a_change_of_it_is_judged_over_the_same_resampled_rows_on_both_sides(tmp_path: Path) -> None:
    project = make(
        tmp_path, "{metric: grades.f1.macro, max_regression: 0.1, confidence: 0.95, method: approximate}", wrong=0
    )
    project.replace(
        "flows/answer/answer.py", "    return question[", "    return 'ba' if question == 'cd' else question["
    )
    code, verdict = project.check("--baseline", "HEAD")
    finding = last(verdict)
    assert (code, finding["outcome"], finding["rule"]) == (10, "fail", "bootstrap")
    assert finding["bounds"][1] < -0.1


def test_the_aggregation_node_of_a_flow_is_run_again_too(tmp_path: Path) -> None:
    project = make(tmp_path, "{metric: quality.accuracy, min: 0.8, confidence: 0.95, method: approximate}")
    project.replace(
        "config/experiments/tiny.yaml", "accuracy: {score: correct, kind: proportion}", "accuracy: {kind: opaque}"
    )
    code, verdict = project.check("--baseline", "none")
    finding = last(verdict)
    assert (code, finding["rule"], finding["value"]) == (0, "bootstrap", 0.95)
    assert finding["bounds"] == pytest.approx((0.9, 0.985), abs=0.02)


def test_a_second_check_answers_from_the_cache_without_resampling(tmp_path: Path) -> None:
    project = make(tmp_path, "{metric: grades.f1.macro, min: 0.8, confidence: 0.95, method: approximate}")
    _, first = project.check("--baseline", "none")
    _, second = project.check("--baseline", "none")
    assert second == first


def test_a_lost_row_leaves_it_undecided_and_the_message_says_why(tmp_path: Path) -> None:
    project = make(tmp_path, "{metric: grades.f1.macro, min: 0.1, confidence: 0.95, method: approximate}")
    rows = (project.root / "rows.jsonl").read_text(encoding="utf-8")
    project.write("rows.jsonl", rows + json.dumps({"question": "raise", "expected": "x"}) + "\n")
    code, verdict = project.check("--baseline", "none")
    assert (code, last(verdict)["outcome"]) == (10, "inconclusive")


@pytest.mark.parametrize(
    ("threshold", "problem"),
    [
        ("{metric: grades.f1.macro, min: 0.8, confidence: 0.95}", "ask for `method: approximate`: a bootstrap"),
        (
            "{metric: grades.f1.macro, min: 0.8, confidence: 0.95, method: approximate, slices: [expected]}",
            "slices of a number that only its evaluator can form",
        ),
    ],
)
def test_what_a_bootstrap_cannot_do_is_a_configuration_error(tmp_path: Path, threshold: str, problem: str) -> None:
    answer = make(tmp_path, threshold).run("check", "--baseline", "none")
    assert answer.code == 2
    assert problem in answer.err
