"""`llmops-pull-request.yml`, run: real git, the real driver, GitHub's own expressions."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.github_double import FORBIDDEN, NUMBER, REPOSITORY, TOKEN, GitHub
from tests.projects import TinyProject
from tests.templates.changes import HOSTILE, break_answers, commit_on_branch
from tests.templates.expressions import Expressions
from tests.templates.github_runner import Runner, commands_in

pytestmark = pytest.mark.slow

WORKFLOW = ".github/workflows/llmops-pull-request.yml"


def open_pull_request(
    root: Path, tmp_path: Path, expressions: Expressions, project: TinyProject, github: GitHub, *, title: str = "change"
) -> Runner:
    """Commit what changed on a branch, and build the run that GitHub would start for it."""
    commit = commit_on_branch(project)
    head: dict[str, Any] = {"sha": commit, "ref": title, "repo": {"full_name": REPOSITORY}}
    event = {"pull_request": {"number": NUMBER, "title": title, "body": title, "head": head}}
    context = {
        "event": event,
        "event_name": "pull_request",
        "base_ref": "main",
        "head_ref": title,
        "ref": f"refs/pull/{NUMBER}/merge",
        "repository": REPOSITORY,
        "run_id": "99",
        "run_attempt": "1",
        "token": TOKEN,
    }
    return Runner(
        root=root,
        folder=tmp_path / "run",
        expressions=expressions,
        origin=project.root,
        commit=commit,
        github=context,
        env={"GITHUB_API_URL": github.url, "GITHUB_RUN_ID": "99", "NO_COLOR": "1"},
    )


@pytest.fixture
def change(root: Path, tmp_path: Path, expressions: Expressions, project: TinyProject, github: GitHub) -> Any:
    return lambda **more: open_pull_request(root, tmp_path, expressions, project, github, **more)


def test_a_good_change_is_green_and_commented(change: Any, project: TinyProject, github: GitHub) -> None:
    project.rows(*(f"other question {number}" for number in range(20)))
    runner = change()
    assert runner.run(WORKFLOW) == {"plan": "success", "check": "success", "report": "success"}
    assert "tiny: passed" in github.comments[0]["body"]
    assert "tiny: passed" in runner.jobs["check"][0].summary


def test_a_worse_change_is_red_and_says_at_which_line(change: Any, project: TinyProject, github: GitHub) -> None:
    break_answers(project)
    runner = change()
    assert runner.run(WORKFLOW) == {"plan": "success", "check": "failure", "report": "failure"}
    assert "tiny: failed" in github.comments[0]["body"]
    errors = [line for line in commands_in(runner.jobs["check"][0]) if line.startswith("::error ")]
    assert errors[0].startswith("::error file=config/experiments/tiny.yaml,line=14,")


def test_no_job_that_runs_the_change_sees_the_token(change: Any, project: TinyProject) -> None:
    break_answers(project)
    runner = change()
    runner.run(WORKFLOW)
    assert runner.jobs["check"][0].secrets_seen == runner.jobs["plan"][0].secrets_seen == set()
    assert runner.jobs["report"][0].secrets_seen == {"GITHUB_TOKEN"}


def test_a_fork_gets_its_verdict_without_a_comment(change: Any, project: TinyProject, github: GitHub) -> None:
    break_answers(project)
    github.trouble = [None, FORBIDDEN]
    runner = change()
    assert runner.run(WORKFLOW)["report"] == "failure"
    (warning,) = [line for line in commands_in(runner.jobs["report"][0]) if line.startswith("::warning")]
    assert "Resource not accessible by integration" in warning
    assert github.comments == []


def test_a_change_that_touches_no_experiment_is_green_without_a_check(
    change: Any, project: TinyProject, github: GitHub
) -> None:
    project.write("README.md", "words")
    assert change().run(WORKFLOW) == {"plan": "success", "check": "skipped", "report": "success"}
    assert "No experiment is affected" in github.comments[0]["body"]


def test_a_second_push_updates_the_comment(
    change: Any, project: TinyProject, github: GitHub, root: Path, tmp_path: Path, expressions: Expressions
) -> None:
    project.write("README.md", "words")
    change().run(WORKFLOW)
    break_answers(project)
    again = open_pull_request(root, tmp_path / "again", expressions, project, github)
    again.run(WORKFLOW)
    assert len(github.comments) == 1
    assert "tiny: failed" in github.comments[0]["body"]


def test_jobs_that_are_run_again_give_the_recorded_verdict_without_asking_the_flow_again(
    change: Any, project: TinyProject, github: GitHub
) -> None:
    project.rows(*(f"other question {number}" for number in range(20)))
    first = change()
    first.run(WORKFLOW)
    again = replace(first, github={**first.github, "run_attempt": "2"}, jobs={})
    assert again.run(WORKFLOW)["report"] == "success"
    assert len(github.comments) == 1
    (check,) = again.jobs["check"]
    assert check.restored[0].startswith(f"llmops-lines-{NUMBER}-Linux-tiny-")
    verdict = json.loads((again.folder / "artifacts/llmops-check-tiny/verdict.json").read_text(encoding="utf-8"))
    assert verdict["candidate"]["run"]["cached"] == 20


def test_a_pull_request_saves_no_cache_that_a_trusted_run_or_another_one_restores(
    change: Any, project: TinyProject
) -> None:
    project.rows("other question")
    runner = change()
    runner.run(WORKFLOW)
    saved = [path.name for path in runner.caches.iterdir()]
    assert saved
    assert all(re.match(rf"llmops-(lines|packages)-{NUMBER}-", name) for name in saved)


def test_hostile_text_in_title_branch_and_answers_does_nothing(
    change: Any, project: TinyProject, github: GitHub, tmp_path: Path
) -> None:
    project.rows(HOSTILE, expected={HOSTILE: "x"})
    runner = change(title=HOSTILE)
    runner.run(WORKFLOW)
    assert list(tmp_path.rglob("pwned")) == []
    lines = [line for job in ("plan", "check", "report") for leg in runner.jobs[job] for line in commands_in(leg)]
    assert [line for line in lines if not line.startswith("::error file=config/experiments/tiny.yaml,")] == []
    assert not [line for line in github.comments[0]["body"].splitlines() if line.startswith("::")]


def test_an_expected_experiment_whose_job_was_lost_is_no_pass(
    change: Any, project: TinyProject, github: GitHub
) -> None:
    project.write("flows/answer/answer.py", "not python (")
    runner = change()
    assert runner.run(WORKFLOW)["report"] == "failure"
    assert "`tiny` | ❌ no verdict" in github.comments[0]["body"]
