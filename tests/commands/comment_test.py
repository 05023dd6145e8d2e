"""`llmops comment`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops.commands.comment import comment
from llmops.errors import UsageError
from llmops.records import write_record
from tests.hosts.azure_double import AzureRepos
from tests.hosts.github_double import FORBIDDEN, GitHub
from tests.hosts.rest_double import serve
from tests.hosts.surroundings import build_context
from tests.reports.verdicts import build_verdict, failed_verdict, hostile_verdict


@pytest.fixture
def github() -> Iterator[GitHub]:
    service = GitHub()
    with serve(service):
        yield service


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_record(tmp_path / "results" / "a" / "verdict.json", failed_verdict(experiment="alpha"))
    write_record(tmp_path / "results" / "b" / "verdict.json", build_verdict(experiment="beta"))
    return tmp_path / "results"


def test_the_comment_names_each_experiment_and_the_one_without_a_verdict(
    github: GitHub, results: Path, tmp_path: Path
) -> None:
    context = build_context(tmp_path, env=github.environment(tmp_path))
    assert comment(context=context, verdict=results, expected=("alpha", "beta", "gamma")) == 0
    body = github.comments[0]["body"].replace("\r\n", "\n")
    assert "## ❌ 3 experiments: 1 passed, 1 failed, 1 without a verdict" in body
    assert "| `gamma` | ❌ no verdict: see the log of its job | | |" in body
    assert "| `beta` | ✅ passed | 1 limit: 1 passed. |" in body
    assert body.rstrip().endswith("[Run and report files](https://github.com/octo/cat/actions/runs/99)")


def test_the_comment_of_a_single_experiment_is_its_report(github: GitHub, results: Path, tmp_path: Path) -> None:
    comment(context=build_context(tmp_path, env=github.environment(tmp_path)), verdict=results / "b")
    assert "## ✅ beta: passed" in github.comments[0]["body"]


def test_no_affected_experiment_is_said_in_the_comment(github: GitHub, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    context = build_context(tmp_path, env=github.environment(tmp_path))
    assert comment(context=context, verdict=tmp_path / "results", expected=()) == 0
    assert "No experiment is affected" in github.comments[0]["body"]


def test_a_comment_that_is_refused_warns_and_changes_nothing(github: GitHub, results: Path, tmp_path: Path) -> None:
    github.trouble = [FORBIDDEN]
    lines: list[str] = []
    assert comment(context=build_context(tmp_path, lines, env=github.environment(tmp_path)), verdict=results) == 0
    (line,) = lines
    assert line.startswith("::warning title=The comment was not posted; the verdict stands::")
    assert line.endswith("GET was refused: status 403, Resource not accessible by integration.")


def test_without_a_token_as_on_a_fork_it_warns(github: GitHub, results: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    env = {**github.environment(tmp_path), "GITHUB_TOKEN": ""}
    assert comment(context=build_context(tmp_path, lines, env=env), verdict=results) == 0
    assert lines[0].endswith("::$GITHUB_TOKEN: no token. Give the step `env: GITHUB_TOKEN`.")
    assert github.calls == []


def test_on_a_persons_machine_nothing_is_posted(results: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    assert comment(context=build_context(tmp_path, lines), verdict=results) == 0
    assert lines[0].startswith("warning: The comment was not posted; the verdict stands: no CI system is known here.")


def test_a_dry_run_shows_the_comment(results: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    assert comment(context=build_context(tmp_path, lines), verdict=results, dry_run=True) == 0
    assert lines[0].startswith("## ❌ 2 experiments: 1 passed, 1 failed\n")


def test_a_hostile_verdict_makes_a_comment_that_is_accepted(github: GitHub, tmp_path: Path) -> None:
    write_record(tmp_path / "verdict.json", hostile_verdict())
    lines: list[str] = []
    context = build_context(tmp_path, lines, env=github.environment(tmp_path))
    comment(context=context, verdict=tmp_path / "verdict.json", status=True)
    assert lines == ["The comment was created."]
    assert len(github.comments[0]["body"]) < 65_536
    assert github.check_runs[0]["conclusion"] == "failure"


def test_on_azure_a_thread_and_a_status_are_made(results: Path, tmp_path: Path) -> None:
    service = AzureRepos()
    with serve(service):
        comment(context=build_context(tmp_path, env=service.environment()), verdict=results, status=True)
    assert service.threads[0]["status"] == "active"
    assert service.statuses[0]["context"]["name"] == "llmops/check"


def test_a_key_that_could_end_the_hidden_mark_is_refused(results: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a key"):
        comment(context=build_context(tmp_path), verdict=results, key="a --> b")
