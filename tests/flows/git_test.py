from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from llmops.errors import UsageError
from llmops.flows import git
from llmops.flows.git import BaselineRef
from tests.flows.repository import Repository


def refusal(root: Path, ref: str = "main") -> str:
    with pytest.raises(UsageError) as caught:
        git.merge_base(root, ref)
    return str(caught.value)


@pytest.fixture
def forked(repository: Repository) -> Repository:
    """`main` and `topic` have the first commit in common; `topic` is checked out."""
    repository.commit("base")
    repository.git("checkout", "--quiet", "-b", "topic")
    repository.commit("topic")
    repository.git("branch", "--quiet", "side", "main")
    return repository


def clone(repository: Repository, into: Path, *options: str) -> Repository:
    repository.git("clone", "--quiet", *options, f"file://{repository.root}", str(into))
    return Repository(root=into)


def test_the_merge_base_is_the_commit_in_common(forked: Repository) -> None:
    base = forked.git("rev-parse", "main")
    assert git.merge_base(forked.root, "main") == base
    assert git.merge_base(forked.root / "flows", "HEAD~1") == base


def test_an_unknown_ref_gets_a_near_match(forked: Repository) -> None:
    assert refusal(forked.root, "mian") == (
        "no such git ref\n"
        "  found 'mian'\n"
        "  expected a branch, a tag or a commit of this repository\n"
        "  did you mean 'main'?"
    )


def test_an_unknown_branch_of_origin_says_how_to_fetch_it(forked: Repository) -> None:
    assert refusal(forked.root, "origin/release").endswith("\n  Run: git fetch origin release")


@pytest.mark.parametrize("ref", ["--output=x", "", "  ", "a\0b"])
def test_what_is_no_ref_never_reaches_git(forked: Repository, ref: str) -> None:
    assert refusal(forked.root, ref).startswith("not a git ref\n")


def test_a_ref_that_names_no_commit_is_refused(forked: Repository) -> None:
    forked.git("tag", "file", "HEAD:flows/qa/answer.py")
    assert refusal(forked.root, "file").startswith("no such git ref\n  found 'file'")


def test_a_shallow_clone_says_how_to_get_the_history(forked: Repository, tmp_path: Path) -> None:
    shallow = clone(forked, tmp_path / "shallow", "--depth=1", "--no-single-branch")
    assert refusal(shallow.root, "origin/main") == (
        f"{shallow.root}: this shallow clone does not hold the commit that HEAD and origin/main have in common\n"
        "  Check out the whole history (fetch-depth: 0 in GitHub Actions, fetchDepth: 0 in Azure Pipelines), "
        "or run: git fetch --unshallow"
    )


def test_unrelated_histories_have_no_merge_base(forked: Repository) -> None:
    forked.git("checkout", "--quiet", "--orphan", "island")
    forked.commit("island")
    assert "HEAD and main have no commit in common" in refusal(forked.root)


def test_a_repository_without_a_commit_says_so(empty: Repository) -> None:
    empty.git("init", "--quiet")
    assert refusal(empty.root) == f"{empty.root}: the repository has no commit yet\n  Commit first."
    assert git.head_commit(empty.root) is None


def test_a_folder_outside_of_git_says_so(empty: Repository) -> None:
    assert refusal(empty.root) == f"{empty.root}: not a git repository\n  Run in a clone, or: git init"


def test_without_git_the_message_is_to_install_it(
    forked: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(forked.root) == "git is not installed, or not on the PATH\n  Install git."


def test_a_repository_of_another_user_is_explained(
    forked: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = tmp_path / "bin/git"
    wrapper.parent.mkdir()
    # Real git, told to see every folder as somebody else's, as it offers for tests of this very rule.
    wrapper.write_text(f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shutil.which("git")} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(wrapper.parent), prepend=":")
    assert refusal(forked.root) == (
        f"{forked.root}: git does not trust this repository, because another user owns it\n"
        f"  Run: git config --global --add safe.directory {forked.root}"
    )


def test_a_hooks_variables_do_not_lead_to_another_repository(
    forked: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert git.head_commit(forked.root) == forked.git("rev-parse", "HEAD")
    assert not git.is_dirty(forked.root, [""])


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        ("flows/qa/answer.py", True),
        ("flows/qa/new \u00e9.txt", True),
        ("flows/other/x", False),
        ("flows/qa.txt", False),
    ],
)
def test_dirty_is_what_git_sees_changed_in_the_paths(forked: Repository, changed: str, *, dirty: bool) -> None:
    forked.write({changed: "changed"})
    assert git.is_dirty(forked.root / "flows", ["flows/qa", "shared"]) is dirty


def test_asking_writes_nothing_and_runs_nothing(forked: Repository) -> None:
    forked.write({"monitor": "#!/bin/sh\ntouch ran\n"})
    (forked.root / "monitor").chmod(0o755)
    forked.git("config", "core.fsmonitor", "./monitor")
    index = forked.root / ".git/index"
    os.utime(forked.root / "flows/qa/answer.py", (1, 1))
    before = index.read_bytes()
    assert not git.is_dirty(forked.root, ["flows"])
    assert index.read_bytes() == before
    assert not (forked.root / "ran").exists()


GITHUB = "the target branch of this pull request (GITHUB_BASE_REF)"
AZURE = "the target branch of this pull request (SYSTEM_PULLREQUEST_TARGETBRANCH)"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"GITHUB_BASE_REF": "main"}, BaselineRef(ref="origin/main", reason=GITHUB)),
        ({"SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/a/b"}, BaselineRef(ref="origin/a/b", reason=AZURE)),
        ({"SYSTEM_PULLREQUEST_TARGETBRANCH": "main"}, BaselineRef(ref="origin/main", reason=AZURE)),
        ({"GITHUB_BASE_REF": ""}, BaselineRef(ref=None, reason="no pull request and no origin/HEAD to compare with")),
    ],
)
def test_the_default_baseline_is_the_target_branch(
    forked: Repository, env: Mapping[str, str], expected: BaselineRef
) -> None:
    assert git.default_baseline_ref(forked.root, env) == expected


def test_a_clone_is_compared_with_the_default_branch_of_origin(forked: Repository, tmp_path: Path) -> None:
    cloned = clone(forked, tmp_path / "clone")
    expected = BaselineRef(ref="origin/HEAD", reason="the default branch of origin (origin/HEAD)")
    assert git.default_baseline_ref(cloned.root, {}) == expected


def test_outside_of_git_there_is_no_default_baseline(empty: Repository) -> None:
    assert git.default_baseline_ref(empty.root, {}) == BaselineRef(ref=None, reason="not a git repository")
