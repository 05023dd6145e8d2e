"""`llmops selftest`: planted regressions, scored by the project's own evaluator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.projects import DEADLINE_S, TinyProject, make_project

PLAIN = "- {metric: accuracy, min: 0.8, max_regression: 0.1}"


def selftest(project: TinyProject, *arguments: str) -> str:
    """Run it to its end; it starts a worker for each planted run."""
    process = project.start("selftest", "tiny", *arguments)
    out, err = process.communicate(timeout=10 * DEADLINE_S)
    assert process.returncode == 0, err
    return out


@pytest.mark.slow
def test_it_finds_from_what_size_on_each_regression_is_stopped(tmp_path: Path) -> None:
    project: TinyProject = make_project(tmp_path / "project")
    document = json.loads(selftest(project, "--json"))
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


SPEED = """\
  speed:
    builtin: latency
    metrics:
      p90: {score: seconds, kind: percentile, percentile: 90, higher_is_better: false}
gate:
"""


@pytest.mark.slow
def test_rows_that_became_slow_are_stopped_by_a_limit_on_a_percentile_of_latency(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.rows(*(f"sleep:0.3{number:02}" for number in range(40)))
    project.replace("config/experiments/tiny.yaml", "gate:\n", SPEED)
    project.replace("config/experiments/tiny.yaml", f"    {PLAIN}\n", "    - {metric: p90, max: 2.5}\n")
    document = json.loads(selftest(project, "--json"))
    slow = next(plant for plant in document["plants"] if plant["plant"] == "slow")
    assert document["unchanged"] == "pass"
    assert (slow["stopped_from"], slow["outcomes"]) == (20, {"5": "pass", "10": "pass", "20": "fail", "50": "fail"})


@pytest.mark.slow
def test_a_gate_that_is_inconclusive_with_nothing_wrong_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.replace(
        "config/experiments/tiny.yaml", PLAIN, "- {metric: accuracy, max_regression: 0.01, confidence: 0.95}"
    )
    text = selftest(project)
    assert "20 rows; the unchanged flow against itself: inconclusive" in text
    assert "only a fail counts as stopped" in text
    assert "✗ slow: rows that take 10 times as long: not stopped, not even at 50 % of the rows" in text
