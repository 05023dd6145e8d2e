"""`llmops check` where the same limits are judged more than once: added repeats, drawn rows, slices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.projects import TinyProject, findings, make_project

GATE = """\
gate:
  thresholds:
    - {metric: accuracy, min: 0.8, max_regression: 0.1}
"""


def make(tmp_path: Path, gate: str, rows: int) -> TinyProject:
    project = make_project(tmp_path / "project")
    project.replace("config/experiments/tiny.yaml", GATE, gate)
    lines = [{"question": f"q {n}", "expected": f"q {n}"[::-1], "kind": "ab"[n % 2]} for n in range(rows)]
    project.write("rows.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    project.commit("gate")
    return project


def test_added_repeats_are_a_second_look_that_a_plain_check_returns_from_then_on(tmp_path: Path) -> None:
    gate = "gate:\n  add_repeats: true\n  confidence: 0.95\n  thresholds:\n    - {metric: accuracy, min: 0.5}\n"
    project = make(tmp_path, gate, 16)
    _, first = project.check("--baseline", "none")
    _, second = project.check("--baseline", "none", "--add-repeats", "2")
    _, third = project.check("--baseline", "none")
    assert [look["repeats"] for look in first["looks"]] == [1]
    assert [(look["number"], look["repeats"]) for look in second["looks"]] == [(1, 1), (2, 3)]
    assert second["findings"][2]["rule"] == "betting"
    assert third == second


def test_a_second_look_that_a_gate_of_one_look_does_not_pay_for_is_said(tmp_path: Path) -> None:
    gate = "gate:\n  confidence: 0.95\n  thresholds:\n    - {metric: accuracy, min: 0.5}\n"
    project = make(tmp_path, gate, 16)
    _, first = project.check("--baseline", "none")
    project.replace("config/experiments/tiny.yaml", "gate:\n", "repeat: 3\ngate:\n")
    _, second = project.check("--baseline", "none")
    notes = [
        note
        for note in second["notes"]
        if note.startswith("these digests were judged before (measurements of each row: 1)")
    ]
    assert len(notes) == 1
    assert not any(note.startswith("these digests") for note in first["notes"])


def test_repeats_may_not_be_added_to_a_gate_of_one_look(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    answer = project.run("check", "--add-repeats", "2")
    assert answer.code == 2
    assert "repeats may not be added: the gate has one look" in answer.err


def test_a_sequential_check_stops_asking_for_rows_once_the_verdict_is_certain(tmp_path: Path) -> None:
    gate = "concurrency: 8\ngate:\n  sequential: true\n  confidence: 0.95\n  thresholds:\n    - {metric: accuracy, min: 0.5}\n"
    project = make(tmp_path, gate, 60)
    code, verdict = project.check("--baseline", "none")
    ran = verdict["candidate"]["rows"]
    assert (code, ran) == (0, 8)
    assert f"sequential: {ran} of 60 rows ran, in the order of seed 0" in verdict["notes"]
    lines = (project.root / ".llmops/runs" / verdict["candidate"]["run"]["id"] / "lines.jsonl").read_text()
    assert len(lines.splitlines()) == ran
    assert [json.loads(line)["row"] for line in lines.splitlines()] != list(range(ran))


def test_rows_at_which_a_sequential_check_stopped_are_judged_by_that_check_alone(tmp_path: Path) -> None:
    gate = "concurrency: 8\ngate:\n  sequential: true\n  confidence: 0.95\n  thresholds:\n    - {metric: accuracy, min: 0.5}\n"
    project = make(tmp_path, gate, 60)
    _, verdict = project.check("--baseline", "none")
    project.replace("config/experiments/tiny.yaml", "  sequential: true\n", "")
    answer = project.run("gate", verdict["candidate"]["id"])
    assert answer.code == 2
    assert "the evaluation rests on some of the rows only: a sequential check stopped there" in answer.err
    assert "found 8 of 60 rows" in answer.err


def test_slices_of_rows_drawn_one_by_one_are_judged_once_they_are_certain(tmp_path: Path) -> None:
    gate = "concurrency: 8\ngate:\n  sequential: true\n  target: this_dataset\n  confidence: 0.95\n"
    gate += "  thresholds:\n    - {metric: accuracy, min: 0.95, slices: [kind]}\n"
    project = make(tmp_path, gate, 24)
    code, verdict = project.check("--baseline", "none")
    assert code == 0
    assert [found["outcome"] for found in verdict["findings"][2:]] == ["pass", "pass", "pass"]


def test_an_evaluators_output_that_nobody_declared_has_no_bounds_to_rest_confidence_on(tmp_path: Path) -> None:
    project = make(tmp_path, "gate:\n  thresholds:\n    - {metric: correct, min: 0.5, confidence: 0.95}\n", 20)
    code, verdict = project.check("--baseline", "none")
    assert (code, findings(verdict)["correct min"]) == (11, "inconclusive")
    assert "declare its bounds" in verdict["findings"][2]["message"]


def test_the_workers_of_a_sequential_check_stay_from_one_look_to_the_next(tmp_path: Path) -> None:
    gate = "concurrency: 4\ngate:\n  sequential: true\n  confidence: 0.95\n  thresholds:\n    - {metric: accuracy, min: 0.8}\n"
    project = make(tmp_path, gate, 0)
    (tmp_path / "pids").mkdir()
    project.rows(*(f"pid:{tmp_path / 'pids'}:{n}" for n in range(40)))
    code, verdict = project.check("--baseline", "none")
    assert (code, verdict["candidate"]["rows"]) == (0, 24)
    (worker,) = (tmp_path / "pids").iterdir()
    assert len(worker.read_text(encoding="utf-8")) == 24


def test_a_flow_that_became_slower_and_answers_the_same_is_compared_by_its_own_times(tmp_path: Path) -> None:
    project = make(tmp_path, "gate:\n  thresholds:\n    - {metric: seconds, max_regression: 0.05}\n", 4)
    project.replace("config/experiments/tiny.yaml", "gate:\n", "  speed:\n    builtin: latency\ngate:\n")
    project.commit("speed")
    project.replace("flows/answer/answer.py", "    return question[", "    time.sleep(1)\n    return question[")
    code, verdict = project.check("--baseline", "HEAD")
    assert (code, findings(verdict)["seconds max_regression"]) == (10, "fail")
    assert verdict["findings"][-1]["difference"] > 0.1


def test_a_sum_counts_what_was_spent_on_rows_that_failed(tmp_path: Path) -> None:
    gate = "gate:\n  max_failed: 1\n  thresholds:\n    - {metric: total, max: 60}\n"
    project = make(tmp_path, gate, 0)
    declared = "{score: seconds, kind: sum, higher_is_better: false}"
    speed = f"  speed:\n    builtin: latency\n    metrics:\n      total: {declared}\ngate:\n"
    project.replace("config/experiments/tiny.yaml", "gate:\n", speed)
    project.rows("a", "b", "raise:c")
    code, verdict = project.check("--baseline", "none")
    (total,) = [metric for metric in verdict["candidate"]["metrics"] if metric["name"] == "total"]
    assert (code, total["n"], total["failed"], total["unmeasured"]) == (0, 3, 1, 0)


def test_scores_near_the_ends_of_the_floats_are_unmeasured_rows_and_no_bug(tmp_path: Path) -> None:
    project = make(tmp_path, "gate:\n  thresholds:\n    - {metric: correct, min: 0.5}\n", 20)
    project.replace(
        "config/experiments/tiny.yaml", "accuracy: {score: correct, kind: proportion}", "correct: {score: correct}"
    )
    project.replace(
        "flows/score/grade.py", "int(expected == answer)", "1.7e308 if expected.endswith('q') else -1.7e308"
    )
    code, verdict = project.check("--baseline", "none")
    assert (code, findings(verdict)["correct min"]) == (11, "inconclusive")
    assert verdict["findings"][2]["message"] == "no row has the score 'correct'"


def test_each_slice_of_the_data_has_a_finding(tmp_path: Path) -> None:
    gate = "gate:\n  confidence: 0.9\n  thresholds:\n    - {metric: accuracy, min: 0.5, slices: [kind]}\n"
    project = make(tmp_path, gate, 20)
    code, verdict = project.check("--baseline", "none")
    assert code == 0
    assert [found["slice"] for found in verdict["findings"][2:]] == ["", "kind=a", "kind=b"]
    assert findings(verdict)["accuracy min"] == "pass"


@pytest.mark.parametrize(
    ("gate", "problem"),
    [
        ("{metric: accuracy, min: 0.5, slices: [langauge]}", "a slice by a column that the data set does not have"),
        ("{metric: other, min: 0.5, confidence: 0.95}", "confidence about a number that only its evaluator can form"),
        ("{metric: length, min: 0.5, confidence: 0.95}", "confidence about a mean of scores without bounds"),
    ],
)
def test_what_cannot_be_decided_is_said_before_any_line_runs(tmp_path: Path, gate: str, problem: str) -> None:
    project = make(tmp_path, f"gate:\n  thresholds:\n    - {gate}\n", 4)
    declared = "accuracy: {score: correct, kind: proportion}"
    more = f"{declared}\n      other: {{kind: opaque}}\n      length: {{score: length}}"
    project.replace("config/experiments/tiny.yaml", declared, more)
    answer = project.run("check", "--baseline", "none")
    assert answer.code == 2
    assert problem in answer.err
    assert not (project.root / ".llmops/runs").exists()
