"""The files of a commit, read from git's objects: attributes, filters, checkout and index have no say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from llmops.errors import UsageError
from llmops.flows import git
from llmops.flows.tree import CHUNK, EntryKind, lfs_object, show

if TYPE_CHECKING:
    from typing_extensions import Self

_KINDS: dict[bytes, EntryKind] = {b"120000": "link", b"160000": "submodule"}


class CommitTree:
    """The files of one commit.

    Holds a `git cat-file` process from the first read on: use it as a context manager, or call `close`. It ends by
    itself when this process dies.

    Args:
        root: the project folder, in the repository.
        commit: a full commit id, see `git.resolve_ref`.

    Raises:
        UsageError: not a git repository, or the commit cannot be read.
    """

    def __init__(self, root: Path, commit: str) -> None:
        self.commit = commit
        self.prefix = git.project_prefix(root)
        self.name = f"commit {commit[:12]}"
        self._root = root
        self._objects: dict[str, bytes] = {}
        self._folders: dict[str, dict[str, EntryKind]] = {"": {}}
        self._reader: git.ObjectReader | None = None
        for entry in git.list_tree(root, commit).split(b"\0"):
            if entry:
                self._add(entry)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process that reads objects."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def kind(self, path: str) -> EntryKind | None:
        """See `FileTree.kind`."""
        if not path:
            return "folder"
        folder, _, name = path.rpartition("/")
        return self._folders.get(folder, {}).get(name)

    def list(self, folder: str) -> Mapping[str, EntryKind]:
        """See `FileTree.list`."""
        return self._folders.get(folder, {})

    def link_target(self, path: str) -> str:
        """See `FileTree.link_target`."""
        return os.fsdecode(b"".join(self._read_object(path)))

    def chunks(self, path: str) -> Iterator[bytes]:
        """See `FileTree.chunks`; a Git LFS pointer is answered with its file, if git has it here."""
        pieces = self._read_object(path)
        first = next(pieces, b"")
        stored = lfs_object(first)
        if stored is not None:
            list(pieces)
            yield from self._read_stored(path, stored)
            return
        yield first
        yield from pieces

    def _add(self, entry: bytes) -> None:
        head, _, name = entry.partition(b"\t")
        mode, _, object_id = head.split(b" ")
        path = os.fsdecode(name)
        self._objects[path] = object_id
        folder, _, leaf = path.rpartition("/")
        self._folder(folder)[leaf] = _KINDS.get(mode, "file")

    def _folder(self, path: str) -> dict[str, EntryKind]:
        if path not in self._folders:
            self._folders[path] = {}
            parent, _, leaf = path.rpartition("/")
            self._folder(parent)[leaf] = "folder"
        return self._folders[path]

    def _read_object(self, path: str) -> Iterator[bytes]:
        self._reader = self._reader or git.ObjectReader(self._root)
        pieces = self._reader.read(self._objects[path])
        if pieces is None:
            raise UsageError.of(
                f"git does not have this file of {self.name}", where=show(self, path), fix="Run: git fsck"
            )
        return pieces

    def _read_stored(self, path: str, stored: str) -> Iterator[bytes]:
        place = git.common_folder(self._root) / "lfs" / "objects" / stored[:2] / stored[2:4] / stored
        try:
            with place.open("rb") as handle:
                while chunk := handle.read(CHUNK):
                    yield chunk
        except OSError:
            raise UsageError.of(
                f"is kept in Git LFS, and the file of {self.name} is not here",
                where=show(self, path),
                fix=f"Run: git lfs fetch origin {self.commit}",
            ) from None
