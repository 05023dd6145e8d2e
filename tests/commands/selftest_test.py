"""`llmops selftest`: planted regressions, scored by the project's own evaluator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.projects import TinyProject, make_project

PLAIN = "- {metric: accuracy, min: 0.8, max_regression: 0.1}"


@pytest.mark.slow
def test_it_finds_from_what_size_on_each_regression_is_stopped(tmp_path: Path) -> None:
    project: TinyProject = make_project(tmp_path / "project")
    answer = project.run("selftest", "tiny", "--json")
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    plants = {plant["plant"]: plant for plant in document["plants"]}
    assert document["unchanged"] == "pass"
    assert {name: plant["stopped_from"] for name, plant in plants.items()} == {
        "flip": 20,
        "shuffle": 20,
        "blank": 20,
        "fail": 1,
        "slow": None,
    }
    assert plants["flip"]["outcomes"]["10"] == "pass"


@pytest.mark.slow
def test_a_gate_that_is_inconclusive_with_nothing_wrong_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.replace("config/experiments/tiny.yaml", PLAIN, "- {metric: accuracy, max_regression: 0.01, confidence: 0.95}")
    answer = project.run("selftest", "tiny")
    assert "20 rows; the unchanged flow against itself: inconclusive" in answer.out
    assert "only a fail counts as stopped" in answer.out
    assert "✗ slow: rows that take 10 times as long: not stopped, not even at 50 % of the rows" in answer.out
