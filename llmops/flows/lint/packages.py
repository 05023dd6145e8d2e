"""LL6 and LL202: the Python files of a flow, what they import, and the requirements that should provide it."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import NamedTuple

from llmops.errors import UsageError
from llmops.flows.closure import IMPORTED
from llmops.flows.lint.finding import Finding, Place
from llmops.flows.lint.subject import Module, Subject, parse_module
from llmops.flows.tree import follow, in_project, read

_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:[<>=!~;@#,( ]|$)")
_INCLUDE = re.compile(r"^\s*(?:-r|--requirement|-c)[\s=]*(\S+)")
_ENGINE = ("promptflow-core",)


class _Import(NamedTuple):
    module: str
    line: int
    column: int


class Requirements(NamedTuple):
    """What a flow asks pip for.

    Attributes:
        names: normalised names of distributions.
        is_complete: whether every line is a plain name; a URL or a path may provide anything.
    """

    names: frozenset[str]
    is_complete: bool


def check_packages(subject: Subject) -> Iterator[Finding]:
    """Judge the Python files of a flow and their imports."""
    requirements = read_requirements(subject)
    yield from _check_requirements_file(subject)
    for place, module in python_files(subject):
        if module.tree is None:
            yield Finding(code="LL202", place=module.place, message=f"not Python: {module.problem}")
        elif requirements is not None:
            yield from _check_imports(subject, place, module.tree, requirements)


def python_files(subject: Subject) -> Iterator[tuple[str, Module]]:
    """Parse every Python file of the closure; yields the path that the user sees, and the module."""
    for name, source in (subject.closure.files if subject.closure else {}).items():
        if not name.endswith(".py"):
            continue
        shown = name.removeprefix(IMPORTED) if name.startswith(IMPORTED) else subject.shown(name)
        if source.path not in subject.modules:
            subject.modules[source.path] = parse_module(read(subject.tree, source.path), shown)
        yield shown, subject.modules[source.path]


def read_requirements(subject: Subject) -> Requirements | None:
    """Read the requirements of a flow; None when it has no requirements file of its own."""
    named = subject.mapping("environment").get("python_requirements_txt")
    path = named if isinstance(named, str) else "requirements.txt"
    names: set[str] = set()
    is_complete = True
    pending, seen = [path], set()
    while pending:
        current = pending.pop()
        text = subject.text(current)
        if text is None or current in seen:
            is_complete = is_complete and current in seen
            continue
        seen.add(current)
        for line in text.splitlines():
            is_complete = _read_line(line, current, names, pending) and is_complete
    return Requirements(frozenset(names), is_complete) if seen else None


def _read_line(line: str, file: str, names: set[str], pending: list[str]) -> bool:
    """Take one line of a requirements file; return whether it is understood."""
    written = line.partition(" #")[0].strip()
    if not written or written.startswith("#"):
        return True
    if include := _INCLUDE.match(written):
        folder = file.rpartition("/")[0]
        pending.append(f"{folder}/{include[1]}" if folder else include[1])
        return True
    if written.startswith("--"):
        return True
    if (found := _NAME.match(written)) and not written.startswith((".", "/")) and "://" not in written.split("@")[0]:
        names.add(_normalise(found[1]))
        return True
    return False


def _check_requirements_file(subject: Subject) -> Iterator[Finding]:
    named = subject.mapping("environment").get("python_requirements_txt")
    if isinstance(named, str) and subject.file(named) is None:
        place = subject.place("environment", "python_requirements_txt")
        yield Finding(code="LL603", place=place, message=f"there is no file '{named}'")


def _check_imports(subject: Subject, shown: str, module: ast.Module, requirements: Requirements) -> Iterator[Finding]:
    local = _local_names(subject)
    provided = {*requirements.names, *_ENGINE}
    brought = {name for requirement in provided for name in _brought_along().get(requirement, ())}
    reported: set[str] = set()
    for found in _imports(module.body):
        top = found.module.partition(".")[0]
        if top in sys.stdlib_module_names or top in local or top in reported or _is_in_project(subject, top):
            continue
        if _is_provided(found.module, provided, brought):
            continue
        reported.add(top)
        place = Place(file=shown, line=found.line, column=found.column)
        known = _providers(found.module)
        if known and requirements.is_complete:
            message = f"'{found.module}' is provided by {' or '.join(known)}, which the requirements do not name"
            yield Finding(code="LL601", place=place, message=message, fix=f"Add {known[0]} to the requirements.")
        else:
            yield Finding(code="LL602", place=place, message=f"no requirement is known to provide '{found.module}'")


def _is_provided(module: str, provided: set[str], brought: set[str]) -> bool:
    top = module.partition(".")[0]
    if _normalise(top) in provided or top in brought:
        return True
    return any(name in provided for name in _providers(module))


def _providers(module: str) -> tuple[str, ...]:
    """Find the distributions that provide a module, by the longest prefix of its name that the table knows."""
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        if found := _table().get(".".join(parts[:count])):
            return found
    return ()


def _local_names(subject: Subject) -> set[str]:
    names: set[str] = set()
    for key in subject.closure.files if subject.closure else ():
        inside = key.removeprefix(IMPORTED).removeprefix("src/") if key.startswith(IMPORTED) else key
        parts = inside.split("/")
        names.add(parts[0].removesuffix(".py"))
        names.add(parts[-1].removesuffix(".py"))
    return names


def _is_in_project(subject: Subject, name: str) -> bool:
    for place in (name, f"{name}.py", f"src/{name}"):
        try:
            if subject.tree.kind(follow(subject.tree, in_project(subject.tree, place))) is not None:
                return True
        except UsageError:
            continue
    return False


def _imports(body: list[ast.stmt]) -> Iterator[_Import]:
    """List absolute imports; those under TYPE_CHECKING, or whose failure the file expects, do not count."""
    for item in body:
        if isinstance(item, ast.Import):
            yield from (_Import(alias.name, item.lineno, item.col_offset + 1) for alias in item.names)
        elif isinstance(item, ast.ImportFrom) and not item.level and item.module:
            yield _Import(item.module, item.lineno, item.col_offset + 1)
        elif isinstance(item, ast.Try) and any(_expects_import_error(handler) for handler in item.handlers):
            continue
        elif isinstance(item, ast.If) and "TYPE_CHECKING" in ast.unparse(item.test):
            yield from _imports(item.orelse)
        else:
            for block in ("body", "orelse", "finalbody"):
                inside = getattr(item, block, None)
                if isinstance(inside, list):
                    yield from _imports(inside)
            for handler in getattr(item, "handlers", ()):
                yield from _imports(handler.body)


def _expects_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = ast.unparse(handler.type)
    return "ImportError" in caught or "ModuleNotFoundError" in caught


@functools.cache
def _table() -> Mapping[str, tuple[str, ...]]:
    return {module: tuple(names) for module, *names in _rows("modules.txt")}


@functools.cache
def _brought_along() -> Mapping[str, tuple[str, ...]]:
    return {name: tuple(modules) for name, *modules in _rows("brought_along.txt")}


def _rows(name: str) -> Iterator[list[str]]:
    text = (files("llmops.flows.lint") / "tables" / name).read_text(encoding="utf-8")
    return (line.split() for line in text.splitlines() if line and not line.startswith("#"))


def _normalise(name: str) -> str:
    """Write a distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
