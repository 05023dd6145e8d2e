"""Each kind of flow and of evaluator has an example that passes its check offline."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from llmops.evaluators.builtin import BUILTINS
from tests.environments import copy_example
from tests.projects import TinyProject

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path, root: Path) -> TinyProject:
    return TinyProject(copy_example(root, tmp_path / "example"))


@pytest.mark.parametrize("name", ["judge-reply", "route-ticket", "ticket-facts", "ticket-reply-flex", "ticket-title"])
def test_the_example_of_a_kind_passes(project: TinyProject, name: str) -> None:
    answer = project.run("check", name, "--baseline", "none")
    assert answer.code == 0, answer.out + answer.err


def test_an_example_shows_each_built_in_metric(project: TinyProject) -> None:
    text = "".join(path.read_text("utf-8") for path in (project.root / "config/experiments").glob("*.yaml"))
    assert [name for name in BUILTINS if f"builtin: {name}\n" not in text] == []


def test_the_example_of_cost_passes_once_the_environment_has_prices(project: TinyProject) -> None:
    project.replace("config/experiments/ticket-facts.yaml", "# money: # needs", "money: # needs")
    project.replace("config/experiments/ticket-facts.yaml", "#   builtin: cost", "  builtin: cost")
    local = (project.root / "config/environments/local.yaml").read_text("utf-8")
    prices = "prices:\n  gpt-4o-mini: {prompt: 0.15, completion: 0.6, as_of: 2026-05-01}\n"
    project.write("config/environments/local.yaml", local + prices)
    answer = project.run("check", "ticket-facts", "--baseline", "none", "--json")
    assert answer.code == 0, answer.out + answer.err
    (evaluation,) = (project.root / ".llmops/evaluations").glob("*/evaluation.json")
    (usd,) = (found for found in json.loads(evaluation.read_text("utf-8"))["metrics"] if found["name"] == "usd")
    assert 0 < usd["value"] < 0.001


def test_the_judge_of_the_example_is_measured_three_times_and_recorded_with_its_digest(project: TinyProject) -> None:
    assert project.run("check", "ticket-reply-flex", "--baseline", "none").code == 0
    (evaluation,) = (project.root / ".llmops/evaluations").glob("*/evaluation.json")
    record = json.loads(evaluation.read_text("utf-8"))
    run = json.loads(
        (project.root / ".llmops/runs" / record["evaluation_runs"]["judge"] / "run.json").read_text("utf-8")
    )
    assert (run["repeats"], run["completed"]) == (3, 3 * record["rows"])
    assert record["evaluators"]["judge"] == run["flow"]["digest"]


@pytest.mark.registry
def test_an_agent_framework_workflow_passes_in_a_python_of_its_own(
    project: TinyProject, open_environment: dict[str, str]
) -> None:
    sealed = {name: "" for name in os.environ if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}}
    answer = project.run("check", "triage-agents", "--baseline", "none", env={**sealed, **open_environment})
    assert answer.code == 0, answer.out + answer.err


def test_the_run_files_of_the_example_run_as_they_are(project: TinyProject) -> None:
    project.replace("flows/web-classification/run.yml", "full.jsonl", "smoke.jsonl")
    project.replace("flows/web-classification/run_evaluation.yml", "full.jsonl", "smoke.jsonl")
    assert project.run("run", "--file", "flows/web-classification/run.yml").code == 0
    (run,) = (path.parent.name for path in (project.root / ".llmops/runs").glob("*/run.json"))
    answer = project.run("evaluate", "--file", "flows/web-classification/run_evaluation.yml", "--run", run)
    assert answer.code == 0, answer.err
    assert "eval-classification-accuracy.accuracy: 0.85, n 20" in answer.out
