"""Each kind of flow has an example that passes its check offline."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.environments import copy_example
from tests.projects import TinyProject

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path, root: Path) -> TinyProject:
    return TinyProject(copy_example(root, tmp_path / "example"))


@pytest.mark.parametrize("name", ["route-ticket", "ticket-reply-flex", "ticket-title"])
def test_the_example_of_a_kind_passes(project: TinyProject, name: str) -> None:
    answer = project.run("check", name, "--baseline", "none")
    assert answer.code == 0, answer.out + answer.err


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
