"""`llmops gate --power`: what a data set can find, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.projects import TinyProject, make_project

PLAIN = "- {metric: accuracy, min: 0.8, max_regression: 0.1}"


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    project = make_project(tmp_path / "project")
    project.replace("config/experiments/tiny.yaml", PLAIN, PLAIN.replace("}", ", confidence: 0.95}"))
    return project


def test_it_says_what_twenty_rows_find_and_runs_nothing(project: TinyProject) -> None:
    answer = project.run("gate", "--power", "tiny")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[:2] == [
        "tiny: data set 'rows', 20 rows",
        "  accuracy min 0.8: 20 rows: fails a true value of 0.504, passes one of 1 in 80 % of runs (Clopper-Pearson)",
    ]
    assert "if 20 % of the rows change: " in answer.out
    assert not (project.root / ".llmops").exists()


def test_a_machine_can_read_the_plan(project: TinyProject) -> None:
    document = json.loads(project.run("gate", "--power", "tiny", "--json").out)
    plans = {(plan["limit"], plan["discordance"]): plan for plan in document["plans"]}
    assert set(plans) == {("min 0.8", None), *(("max_regression 0.1", share) for share in (0.1, 0.2, 0.3))}
    assert 120 <= plans["max_regression 0.1", 0.2]["rows_needed"] <= 170


def test_a_plain_comparison_has_no_error_rates_to_plan_for(project: TinyProject) -> None:
    project.replace("config/experiments/tiny.yaml", ", confidence: 0.95", "")
    assert (
        "a plain comparison: without `confidence` it has no error rates" in project.run("gate", "--power", "tiny").out
    )


def test_a_gate_without_an_evaluation_is_a_usage_error(project: TinyProject) -> None:
    answer = project.run("gate")
    assert (answer.code, "no evaluation is named" in answer.err) == (2, True)
