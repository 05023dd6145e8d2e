"""Copies of a flow that can run: the flow as it stands at another commit, or with its includes beside it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmops.flows.closure import IMPORTED, Closure
from llmops.flows.tree import FileTree, in_project

_STALE_S = 24 * 60 * 60
_PREFIX = "flow-"


def materialise(tree: FileTree, closure: Closure, into: Path) -> Path:
    """Write a closure as files, laid out as in the repository.

    The flow's folder, its includes and its local packages are at the places that they have in the repository, so that
    relative paths hold; includes are also beside the flow, where prompt flow puts them. Links become the files that
    they point to. Nothing else of the repository is there.

    Args:
        tree: where the closure was found.
        closure: the files to write.
        into: a folder of its own; made if it does not exist.

    Returns:
        The project folder in the copy: the flow is at `flow.path` below it, its import roots are at
        `closure.import_roots`.

    Raises:
        UsageError: a file of the closure cannot be read.
    """
    flow_place = in_project(tree, closure.flow.path)
    for name, source in closure.files.items():
        beside = None if name.startswith(IMPORTED) else into / flow_place / name
        written = _write(tree, source.path, beside or into / source.place)
        if source.origin == "included" and (into / source.place) != written:
            (into / source.place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(written, into / source.place)
    return into / tree.prefix


@contextmanager
def temporary_copy(tree: FileTree, closure: Closure, parent: Path) -> Iterator[Path]:
    """Materialise a closure for the length of a `with` block; see `materialise`.

    The copy of a process that was killed stays, harms nothing, and is removed by a later call once it is a day old.

    Args:
        tree: where the closure was found.
        closure: the files to write.
        parent: where the copy is made, for instance `.llmops/tmp`; made if it does not exist.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(parent)
    with tempfile.TemporaryDirectory(dir=parent, prefix=_PREFIX) as folder:
        yield materialise(tree, closure, Path(folder))


def _write(tree: FileTree, path: str, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as handle:
        for chunk in tree.chunks(path):
            handle.write(chunk)
    return target


def _remove_stale(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        if folder.is_dir() and time.time() - folder.stat().st_mtime > _STALE_S:
            shutil.rmtree(folder, ignore_errors=True)
