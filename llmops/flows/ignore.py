"""What is left out of a flow: caches, and what `.gitignore` and `.amlignore` say, nested ones too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from llmops.flows.gitignore import IgnoreFile
from llmops.flows.tree import FileTree, ancestors, read

IGNORE_FILES = (".gitignore", ".amlignore")

CACHE_NAMES = frozenset(
    {
        ".DS_Store",
        ".coverage",
        ".git",
        ".hg",
        ".hypothesis",
        ".ipynb_checkpoints",
        ".llmops",
        ".mypy_cache",
        ".nox",
        ".promptflow",
        ".pytest_cache",
        ".ruff_cache",
        ".runs",
        ".svn",
        ".tox",
        ".venv",
        "Thumbs.db",
        "__pycache__",
        "node_modules",
    }
)
CACHE_SUFFIXES = (".pyc", ".pyo")


class _Rules(NamedTuple):
    folder: str
    file: str
    patterns: IgnoreFile


class IgnoreRules:
    """The ignore files of one tree, each read once.

    A path is left out when the `.gitignore` files leave it out, or the `.amlignore` files do, or it is a cache. In
    each family the file nearest to the path decides, and in that file its last pattern that matches. Neither the
    user's global excludes nor what git tracks has a say: both differ between machines.
    """

    def __init__(self, tree: FileTree) -> None:
        self._tree = tree
        self._rules: dict[tuple[str, str], tuple[_Rules, ...]] = {}

    def leaves_out(self, path: str, *, is_folder: bool) -> str | None:
        """Say which ignore file leaves out a path whose parents are not left out.

        Returns:
            The path of the ignore file, or the name of the cache list; None when the path stays.
        """
        folder, _, name = path.rpartition("/")
        if name in CACHE_NAMES or name.endswith(CACHE_SUFFIXES):
            return "the built-in cache list"
        return next(self._deciding_files(folder, path, is_folder=is_folder), None)

    def leaves_out_with_parents(self, path: str, *, is_folder: bool) -> str | None:
        """Say which ignore file leaves out a path or one of the folders above it; see `leaves_out`."""
        for parent in ancestors(path)[1:]:
            if found := self.leaves_out(parent, is_folder=True):
                return found
        return self.leaves_out(path, is_folder=is_folder) if path else None

    def ignored(self, folder: str, names: Iterable[str]) -> list[str]:
        """List the files, relative to a folder, that something leaves out."""
        places = ((name, f"{folder}/{name}" if folder else name) for name in names)
        return [name for name, place in places if self.leaves_out_with_parents(place, is_folder=False) is not None]

    def _deciding_files(self, folder: str, path: str, *, is_folder: bool) -> Iterator[str]:
        for family in IGNORE_FILES:
            for rules in reversed(self._rules_for(family, folder)):
                inside = path[len(rules.folder) + 1 :] if rules.folder else path
                decision = rules.patterns.leaves_out(inside, is_folder=is_folder)
                if decision:
                    yield rules.file
                if decision is not None:
                    break

    def _rules_for(self, family: str, folder: str) -> tuple[_Rules, ...]:
        known = self._rules.get((family, folder))
        if known is None:
            above = self._rules_for(family, folder.rpartition("/")[0]) if folder else ()
            known = self._rules[family, folder] = (*above, *self._read_rules(family, folder))
        return known

    def _read_rules(self, family: str, folder: str) -> Iterator[_Rules]:
        file = f"{folder}/{family}" if folder else family
        # Git does not read an ignore file through a link either.
        if self._tree.kind(file) != "file":
            return
        content = read(self._tree, file)
        yield _Rules(folder=folder, file=file, patterns=IgnoreFile(content))
