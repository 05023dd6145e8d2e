"""One way to look at the files of a repository: as they lie in the working tree, or as a commit holds them.

Paths are relative to the top of the repository, with forward slashes; the top itself is the empty path. The project
folder (it holds `config/`) may lie deeper: `prefix` says where.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol

from llmops.errors import Problem, UsageError

EntryKind = Literal["file", "folder", "link", "submodule", "special"]

CHUNK = 1 << 20
_MAX_LINKS = 40
_LFS_HEADER = b"version https://git-lfs.github.com/spec/v1\n"
_LFS_POINTER_MAX = 1024


class FileTree(Protocol):
    """The files of one repository at one moment; nothing in here ever writes."""

    @property
    def prefix(self) -> str:
        """Say where the project folder is; empty when it is the top."""

    @property
    def name(self) -> str:
        """Name the moment for messages: `the working tree` or `commit 1a2b3c4d5e6f`."""

    def kind(self, path: str) -> EntryKind | None:
        """Say what is at a path, without following a link there; None when there is nothing."""

    def list(self, folder: str) -> Mapping[str, EntryKind]:
        """List the names in a folder, in no particular order."""

    def link_target(self, path: str) -> str:
        """Read what a link says."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """Read a file piece by piece.

        Raises:
            UsageError: the file cannot be read, or is a Git LFS pointer whose file is not here.
        """


class WorkingTree:
    """The files as they lie on the disk.

    Args:
        root: the project folder.
        top: the top of the repository; by default the nearest folder at or above `root` with a `.git` in it, else
            `root`.
    """

    name = "the working tree"

    def __init__(self, root: Path, *, top: Path | None = None) -> None:
        root = root.resolve()
        self.top = top.resolve() if top else find_top(root) or root
        self.prefix = "" if root == self.top else root.relative_to(self.top).as_posix()

    def kind(self, path: str) -> EntryKind | None:
        """See `FileTree.kind`."""
        try:
            mode = os.lstat(self._native(path)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise _unreadable(self, path, error) from error
        return _kind_of_mode(mode)

    def list(self, folder: str) -> Mapping[str, EntryKind]:
        """See `FileTree.list`."""
        try:
            with os.scandir(self._native(folder)) as entries:
                return {entry.name: _kind_of_entry(entry) for entry in entries}
        except OSError as error:
            raise _unreadable(self, folder, error) from error

    def link_target(self, path: str) -> str:
        """See `FileTree.link_target`."""
        try:
            return str(self._native(path).readlink()).replace(os.sep, "/")
        except OSError as error:
            raise _unreadable(self, path, error) from error

    def chunks(self, path: str) -> Iterator[bytes]:
        """See `FileTree.chunks`."""
        try:
            with self._native(path).open("rb", buffering=0) as handle:
                first = handle.read(CHUNK)
                if lfs_object(first):
                    raise UsageError.of(
                        "is a Git LFS pointer, not the file itself", where=show(self, path), fix="Run: git lfs pull"
                    )
                yield first
                while chunk := handle.read(CHUNK):
                    yield chunk
        except OSError as error:
            raise _unreadable(self, path, error) from error

    def _native(self, path: str) -> Path:
        return self.top / path


def find_top(folder: Path) -> Path | None:
    """Find the top of the git repository that a folder is in, without asking git; None outside of git."""
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return None


def show(tree: FileTree, path: str) -> str:
    """Write a path as the user of the project folder sees it."""
    return posixpath.relpath(path or ".", tree.prefix or ".")


def in_project(tree: FileTree, path: str) -> str:
    """Turn a path relative to the project folder into one relative to the top."""
    joined = posixpath.normpath(posixpath.join(tree.prefix, path))
    return "" if joined == "." else joined


def read(tree: FileTree, path: str) -> bytes:
    """Read a whole file."""
    return b"".join(tree.chunks(path))


def follow(tree: FileTree, path: str) -> str:
    """Resolve every link in a path.

    Returns:
        The path, free of links, of what is there; it may be that nothing is there.

    Raises:
        UsageError: a link is absolute, leaves the repository or goes in a circle.
    """
    done, rest, links = "", path.split("/") if path else [], 0
    while rest:
        part = rest.pop(0)
        here = posixpath.join(done, part)
        if tree.kind(here) != "link":
            done = here
            continue
        links += 1
        if links > _MAX_LINKS:
            raise UsageError.of("is a link that goes in a circle", where=show(tree, path), fix="Remove the link.")
        resolved = _resolve_link(tree, here)
        done, rest = "", [*(resolved.split("/") if resolved else []), *rest]
    return done


def kind_behind(tree: FileTree, path: str) -> EntryKind | None:
    """Say what is at a path once every link in it is followed."""
    return tree.kind(follow(tree, path))


def ancestors(path: str) -> list[str]:
    """List the folders above a path, from the top (the empty path) down."""
    parts = path.split("/")[:-1] if path else []
    return ["", *("/".join(parts[: count + 1]) for count in range(len(parts)))] if path else []


def is_within(path: str, folder: str) -> bool:
    """Say whether a path is a folder or lies in it."""
    return not folder or path == folder or path.startswith(folder + "/")


def lfs_object(content: bytes) -> str | None:
    """Read the object id out of a Git LFS pointer; None for any other file.

    Source: the Git LFS pointer specification, version 1.
    """
    if len(content) > _LFS_POINTER_MAX or not content.startswith(_LFS_HEADER):
        return None
    found = re.search(rb"^oid sha256:([0-9a-f]{64})$", content, re.MULTILINE)
    return found[1].decode("ascii") if found else None


def _resolve_link(tree: FileTree, path: str) -> str:
    target = tree.link_target(path)
    resolved = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if posixpath.isabs(resolved) or Path(target).is_absolute() or resolved == ".." or resolved.startswith("../"):
        raise UsageError.of(
            "is a link that leaves the repository",
            where=show(tree, path),
            found=f"a link to {target}",
            expected="a relative link to something in the repository",
            fix="Copy what it points to into the repository.",
        )
    return "" if resolved == "." else resolved


def _kind_of_mode(mode: int) -> EntryKind:
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "special"


def _kind_of_entry(entry: os.DirEntry[str]) -> EntryKind:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if entry.is_file(follow_symlinks=False) else "special"


def _unreadable(tree: FileTree, path: str, error: Exception) -> UsageError:
    found = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return UsageError(Problem(what="cannot be read", where=show(tree, path), found=found))
