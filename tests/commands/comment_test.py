"""`llmops comment`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops.commands.comment import comment
from llmops.commands.recorded import MOST_BYTES
from llmops.errors import UsageError
from llmops.records import write_record
from tests.hosts.azure_double import AzureRepos
from tests.hosts.github_double import COMMIT, FORBIDDEN, NUMBER, GitHub
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
    assert body.rstrip().endswith(
        "[Full HTML report](https://github.com/octo/cat/actions/runs/99#artifacts) · [Run](https://github.com/octo/cat/actions/runs/99)"
    )


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


def pull(number: int = NUMBER, sha: str = COMMIT) -> dict[str, Any]:
    """A pull request as the list of the API shows it."""
    return {"number": number, "state": "open", "head": {"label": "fork:feature", "ref": "feature", "sha": sha}}


def report_on_fork(github: GitHub, results: Path, tmp_path: Path, **changes: Any) -> list[str]:
    """Comment as the trusted half does, after a fork's run has ended."""
    lines: list[str] = []
    context = build_context(tmp_path, lines, env=github.finished_run(tmp_path, **changes))
    assert comment(context=context, verdict=results) == 0
    return lines


def test_a_forks_finished_run_is_commented_on_the_pull_request_at_its_commit(
    github: GitHub, results: Path, tmp_path: Path
) -> None:
    github.pulls = [pull(6, "0" * 40), pull()]
    assert report_on_fork(github, results, tmp_path) == ["The comment was created."]
    body = github.comments[0]["body"]
    assert "[Full HTML report](https://github.com/octo/cat/actions/runs/4711#artifacts)" in body
    assert "_Told by the pull request's own run, which ended with failure._" in body


def test_verdicts_that_pass_do_not_hide_that_the_run_failed(github: GitHub, results: Path, tmp_path: Path) -> None:
    github.pulls = [pull()]
    context = build_context(tmp_path, env=github.finished_run(tmp_path))
    comment(context=context, verdict=results / "b", status=True)
    assert github.check_runs[0]["conclusion"] == "failure"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"head_sha": "a" * 40}, "no open pull request stands at the commit that was checked"),
        ({"head_branch": "other"}, "no open pull request stands at the commit that was checked"),
        ({"event": "push"}, "the run was for no pull request"),
        ({"head_repository": None}, "the run was for no pull request"),
    ],
)
def test_a_run_that_fits_no_pull_request_is_commented_nowhere(
    github: GitHub, results: Path, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    github.pulls = [pull()]
    (line,) = report_on_fork(github, results, tmp_path, **changes)
    assert reason in line
    assert github.comments == []


def test_the_number_of_the_pull_request_is_never_taken_from_the_artifact(
    github: GitHub, results: Path, tmp_path: Path
) -> None:
    github.pulls = [pull()]
    for name in ("pr_number", "event.json", "number.txt"):
        (results / name).write_text("1")
    report_on_fork(github, results, tmp_path)
    assert all("/issues/7/" in call for call in github.calls if "comments" in call)


def deep() -> str:
    return "[" * 200_000 + "]" * 200_000


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        "{}",
        deep(),
        '{"kind": "verdict", "schema_version": 1}',
        '{"kind": "verdict", "schema_version": 99}',
        '{"kind": "run", "schema_version": 1}',
        "\x00",
        "9" * 10_000,
    ],
)
def test_a_poisoned_verdict_is_refused_before_anything_is_posted(
    github: GitHub, results: Path, tmp_path: Path, content: str
) -> None:
    (results / "a" / "verdict.json").write_text(content)
    with pytest.raises(UsageError):
        comment(context=build_context(tmp_path, env=github.finished_run(tmp_path)), verdict=results)
    assert github.calls == []


@pytest.mark.parametrize("name", ["../up", "/abs", "a/b", "", "a b", "-x\n", "x\n::error::y", "@me", "<b>"])
def test_an_artifact_with_a_name_that_is_none_is_refused(
    github: GitHub, results: Path, tmp_path: Path, name: str
) -> None:
    write_record(results / "a" / "verdict.json", build_verdict(experiment=name))
    with pytest.raises(UsageError, match="not an experiment's name"):
        comment(context=build_context(tmp_path, env=github.finished_run(tmp_path)), verdict=results)


def test_an_oversized_verdict_is_refused_unread(github: GitHub, results: Path, tmp_path: Path) -> None:
    with (results / "a" / "verdict.json").open("ab") as handle:
        handle.truncate(MOST_BYTES + 1)
    with pytest.raises(UsageError, match="not a verdict to be read"):
        comment(context=build_context(tmp_path, env=github.finished_run(tmp_path)), verdict=results)


def test_two_verdicts_of_one_experiment_are_refused(github: GitHub, results: Path, tmp_path: Path) -> None:
    write_record(results / "b" / "verdict.json", failed_verdict(experiment="alpha"))
    with pytest.raises(UsageError, match="two verdicts of one experiment"):
        comment(context=build_context(tmp_path, env=github.finished_run(tmp_path)), verdict=results)
