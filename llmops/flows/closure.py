"""Everything that a flow consists of: the closure.

Own files, `additional_includes`, what links point to, and the local packages that its Python files import. The rules
are explained to users in `docs/digest.md`.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from llmops.errors import Problem, UsageError, near_match
from llmops.flows.folder import DEFINITION_FILES
from llmops.flows.ignore import CACHE_NAMES, IgnoreRules
from llmops.flows.imports import could_import, find_imports, make_absolute
from llmops.flows.model import Flow, Reference
from llmops.flows.tree import EntryKind, FileTree, follow, in_project, is_within, read, show

Origin = Literal["own", "included", "linked", "imported"]

IMPORTED = ".llmops/imported/"
"""Prefix of files that are not in the flow's folder; `.llmops` is never part of a flow, so nothing can collide."""

_SOURCE_FOLDER = "src"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one file of a closure comes from; paths are relative to the top of the repository.

    Attributes:
        place: where the file stands, seen through links: the flow finds it there.
        path: the file that holds the bytes; differs from `place` behind a link.
    """

    place: str
    path: str
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class Closure:
    """The files of a flow.

    Attributes:
        files: name to source, sorted by the UTF-8 bytes of the name. Names are NFC, with forward slashes: relative to
            the flow's folder (`additional_includes` by their base name, as prompt flow puts them there), or
            `IMPORTED` and the path relative to the project folder.
        import_roots: folders, relative to the project folder, that must be on `sys.path` after the flow's folder for
            its local packages to be found; `.` is the project folder.
        notes: what a reader should know, one sentence each.
    """

    flow: Flow
    files: Mapping[str, Source]
    import_roots: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_closure(tree: FileTree, flow: Flow) -> Closure:
    """Find every file that a flow consists of.

    Args:
        tree: where to look.
        flow: read from the same tree.

    Raises:
        UsageError: an include or a link leads nowhere, out of the repository or in a circle; a file is ignored that
            the flow names; two names cannot live side by side on every OS.
    """
    collector = _Collector(tree, flow)
    collector.add_own()
    for include in flow.additional_includes:
        collector.add_include(include)
    for source in flow.sources:
        collector.add_source(source)
    collector.add_imports()
    _check_names(flow, collector.files)
    return Closure(
        flow=flow,
        files=dict(sorted(collector.files.items(), key=lambda item: item[0].encode())),
        import_roots=tuple(sorted(collector.import_roots)),
        notes=tuple(collector.notes),
    )


class _Collector:
    """Builds one closure."""

    def __init__(self, tree: FileTree, flow: Flow) -> None:
        self.tree = tree
        self.flow = flow
        self.rules = IgnoreRules(tree)
        self.files: dict[str, Source] = {}
        self.import_roots: set[str] = set()
        self.notes: list[str] = []
        self._bases = [base for base in (tree.prefix, in_project(tree, _SOURCE_FOLDER)) if self._is_folder(base)]
        self._taken: set[str] = set()
        self._resolved: set[str] = set()

    def add_own(self) -> None:
        if not self.flow.definition:
            return
        folder = self.flow.folder
        definition = posixpath.join(folder, self.flow.definition)
        if ignored := self.rules.leaves_out_with_parents(definition, is_folder=False):
            raise _left_out(self.flow.file, ignored)
        self._add_folder(folder, key="", place=in_project(self.tree, self.flow.path), origin="own")

    def add_include(self, include: Reference) -> None:
        written = include.path.replace("\\", "/")
        place = self._outside_path(include, written)
        real = follow(self.tree, place)
        kind = self.tree.kind(real)
        if kind not in ("file", "folder"):
            raise UsageError(self._describe_missing(include, written, place))
        if is_within(self.flow.folder, real):
            raise UsageError.of(
                "includes the folder that holds the flow itself", where=include.where, found=f"'{include.path}'"
            )
        if ignored := self.rules.leaves_out_with_parents(real, is_folder=kind == "folder"):
            raise _left_out(include.where, ignored, found=f"'{include.path}'")
        key = posixpath.basename(place)
        if kind == "file":
            self._add_file(key, Source(place=place, path=real, origin="included"))
        else:
            self._add_folder(real, key=key, place=place, origin="included")

    def add_source(self, source: Reference) -> None:
        place = self._outside_path(source, source.path)
        real = follow(self.tree, place)
        if self.tree.kind(real) != "file":
            raise UsageError(self._describe_missing(source, source.path, place))
        if not is_within(place, self.tree.prefix):
            fix = "Name the file in additional_includes instead."
            raise UsageError.of("leaves the project folder", where=source.where, found=f"'{source.path}'", fix=fix)
        self._add_imported(Source(place=place, path=real, origin="imported"))

    def add_imports(self) -> None:
        names = frozenset(self._local_names())
        pending = [(key, "") for key in self.files]
        if self.flow.entry:
            pending += self._import(self.flow.entry.partition(":")[0])
        while pending:
            key, package = pending.pop()
            if key.endswith(".py"):
                pending += self._follow_imports(self.files[key], package, names)

    def _follow_imports(self, source: Source, package: str, names: frozenset[str]) -> Iterator[tuple[str, str]]:
        content = read(self.tree, source.path)
        if not package and not could_import(content, names):
            return
        try:
            imports = find_imports(content)
        except (SyntaxError, ValueError, RecursionError) as error:
            line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            where = f"{show(self.tree, source.place)}{line}"
            self.notes.append(f"{where} cannot be parsed; what it imports is not part of the closure.")
            return
        for imported in imports:
            if imported.level and not package:
                continue
            module = make_absolute(imported, package)
            if module is not None:
                yield from self._import(".".join(filter(None, (module, imported.name))))

    def _import(self, dotted: str) -> Iterator[tuple[str, str]]:
        """Add what a dotted name leads to; yield each new file with the package that it is in."""
        if dotted in self._resolved:
            return
        self._resolved.add(dotted)
        parts = dotted.split(".")
        if any(self._is_own_module("/".join(parts[: count + 1])) for count in range(len(parts))):
            return
        found = ((base, self._find_module(base, parts)) for base in self._bases)
        located = [(base, places) for base, places in found if places and not self._is_ignored(places[-1])]
        regular = [item for item in located if self._is_regular(item[0], parts[0])]
        for base, places in (regular or located)[:1]:
            for place in places:
                yield from self._take(base, place)

    def _find_module(self, base: str, parts: list[str]) -> list[str]:
        """Find what an import runs under a base: `__init__.py` of outer packages, then a module or a whole package."""
        inits: list[str] = []
        package = ""
        place = base
        for part in parts:
            place = posixpath.join(place, part)
            if self._is_file(place + "/__init__.py"):
                inits.append(place + "/__init__.py")
                package = place
            elif self._is_file(place + ".py"):
                return [*inits[:-1], package] if package else [place + ".py"]
            elif not self._is_folder(place):
                break
        return [*inits[:-1], package] if package else []

    def _take(self, base: str, place: str) -> Iterator[tuple[str, str]]:
        self.import_roots.add(show(self.tree, base))
        if place in self._taken or (self.flow.definition and is_within(place, self.flow.folder)):
            return
        self._taken.add(place)
        before = set(self.files)
        real = follow(self.tree, place)
        if self.tree.kind(real) == "file":
            self._add_imported(Source(place=place, path=real, origin="imported"))
        else:
            self._add_folder(real, key=IMPORTED + show(self.tree, place), place=place, origin="imported")
        for key in self.files.keys() - before:
            yield key, self._package_of(base, self.files[key].place)

    def _package_of(self, base: str, place: str) -> str:
        inside = place[len(base) + 1 :] if base else place
        return posixpath.dirname(inside).replace("/", ".")

    def _local_names(self) -> Iterator[str]:
        for base in self._bases:
            for name, kind in self.tree.list(base).items():
                if name not in CACHE_NAMES and (kind != "file" or name.endswith(".py")):
                    yield name.removesuffix(".py")

    def _is_own_module(self, name: str) -> bool:
        return name + ".py" in self.files or name + "/__init__.py" in self.files

    def _is_regular(self, base: str, name: str) -> bool:
        place = posixpath.join(base, name)
        return self._is_file(place + ".py") or self._is_file(place + "/__init__.py")

    def _is_ignored(self, place: str) -> bool:
        return self.rules.leaves_out_with_parents(place, is_folder=not place.endswith(".py")) is not None

    def _is_file(self, place: str) -> bool:
        return self._probe(place) == "file"

    def _is_folder(self, place: str) -> bool:
        return self._probe(place) == "folder"

    def _probe(self, place: str) -> EntryKind | None:
        """Look for a module; a link that leads nowhere good is no module, and no error unless it is in the flow."""
        try:
            return self.tree.kind(follow(self.tree, place))
        except UsageError:
            return None

    def _outside_path(self, reference: Reference, written: str) -> str:
        place = posixpath.normpath(posixpath.join(in_project(self.tree, self.flow.path), written))
        if posixpath.isabs(place) or place == ".." or place.startswith("../") or written[1:2] == ":":
            raise UsageError.of(
                "leaves the repository",
                where=reference.where,
                found=f"'{reference.path}'",
                expected="a path in the repository, relative to the flow's folder",
            )
        return "" if place == "." else place

    def _describe_missing(self, reference: Reference, written: str, place: str) -> Problem:
        parent = follow(self.tree, posixpath.dirname(place))
        siblings = self.tree.list(parent) if self.tree.kind(parent) == "folder" else {}
        start = written.rstrip("/").rpartition("/")[0]
        return Problem(
            what=f"no such file or folder in {self.tree.name}",
            where=reference.where,
            found=f"'{reference.path}'",
            expected="a path relative to the flow's folder",
            fix=near_match(written.rstrip("/"), [posixpath.join(start, name) for name in siblings]),
        )

    def _add_folder(self, real: str, *, key: str, place: str, origin: Origin, trail: tuple[str, ...] = ()) -> None:
        if origin == "imported" and trail and (real == self.flow.folder or self._holds_flow(real)):
            return
        trail = (*trail, real)
        for name, kind in self.tree.list(real).items():
            child, seen = posixpath.join(real, name), posixpath.join(place, name)
            if self._is_left_out(child, seen, kind):
                continue
            source = Source(place=seen, path=child, origin=origin)
            self._add_entry(posixpath.join(key, name), source, kind, trail)

    def _add_entry(self, key: str, source: Source, kind: EntryKind | None, trail: tuple[str, ...]) -> None:
        if kind == "link":
            real, kind = self._follow_link(source.path, trail)
            origin: Origin = "linked" if source.origin == "own" else source.origin
            source = Source(place=source.place, path=real, origin=origin)
        if kind == "folder":
            self._add_folder(source.path, key=key, place=source.place, origin=source.origin, trail=trail)
        elif kind == "file":
            self._add_file(key, source)
        else:
            raise UsageError(_describe_strange(self.tree, source.place, kind))

    def _follow_link(self, link: str, trail: tuple[str, ...]) -> tuple[str, EntryKind | None]:
        real = follow(self.tree, link)
        kind = self.tree.kind(real)
        where = show(self.tree, link)
        if kind is None:
            found = f"a link to {self.tree.link_target(link)}, which is not there"
            raise UsageError.of("is a broken link", where=where, found=found, fix="Repair or remove the link.")
        if kind == "folder" and any(is_within(folder, real) for folder in trail):
            found = f"a link to {self.tree.link_target(link)}, a folder that it is in"
            raise UsageError.of("is a link that goes in a circle", where=where, found=found, fix="Remove the link.")
        return real, kind

    def _is_left_out(self, real: str, place: str, kind: EntryKind) -> bool:
        # Through a link, a file has two places, and the rules at either may leave it out.
        is_folder = kind in ("folder", "submodule")
        if self.rules.leaves_out(real, is_folder=is_folder):
            return True
        return place != real and self.rules.leaves_out(place, is_folder=is_folder) is not None

    def _holds_flow(self, folder: str) -> bool:
        return not self.tree.list(folder).keys().isdisjoint(DEFINITION_FILES)

    def _add_imported(self, source: Source) -> None:
        self._add_file(IMPORTED + show(self.tree, source.place), source)

    def _add_file(self, key: str, source: Source) -> None:
        name = unicodedata.normalize("NFC", key)
        known = self.files.get(name)
        if known is None:
            self.files[name] = source
            return
        if known.path == source.path or read(self.tree, known.path) == read(self.tree, source.path):
            return
        raise UsageError.of(
            f"two different files would be {name} of the flow",
            where=self.flow.file,
            found=f"{show(self.tree, known.place)} and {show(self.tree, source.place)}",
            fix="Rename or remove one of them.",
        )


def _check_names(flow: Flow, names: Iterable[str]) -> None:
    """Refuse names that another OS cannot hold side by side, or that are not text."""
    spellings: dict[str, str] = {}
    for name in _with_folders(sorted(names)):
        try:
            name.encode()
        except UnicodeEncodeError:
            found = name.encode("utf-8", "backslashreplace").decode()
            raise UsageError.of("a file name is not UTF-8", where=flow.path, found=found, fix="Rename it.") from None
        other = spellings.setdefault(name.lower(), name)
        if other != name:
            raise UsageError.of(
                "two names differ only in upper and lower case",
                where=flow.path,
                found=f"{other} and {name}",
                expected="names that Windows and macOS can hold side by side",
                fix="Rename one of them.",
            )


def _with_folders(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        yield name
        folder = posixpath.dirname(name)
        while folder and folder not in seen:
            seen.add(folder)
            yield folder
            folder = posixpath.dirname(folder)


def _left_out(where: str, ignored: str, *, found: str = "") -> UsageError:
    return UsageError(
        Problem(
            what=f"is left out by {ignored}",
            where=where,
            found=found,
            expected="a file that the flow keeps",
            fix=f"Change the pattern in {ignored}.",
        )
    )


def _describe_strange(tree: FileTree, place: str, kind: EntryKind | None) -> Problem:
    where = show(tree, place)
    if kind == "submodule":
        return Problem(
            what="is a Git submodule, whose files are not in this repository",
            where=where,
            fix="Use a package or a copy instead, or compare with no baseline.",
        )
    return Problem(what="is not a file, a folder or a link", where=where, fix="Move it out of the flow's folder.")
