"""What rules look at: one flow, read leniently, so that one defect does not hide the others."""

from __future__ import annotations

import ast
import posixpath
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops.errors import UsageError
from llmops.flows.closure import Closure
from llmops.flows.definition import Definition
from llmops.flows.lint.finding import Place, place_of
from llmops.flows.model import FlowKind
from llmops.flows.nodes import Node
from llmops.flows.tree import FileTree, follow, in_project, read

_REFERENCE = re.compile(r"^\$\{(.+)\}$", re.DOTALL)
_INPUT_PREFIXES = ("inputs.", "flow.")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One value of a definition that refers to a flow input or to a node.

    Attributes:
        name: of the input (all that follows `inputs.`) or of the node.
        section: of a node's reference, what follows its name: `output`, or something that prompt flow refuses.
        field: the rest, such as `category`; empty for the whole output.
        keys: where it stands in the definition.
    """

    is_input: bool
    name: str
    section: str = ""
    field: str = ""
    keys: tuple[str | int, ...]


def parse_reference(value: object, *keys: str | int) -> Reference | None:
    """Read a value as prompt flow does; None when it is a literal."""
    match = _REFERENCE.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    inside = match[1]
    for prefix in _INPUT_PREFIXES:
        if inside.startswith(prefix):
            return Reference(is_input=True, name=inside[len(prefix) :], keys=keys)
    name, dot, rest = inside.partition(".")
    section, _, path = rest.partition(".")
    bracket = section.find("[")
    if bracket > 0:
        section, path = section[:bracket], section[bracket:]
    return Reference(is_input=False, name=name, section=section if dot else "output", field=path, keys=keys)


@dataclass(frozen=True, kw_only=True)
class Module:
    """A Python file, parsed; `tree` is None when it is broken, and `problem` says why."""

    place: Place
    tree: ast.Module | None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One flow.

    Attributes:
        path: its folder, relative to the project folder.
        nodes: of a DAG flow, those that have a node's form; a node with variants once for each of them.
        closure: None when it cannot be collected.
        body: of a prompty file the template, and the line on which it starts.
    """

    tree: FileTree
    path: str
    kind: FlowKind
    definition: Definition
    nodes: tuple[Node, ...] = ()
    closure: Closure | None = None
    body: tuple[str, int] = ("", 1)
    modules: dict[str, Module] = field(default_factory=dict)

    def place(self, *keys: str | int) -> Place:
        """Find the place of a value in the definition."""
        return place_of(self.definition, *keys)

    def mapping(self, *keys: str) -> Mapping[Any, Any]:
        """Read a mapping of the definition; empty when there is none."""
        value: Any = self.definition.data
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, dict) else {}

    def file(self, path: str) -> str | None:
        """Find a file that is named relative to the flow's folder, or that an include puts there.

        Returns:
            Its path relative to the top of the repository, links followed; None when there is none.
        """
        included = self.closure.files.get(posixpath.normpath(path)) if self.closure else None
        if included is not None:
            return included.path
        try:
            place = follow(self.tree, posixpath.normpath(posixpath.join(in_project(self.tree, self.path), path)))
            return place if not place.startswith("../") and self.tree.kind(place) == "file" else None
        except UsageError:
            return None

    def shown(self, path: str) -> str:
        """Write the path of a file, which is relative to the flow's folder, as the user of the project sees it."""
        return posixpath.normpath(posixpath.join(self.path, path))

    def text(self, path: str) -> str | None:
        """Read a file of the flow as text; None when there is none, or it is not UTF-8."""
        place = self.file(path)
        if place is None:
            return None
        try:
            return read(self.tree, place).decode("utf-8-sig")
        except (UsageError, UnicodeDecodeError):
            return None

    def module(self, path: str) -> Module | None:
        """Parse a Python file, once; None when there is no such file."""
        place = self.file(path)
        if place is None:
            return None
        if place not in self.modules:
            self.modules[place] = parse_module(read(self.tree, place), self.shown(path))
        return self.modules[place]


def parse_module(source: bytes, shown: str) -> Module:
    """Parse Python without running it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Module(place=Place(file=shown), tree=ast.parse(source))
        except SyntaxError as error:
            place = Place(file=shown, line=error.lineno or 1, column=max(1, error.offset or 1))
            return Module(place=place, tree=None, problem=error.msg)
        except (ValueError, RecursionError) as error:
            return Module(place=Place(file=shown), tree=None, problem=str(error))


def references_of(node: Node) -> Iterator[Reference]:
    """List the references in a node's inputs and in its activate condition."""
    for name, value in node.inputs.items():
        found = parse_reference(value, *node.keys, "inputs", str(name))
        if found:
            yield found
    activate = node.body.get("activate")
    if isinstance(activate, dict):
        found = parse_reference(activate.get("when"), *node.keys, "activate", "when")
        if found:
            yield found
