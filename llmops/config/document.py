"""YAML files as plain values that know on which line each of them stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml
from yaml.reader import ReaderError

from llmops.errors import Problem

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

Steps = tuple[str | int, ...]
"""Keys and list indexes from the top of a document to a value in it."""

MAX_NODES = 100_000
"""Values of one document after its aliases are expanded; more is an attack or a mistake."""

_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class Report(Protocol):
    """Takes a problem of the value at `path`."""

    def __call__(self, path: Steps, what: str, *, found: str = "", expected: str = "", fix: str = "") -> None:
        """Take the problem."""


class LocatedProblem(NamedTuple):
    """A problem with the line that sorts it among those of its file."""

    line: int
    problem: Problem


def dotted(path: Steps) -> str:
    """Write a path as people do, for instance `gate.thresholds[1].metric`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass(frozen=True, kw_only=True)
class Document:
    """One YAML file.

    Attributes:
        label: the file as messages name it: relative to the project, with forward slashes.
        value: mappings with text keys, lists and scalars; None when nothing could be read.
        lines: path of each value to its 1-based line.
        problems: what is wrong so far; `report` adds to it.
    """

    label: str
    value: Any = None
    lines: dict[Steps, int] = field(default_factory=dict)
    problems: list[LocatedProblem] = field(default_factory=list)

    def line(self, path: Steps) -> int:
        """Return the line of a value, or of the nearest value around it."""
        return next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), 1)

    def place(self, path: Steps) -> str:
        """Return `file:line: dotted.path`."""
        place = f"{self.label}:{self.line(path)}"
        return f"{place}: {dotted(path)}" if path else place

    def report(self, path: Steps, what: str, *, found: str = "", expected: str = "", fix: str = "") -> None:
        """Add a problem of the value at `path`."""
        problem = Problem(what=what, where=self.place(path), found=found, expected=expected, fix=fix)
        self.problems.append(LocatedProblem(self.line(path), problem))

    def sorted_problems(self) -> Sequence[Problem]:
        """Return the problems in the order of their lines."""
        return [item.problem for item in sorted(self.problems, key=lambda item: item.line)]


def read_document(file: Path, label: str) -> Document:
    """Read a YAML file; whatever is wrong with it is in the document's problems."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        return _broken(label, Problem(what="cannot read the file", where=label, found=error.strerror or str(error)))
    try:
        text = raw.decode("utf-8")  # a byte order mark is left to the YAML reader
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        problem = Problem(what="not UTF-8", where=f"{label}:{line}", found=found, fix="Save the file as UTF-8.")
        return _broken(label, problem, line)
    return parse_document(text, label)


def parse_document(text: str, label: str) -> Document:
    """Read YAML text; see `read_document`."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return _broken(label, Problem(what="empty file", where=label, expected="a mapping"))
        return _Builder(loader, label).build(node)
    except yaml.MarkedYAMLError as error:
        return _broken(label, *_syntax_problem(error, text, label))
    except ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1  # libyaml counts bytes
        problem = Problem(what="a character that YAML forbids", where=f"{label}:{line}", found=error.reason)
        return _broken(label, problem, line)
    except RecursionError:
        return _broken(label, Problem(what="nested too deeply", where=label))
    finally:
        loader.dispose()


def _broken(label: str, problem: Problem, line: int = 1) -> Document:
    return Document(label=label, problems=[LocatedProblem(line, problem)])


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, label: str) -> tuple[Problem, int]:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem(what="not valid YAML", where=label, found=error.problem or ""), 1
    line = mark.line + 1
    where = f"{label}:{line}:{mark.column + 1}"
    written = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    if "\t" in written[: mark.column + 1]:
        return Problem(what="not valid YAML", where=where, found="a tab", fix="Indent with spaces."), line
    # PyYAML's own text shows the line, which may hold a secret: only its words are passed on.
    found = ", ".join(part for part in (error.context, error.problem) if part).removeprefix("found ")
    return Problem(what="not valid YAML", where=where, found=found), line


class _Builder:
    """Turns one document's nodes into values and notes their lines."""

    def __init__(self, loader: Any, label: str) -> None:
        self.loader = loader
        self.document = Document(label=label)
        self.nodes = 0
        self.open: set[int] = set()
        self.seen: set[int] = set()

    def build(self, node: yaml.Node) -> Document:
        value = self.value(node, (), node.start_mark.line + 1)
        document = self.document
        return Document(label=document.label, value=value, lines=document.lines, problems=document.problems)

    def value(self, node: yaml.Node, path: Steps, line: int) -> Any:
        self.document.lines[path] = line
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(
                problem="too many values after aliases are expanded", problem_mark=node.start_mark
            )
        if id(node) in self.open:
            raise yaml.MarkedYAMLError(problem="an alias that contains itself", problem_mark=node.start_mark)
        self.open.add(id(node))
        try:
            return self._value(node, path)
        finally:
            self.open.discard(id(node))

    def _value(self, node: yaml.Node, path: Steps) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, n), item.start_mark.line + 1) for n, item in enumerate(node.value)]
        return self.scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: Steps) -> dict[str, Any]:
        if id(node) not in self.seen:  # an alias comes here again, after its merge keys were expanded
            self.seen.add(id(node))
            self.report_duplicates(node, path)
        self.loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.document.report(path, "a key that is not text", fix="Put the key in quotes.")
                continue
            step = str(key.value)
            result[step] = self.value(item, (*path, step), key.start_mark.line + 1)
        return result

    def report_duplicates(self, node: yaml.MappingNode, path: Steps) -> None:
        first: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or first.setdefault(key.value, line) == line:
                continue
            place = f"{self.document.label}:{line}: {dotted((*path, key.value))}"
            problem = Problem(what="key given twice", where=place, found=f"first on line {first[key.value]}")
            self.document.problems.append(LocatedProblem(line, problem))

    def scalar(self, node: yaml.Node, path: Steps) -> Any:
        if node.tag == _TIMESTAMP:  # `api_version: 2024-10-21` means the text
            return node.value
        try:
            value = self.loader.construct_object(node)
        except (yaml.MarkedYAMLError, ValueError) as error:
            found = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
            self.document.report(path, "not a value that YAML defines", found=found or "")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self.document.report(path, "not a finite number", found=node.value)
        if not isinstance(value, (str, int, float, bool, type(None))):
            self.document.report(
                path, "not a plain value", found=node.tag, expected="text, a number, true, false or null"
            )
            return None
        return value
