"""Packages on disk: judged by their bytes, copied whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from llmops.errors import Problem, UsageError
from llmops.flows.digest import digest_files, digest_with_overlay
from llmops.records import read_record
from llmops.releases import Manifest

MANIFEST = "manifest.json"
_PIECE = 1 << 20
_SHOWN = 5


def verify_package(folder: Path, *, digest: str, manifest: str = "") -> Manifest:
    """Recompute every digest of a package from its bytes.

    Args:
        folder: with `manifest.json` at its top.
        digest: what the flow's content must be.
        manifest: digest that the manifest itself must have; empty when that is not known yet.

    Raises:
        UsageError: a file is missing, changed or not listed, or a digest is not the one that is expected.
    """
    found_manifest = digest_of(folder / MANIFEST)
    if manifest and found_manifest != manifest:
        raise _damaged(folder, Problem(what="the manifest was changed", found=found_manifest, expected=manifest))
    read = read_record(folder / MANIFEST, Manifest)
    if problems := list(_problems(folder, read)):
        raise _damaged(folder, *problems[:_SHOWN])
    names = {one.name: one.sha256 for one in read.files.values() if one.name is not None}
    content = digest_with_overlay(digest_files(names), read.flow.overlay)
    if not content == read.digest == digest:
        problem = Problem(what="the flow's digest is another one", found=content, expected=digest)
        raise _damaged(folder, problem)
    return read


def copy_package(source: Path, target: Path, manifest: Manifest) -> None:
    """Copy what a manifest lists, and the manifest, into a folder that does not exist."""
    for name in [MANIFEST, *manifest.files]:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, place)


def digest_of(path: Path) -> str:
    """Compute the digest of a file's bytes, `sha256:` and 64 hexadecimal digits.

    Raises:
        UsageError: the file is missing or cannot be read.
    """
    content = hashlib.sha256()
    try:
        with path.open("rb") as handle:
            while piece := handle.read(_PIECE):
                content.update(piece)
    except OSError as error:
        raise UsageError.of("a file of a package cannot be read", where=str(path), found=str(error)) from error
    return f"sha256:{content.hexdigest()}"


def _problems(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    present = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    for name in sorted(present.keys() - manifest.files.keys() - {MANIFEST}):
        yield Problem(what="the manifest does not list this file", where=name)
    for name, listed in manifest.files.items():
        if not _is_inside(name):
            yield Problem(what="the manifest lists a path that leaves the package", where=name)
        elif name not in present:
            yield Problem(what="the file is missing", where=name)
        elif (found := _content(present[name])) != f"sha256:{listed.sha256}":
            yield Problem(what="the file was changed", where=name, found=found, expected=f"sha256:{listed.sha256}")


def _content(path: Path) -> str:
    return "a link" if path.is_symlink() else digest_of(path)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)
        for name in folders:
            if Path(parent, name).is_symlink():
                yield Path(parent, name)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _damaged(folder: Path, *problems: Problem) -> UsageError:
    head = Problem(
        what="the package is not what was registered",
        where=str(folder),
        fix="Register the flow again, or fetch the package from where it is intact.",
    )
    return UsageError(head, *problems)
