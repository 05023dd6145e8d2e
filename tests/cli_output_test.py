"""What the driver prints in a pipeline: no answer of a model acts on the CI system, whatever command shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.projects import TinyProject, make_project

ATTACK = "##vso[task.setvariable variable=stolen]yes ::error::forged"
HOSTS = ({"GITHUB_ACTIONS": "true"}, {"TF_BUILD": "True"})


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """A project whose flow answers with commands for both systems, and prints them; it has run once."""
    project = make_project(tmp_path_factory.mktemp("attacked"))
    answer = "flows/answer/answer.py"
    code = (project.root / answer).read_text(encoding="utf-8")
    attack = f'print("::error::printed"); return "::set-output name=a::b\\\\r::error::c\\\\n{ATTACK}"'
    project.write(answer, re.sub(r"return question\[::-1\]", lambda _: attack, code))
    project.rows("question 1")
    assert project.run("run", "tiny").code == 0
    return project


def obeyed(text: str) -> list[str]:
    """Give the lines that a runner of either system obeys and that hold what the flow said."""
    lines = [
        line for line in re.split("[\r\n]", text) if line.lstrip().startswith("::") or re.search(r"##(vso)?\[", line)
    ]
    return [line for line in lines if "forged" in line or "stolen" in line or "printed" in line]


@pytest.mark.parametrize("env", HOSTS, ids=["github", "azure"])
@pytest.mark.parametrize(
    "command",
    [
        ["check", "--baseline", "none"],
        ["check", "--baseline", "none", "--json"],
        ["run", "tiny", "--json"],
        ["test", "tiny", "--inputs", "question=one"],
        ["test", "tiny", "--inputs", "question=one", "--json"],
        ["runs", "list", "--json"],
        ["evaluate", "--scheduled", "--json", "--dry-run"],
    ],
    ids=" ".join,
)
def test_no_answer_acts_on_the_pipeline(attacked: TinyProject, command: list[str], env: dict[str, str]) -> None:
    answer = attacked.run(*command, env=env)
    assert answer.code in (0, 10, 11), answer.err
    assert obeyed(f"{answer.out}\n{answer.err}") == []
    if "--json" in command:
        assert json.loads(answer.out)


def test_what_a_flow_printed_and_answered_is_shown_defused(attacked: TinyProject) -> None:
    attacked.run("run", "tiny")
    (run,) = [one["id"] for one in json.loads(attacked.run("runs", "list", "--json").out) if one["target"] is None][:1]
    shown = attacked.run("runs", "show", run, "--json")
    exported = attacked.run("runs", "export", run)
    logged = attacked.run("runs", "logs", run)
    assert obeyed(f"{shown.out}\n{exported.out}\n{logged.out}") == []
    assert "printed" in logged.out
    assert ATTACK in json.loads(exported.out.splitlines()[0])["outputs"]["answer"]


def test_the_drivers_own_annotations_are_still_obeyed(attacked: TinyProject, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    answer = attacked.run("check", "--baseline", "none", env={**HOSTS[0], "GITHUB_STEP_SUMMARY": str(summary)})
    assert [line for line in answer.out.splitlines() if line.startswith("::error ")]
