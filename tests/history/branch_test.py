"""A history in a branch: real repositories, real pushes, real races."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmops.errors import BackendError, TransientError, UsageError
from llmops.history.branch import ATTEMPTS, BranchStore, _authorization, _git_variables
from llmops.history.stores import Surroundings


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=somebody", "-c", "user.email=somebody@localhost", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Remote:
    """A bare repository and a clone of it, as a job has them."""

    def __init__(self, folder: Path) -> None:
        self.bare, self.clone = folder / "remote.git", folder / "clone"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.bare)], check=True)
        subprocess.run(["git", "init", "-q", "-b", "main", str(self.clone)], check=True)
        (self.clone / "file.txt").write_text("one\n", encoding="utf-8")
        git(self.clone, "add", "-A")
        git(self.clone, "commit", "-qm", "first")
        git(self.clone, "remote", "add", "origin", str(self.bare))
        git(self.clone, "push", "-q", "origin", "main")

    def store(
        self, *, sleep: Callable[[float], None] = lambda _: None, branch: str = "llmops-history", remote: str = "origin"
    ) -> BranchStore:
        around = Surroundings(root=self.clone, environment="prod", env={}, sleep=sleep)
        return BranchStore(around, remote=remote, branch=branch)

    def log(self) -> list[str]:
        return git(self.bare, "log", "--format=%an %s", "llmops-history").splitlines()

    def overtake(self, times: int) -> None:
        """Let somebody else append while a push is on its way, this many times."""
        self.hook(
            "pre-receive",
            f"""
            test "$(cat count 2>/dev/null | wc -l)" -lt {times} || exit 0
            echo once >> count
            unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
            export GIT_AUTHOR_NAME=rival GIT_AUTHOR_EMAIL=r GIT_COMMITTER_NAME=rival GIT_COMMITTER_EMAIL=r
            old=$(git rev-parse refs/heads/llmops-history)
            git update-ref refs/heads/llmops-history "$(git commit-tree -p "$old" -m overtakes "$old^{{tree}}")"
            """,
        )

    def hook(self, name: str, script: str) -> None:
        path = self.bare / "hooks" / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path)


def test_a_branch_is_made_and_grows_by_a_commit_for_each_append(remote: Remote) -> None:
    assert remote.store().read() == {}
    assert remote.store().append({"tiny/dev.jsonl": ["one"], "other/dev.jsonl": ["two"]}) == 2
    assert remote.store().append({"tiny/dev.jsonl": ["three"]}) == 1
    assert remote.store().read() == {"tiny/dev.jsonl": "one\nthree\n", "other/dev.jsonl": "two\n"}
    assert remote.log() == ["llmops Record scheduled evaluations [skip ci]"] * 2


def test_a_repeated_append_pushes_nothing(remote: Remote) -> None:
    remote.store().append({"tiny/dev.jsonl": ["one"]})
    assert remote.store().append({"tiny/dev.jsonl": ["one"]}) == 0
    assert len(remote.log()) == 1


def test_the_clone_is_not_touched(remote: Remote) -> None:
    before = (git(remote.clone, "for-each-ref"), git(remote.clone, "status", "--porcelain"))
    remote.store().append({"tiny/dev.jsonl": ["one"]})
    assert (git(remote.clone, "for-each-ref"), git(remote.clone, "status", "--porcelain")) == before


def test_jobs_that_race_lose_no_line(remote: Remote) -> None:
    wanted = [f"line {number}" for number in range(5)]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda line: remote.store().append({"tiny/dev.jsonl": [line]}), wanted))
    assert sorted(remote.store().read()["tiny/dev.jsonl"].splitlines()) == wanted


def test_an_append_that_was_overtaken_is_built_anew(remote: Remote) -> None:
    remote.store().append({"tiny/dev.jsonl": ["one"]})
    waits: list[float] = []
    remote.overtake(times=2)
    assert remote.store(sleep=waits.append).append({"tiny/dev.jsonl": ["two"]}) == 1
    assert len(waits) == 2
    assert remote.store().read() == {"tiny/dev.jsonl": "one\ntwo\n"}
    assert [line.partition(" ")[0] for line in remote.log()] == ["llmops", "rival", "rival", "llmops"]


def test_a_remote_that_is_always_ahead_is_given_up_in_the_end(remote: Remote) -> None:
    waits: list[float] = []
    remote.store().append({"tiny/dev.jsonl": ["zero"]})
    remote.overtake(times=1000)
    with pytest.raises(TransientError, match="other jobs kept appending to the history"):
        remote.store(sleep=waits.append).append({"tiny/dev.jsonl": ["one"]})
    assert len(waits) == ATTEMPTS


def test_a_push_that_a_rule_refuses_is_not_tried_again(remote: Remote) -> None:
    waits: list[float] = []
    remote.hook("pre-receive", "echo 'GH006: Protected branch update failed' >&2; exit 1")
    with pytest.raises(BackendError, match="the history may not be pushed"):
        remote.store(sleep=waits.append).append({"tiny/dev.jsonl": ["one"]})
    assert waits == []


def test_a_branch_that_is_no_history_is_never_written_to(remote: Remote) -> None:
    before = git(remote.bare, "rev-parse", "main")
    with pytest.raises(UsageError, match="the branch holds no history"):
        remote.store(branch="main").append({"tiny/dev.jsonl": ["one"]})
    assert git(remote.bare, "rev-parse", "main") == before


def test_a_remote_that_cannot_be_reached_is_said(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="the history cannot be fetched"):
        remote.store(remote=str(tmp_path / "nowhere.git")).read()
    with pytest.raises(UsageError, match="no remote 'upstream'"):
        remote.store(remote="upstream").read()


def test_a_shallow_clone_will_do(remote: Remote, tmp_path: Path) -> None:
    remote.store().append({"tiny/dev.jsonl": ["one"]})
    remote.clone = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth=1", remote.bare.as_uri(), str(remote.clone)], check=True)
    assert remote.store().append({"tiny/dev.jsonl": ["two"]}) == 1
    assert remote.store().read() == {"tiny/dev.jsonl": "one\ntwo\n"}


GITHUB = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_TOKEN": "secret"}
AZURE = {"SYSTEM_COLLECTIONURI": "https://dev.azure.com/org/", "SYSTEM_ACCESSTOKEN": "secret"}


@pytest.mark.parametrize(
    ("address", "env", "sends"),
    [
        ("https://github.com/octo/cat", GITHUB, "basic"),
        ("https://org@dev.azure.com/org/project/_git/repo", AZURE, "bearer"),
        ("https://github.com.evil.example/octo/cat", GITHUB, ""),
        ("https://evil.example/github.com/octo", GITHUB, ""),
        ("http://github.com/octo/cat", GITHUB, ""),
        ("https://dev.azure.com/other/project", AZURE, ""),
        ("git@github.com:octo/cat", GITHUB, ""),
        ("/srv/repository.git", GITHUB, ""),
        ("https://github.com/octo/cat", {}, ""),
    ],
)
def test_the_token_goes_to_its_own_server_alone(address: str, env: Mapping[str, str], sends: str) -> None:
    assert _authorization(address, env).partition(" ")[0] == sends


def test_the_token_is_in_a_variable_of_git_and_in_no_argument(remote: Remote) -> None:
    variables = _git_variables("https://github.com/octo/cat", GITHUB)
    command = ["git", "config", "--get", "http.https://github.com/octo/cat.extraheader"]
    shown = subprocess.run(command, env=variables, cwd=remote.clone, check=True, capture_output=True, text=True).stdout
    assert shown.startswith("Authorization: basic ")
