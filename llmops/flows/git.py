"""Questions to git, in words a user can act on. Nothing here writes: no checkout, no index, no worktree, no fetch."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from llmops.errors import Problem, UsageError, near_match
from llmops.flows.tree import CHUNK

# A hook exports GIT_DIR and its like, which would send these questions to another repository.
_KEPT_VARIABLES = ("GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_EXEC_PATH")
_KEPT_PREFIX = "GIT_CONFIG"
_FATAL = 128
_FIXED_VARIABLES = {
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
}


@dataclass(frozen=True, kw_only=True)
class BaselineRef:
    """Which ref a candidate is compared with unless the user names one.

    Attributes:
        ref: None when there is nothing to compare with.
        reason: one clause for reports: where the ref comes from, or why there is none.
    """

    ref: str | None
    reason: str


def git_command(root: Path, *arguments: str) -> list[str]:
    """Build the command line of a question to git about the repository that a folder is in."""
    return ["git", "-C", str(root), "-c", "core.fsmonitor=false", *arguments]


def git_environment() -> dict[str, str]:
    """Build the environment of git: ours, less what a hook or a user's shell redirects git with."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIX)
    }
    return {**kept, **_FIXED_VARIABLES}


def resolve_ref(root: Path, ref: str) -> str:
    """Find the commit that a ref names.

    Args:
        root: any folder in the repository.
        ref: a branch, tag, commit id, or an expression such as `HEAD~1`.

    Returns:
        The full commit id.

    Raises:
        UsageError: git is missing, `root` is in no repository, or the ref names no commit in it.
    """
    if ref.startswith("-") or not ref.strip() or "\0" in ref:
        raise UsageError.of("not a git ref", found=repr(ref), expected="a branch, a tag or a commit")
    answer = _ask(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if answer.returncode == 0:
        return answer.stdout.decode("ascii").strip()
    if ref == "HEAD" and not head_commit(root):
        raise UsageError.of("the repository has no commit yet", where=str(root), fix="Commit first.")
    raise UsageError(_describe_unknown_ref(root, ref))


def merge_base(root: Path, ref: str) -> str:
    """Find the newest commit that both HEAD and a ref descend from.

    Raises:
        UsageError: as `resolve_ref`; or there is no such commit, or a shallow clone does not hold it.
    """
    head, other = resolve_ref(root, "HEAD"), resolve_ref(root, ref)
    answer = _ask(root, "merge-base", head, other)
    if answer.returncode == 0:
        return answer.stdout.decode("ascii").split()[0]
    if is_shallow(root):
        raise UsageError.of(
            f"this shallow clone does not hold the commit that HEAD and {ref} have in common",
            where=str(root),
            fix="Check out the whole history (fetch-depth: 0 in GitHub Actions, fetchDepth: 0 in Azure Pipelines), "
            "or run: git fetch --unshallow",
        )
    raise UsageError.of(
        f"HEAD and {ref} have no commit in common",
        where=str(root),
        expected="two branches of one history",
        fix="Name another baseline, or none.",
    )


def head_commit(root: Path) -> str | None:
    """Find the commit that is checked out; None outside of git, without git, and before the first commit."""
    try:
        answer = _ask(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except UsageError:
        return None
    return answer.stdout.decode("ascii").strip() if answer.returncode == 0 else None


def is_dirty(root: Path, paths: Iterable[str]) -> bool:
    """Say whether git sees a change in any of these files or folders, files that it does not track included.

    Args:
        root: any folder in the repository.
        paths: relative to the top of the repository.
    """
    wanted = frozenset(paths)
    answer = _ask(root, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames")
    _check(root, answer)
    changed = (os.fsdecode(entry[3:]) for entry in answer.stdout.split(b"\0") if entry)
    return any(_touches(path.rstrip("/"), wanted) for path in changed)


def default_baseline_ref(root: Path, env: Mapping[str, str]) -> BaselineRef:
    """Choose the ref to compare with: the target branch of the CI run, else `origin/HEAD`, else none.

    Source: GITHUB_BASE_REF of GitHub Actions and System.PullRequest.TargetBranch of Azure Pipelines.
    """
    for variable in ("GITHUB_BASE_REF", "SYSTEM_PULLREQUEST_TARGETBRANCH"):
        branch = env.get(variable, "").strip().removeprefix("refs/heads/")
        if branch:
            return BaselineRef(ref=f"origin/{branch}", reason=f"the target branch of this pull request ({variable})")
    try:
        answer = _ask(root, "rev-parse", "--verify", "--quiet", "refs/remotes/origin/HEAD^{commit}")
    except UsageError as error:
        return BaselineRef(ref=None, reason=error.problems[0].what)
    if answer.returncode == 0:
        return BaselineRef(ref="origin/HEAD", reason="the default branch of origin (origin/HEAD)")
    return BaselineRef(ref=None, reason="no pull request and no origin/HEAD to compare with")


def common_folder(root: Path) -> Path:
    """Find the folder that holds the repository's objects, which linked worktrees share."""
    answer = _ask(root, "rev-parse", "--git-common-dir")
    _check(root, answer)
    return Path(root, os.fsdecode(answer.stdout.removesuffix(b"\n"))).resolve()


def project_prefix(root: Path) -> str:
    """Find where a folder is in its repository; empty when it is the top."""
    answer = _ask(root, "rev-parse", "--show-prefix")
    _check(root, answer)
    return os.fsdecode(answer.stdout.removesuffix(b"\n")).rstrip("/")


def list_tree(root: Path, commit: str) -> bytes:
    """List every file of a commit as `git ls-tree -r -z` writes it, relative to the top of the repository."""
    answer = _ask(root, "ls-tree", "-r", "-z", "--full-tree", commit)
    _check(root, answer)
    return answer.stdout


def list_index(root: Path) -> list[str] | None:
    """List every file that git tracks, relative to the top of the repository; None outside of git or without git."""
    try:
        answer = _ask(root, "ls-files", "-z", "--full-name", ":/")
    except UsageError:
        return None
    return [os.fsdecode(path) for path in answer.stdout.split(b"\0") if path] if answer.returncode == 0 else None


@dataclass(frozen=True, kw_only=True)
class ChangedPath:
    """One path that differs; relative to the top of the repository.

    Attributes:
        path: where it is now, or was, when it is gone.
        before: where it was, when git takes it for renamed; else the same.
    """

    path: str
    before: str
    is_gone: bool = False


def changed_paths(root: Path, commit: str) -> list[ChangedPath]:
    """List what differs between a commit and the working tree, files that git does not track included.

    A submodule is one path: its own. Renames are found by content, as git does by default.
    """
    flags = ("--no-ext-diff", "--ignore-submodules=dirty", "--find-renames", "--name-status", "-z")
    answer = _ask(root, "diff", *flags, commit, "--")
    _check(root, answer)
    added = _ask(root, "ls-files", "-z", "--full-name", "--others", "--exclude-standard", ":/")
    _check(root, added)
    names = [os.fsdecode(path) for path in added.stdout.split(b"\0") if path]
    return [*_read_name_status(answer.stdout), *(ChangedPath(path=name, before=name) for name in names)]


def _read_name_status(text: bytes) -> Iterator[ChangedPath]:
    """Read `git diff --name-status -z`: a status, then one path, or two for renames and copies."""
    fields = iter([os.fsdecode(field) for field in text.split(b"\0")])
    for status in fields:
        if not status:
            continue
        before = next(fields)
        after = next(fields) if status[0] in "RC" else before
        yield ChangedPath(path=after, before=before, is_gone=status[0] == "D")


class ObjectReader:
    """A `git cat-file --batch` process: object ids in, objects out. It ends by itself when this process dies.

    Args:
        root: any folder in the repository.
    """

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            git_command(root, "cat-file", "--batch"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=git_environment(),
        )
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)

    def read(self, object_id: bytes) -> Iterator[bytes] | None:
        """Read an object piece by piece; None when git does not have it. Read one to its end before the next."""
        self._requests.write(object_id + b"\n")
        self._requests.flush()
        header = self._answers.readline().split()
        return _take(self._answers, int(header[-1])) if header and header[-1].isdigit() else None

    def close(self) -> None:
        """End the process."""
        self._requests.close()
        self._answers.close()
        self._process.wait()


def _take(pipe: IO[bytes], size: int) -> Iterator[bytes]:
    """Read one object and the newline after it; what the caller leaves is read too, so that the next one is found."""
    left = size + 1
    try:
        while left > 1:
            chunk = pipe.read(min(left - 1, CHUNK))
            if not chunk:
                raise UsageError.of("git stopped while it was reading an object", fix="Run: git fsck")
            left -= len(chunk)
            yield chunk
    finally:
        # An iterator that was forgotten may be closed after the reader.
        while left and not pipe.closed and (chunk := pipe.read(min(left, CHUNK))):
            left -= len(chunk)


def _ask(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = git_command(root, *arguments)
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=git_environment(), check=False
        )
    except FileNotFoundError:
        raise UsageError.of("git is not installed, or not on the PATH", fix="Install git.") from None
    if answer.returncode == _FATAL:
        _explain_fatal(root, answer.stderr.decode("utf-8", "replace"))
    return answer


def _explain_fatal(root: Path, message: str) -> None:
    if "dubious ownership" in message:
        raise UsageError.of(
            "git does not trust this repository, because another user owns it",
            where=str(root),
            fix=f"Run: git config --global --add safe.directory {root}",
        )
    if "not a git repository" in message:
        raise UsageError.of("not a git repository", where=str(root), fix="Run in a clone, or: git init")


def _check(root: Path, answer: subprocess.CompletedProcess[bytes]) -> None:
    if answer.returncode:
        found = answer.stderr.decode("utf-8", "replace").strip()
        raise UsageError.of("git could not read the repository", where=str(root), found=found)


def _describe_unknown_ref(root: Path, ref: str) -> Problem:
    known = _list_refs(root)
    hints = [near_match(ref, known)]
    if ref.startswith("origin/"):
        hints.append(f"Run: git fetch origin {ref.removeprefix('origin/')}")
    if is_shallow(root):
        hints.append("This clone is shallow; fetch-depth: 0 or git fetch --unshallow brings the whole history.")
    return Problem(
        what="no such git ref",
        found=f"'{ref}'",
        expected="a branch, a tag or a commit of this repository",
        fix="\n  ".join(hint for hint in hints if hint),
    )


def _list_refs(root: Path) -> list[str]:
    answer = _ask(root, "for-each-ref", "--format=%(refname:short)")
    return answer.stdout.decode("utf-8", "replace").splitlines()


def is_shallow(root: Path) -> bool:
    """Say whether the clone lacks a part of its history."""
    return _ask(root, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"


def _touches(changed: str, wanted: frozenset[str]) -> bool:
    parts = changed.split("/")
    return any("/".join(parts[:count]) in wanted for count in range(1, len(parts) + 1)) or "" in wanted
