"""`llmops-pull-request-report.yml`, run over what a fork's run left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.github_double import BOT, COMMIT, NUMBER, REPOSITORY, TOKEN, GitHub
from tests.projects import TinyProject, make_project
from tests.templates.changes import HOSTILE, break_answers
from tests.templates.expressions import Expressions
from tests.templates.github_runner import Runner, commands_in

pytestmark = pytest.mark.slow

WORKFLOW = ".github/workflows/llmops-pull-request-report.yml"
RUN = 4711

Report = Callable[..., Runner]


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of a fork's run: a check that failed over rows that are hostile."""
    project: TinyProject = make_project(tmp_path_factory.mktemp("fork"))
    project.rows(HOSTILE, "other")
    break_answers(project)
    folder = tmp_path_factory.mktemp("left")
    answer = project.run("check", "--output", str(folder / "llmops-check-tiny"))
    assert answer.code == 10, answer.err
    return folder


@pytest.fixture
def report(root: Path, tmp_path: Path, expressions: Expressions, github: GitHub, left_behind: Path) -> Report:
    artifacts = shutil.copytree(left_behind, tmp_path / "left")
    head = {"sha": COMMIT, "label": "fork:feature"}
    github.pulls.append({"number": NUMBER, "head": head})

    def run(number: int = 1, **changes: Any) -> Runner:
        event = {
            "id": RUN,
            "event": "pull_request",
            "conclusion": "failure",
            "head_branch": "feature",
            "head_sha": COMMIT,
            "head_repository": {"full_name": "fork/cat", "owner": {"login": "fork"}},
            **changes,
        }
        context = {
            "event": {"workflow_run": event},
            "event_name": "workflow_run",
            "repository": REPOSITORY,
            "token": TOKEN,
        }
        return Runner(
            root=root,
            folder=tmp_path / f"run-{number}",
            expressions=expressions,
            origin=tmp_path,
            commit="",
            github=context,
            env={"GITHUB_API_URL": github.url, "NO_COLOR": "1"},
            other_runs={RUN: artifacts},
        )

    return run


def test_a_forks_verdict_becomes_a_comment_of_the_trusted_half(report: Report, github: GitHub) -> None:
    runner = report()
    assert runner.run(WORKFLOW) == {"comment": "success"}
    (comment,) = github.comments
    assert "tiny: failed" in comment["body"]
    assert "which ended with failure" in comment["body"]
    assert f"/actions/runs/{RUN}" in comment["body"]


def test_a_second_run_for_the_same_commit_updates_the_comment(report: Report, github: GitHub) -> None:
    report().run(WORKFLOW)
    report(2, conclusion="cancelled").run(WORKFLOW)
    (comment,) = github.comments
    assert comment["user"]["login"] == BOT
    assert "which ended with cancelled" in comment["body"]


def test_the_job_checks_nothing_out_and_executes_nothing_of_the_change(
    report: Report, github: GitHub, tmp_path: Path
) -> None:
    runner = report()
    runner.run(WORKFLOW)
    assert list((tmp_path / "run-1" / "comment-0-1" / "workspace").iterdir()) == []
    assert list(tmp_path.rglob("pwned")) == []
    assert list(commands_in(runner.jobs["comment"][0])) == []
    assert not [line for line in github.comments[0]["body"].splitlines() if line.lstrip().startswith("::")]


@pytest.mark.parametrize(
    "changes",
    [
        {"event": "push"},
        {"event": "workflow_dispatch"},
        {"head_repository": {"full_name": REPOSITORY, "owner": {"login": "octo"}}},
    ],
)
def test_only_the_end_of_a_forks_pull_request_run_starts_the_job(
    report: Report, github: GitHub, changes: dict[str, Any]
) -> None:
    assert report(**changes).run(WORKFLOW) == {"comment": "skipped"}
    assert github.calls == []


def test_a_run_whose_commit_is_not_the_newest_any_more_says_nothing(report: Report, github: GitHub) -> None:
    runner = report(head_sha="f" * 40)
    assert runner.run(WORKFLOW) == {"comment": "success"}
    assert github.comments == []
    (warning,) = commands_in(runner.jobs["comment"][0])
    assert "no open pull request stands at the commit" in warning


def test_a_run_that_left_nothing_behind_is_said_to_have_affected_nothing(
    report: Report, github: GitHub, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "left")
    report(conclusion="success").run(WORKFLOW)
    assert "No experiment is affected" in github.comments[0]["body"]


def test_a_poisoned_artifact_fails_the_job_and_posts_nothing(report: Report, github: GitHub, tmp_path: Path) -> None:
    verdict = tmp_path / "left/llmops-check-tiny/verdict.json"
    verdict.unlink()
    verdict.symlink_to("/etc/passwd")
    runner = report()
    assert runner.run(WORKFLOW) == {"comment": "failure"}
    assert github.comments == []
    assert "root:" not in runner.jobs["comment"][0].text
