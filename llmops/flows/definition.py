"""Read the YAML that defines a flow, keeping the lines for messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from llmops.errors import Problem, UsageError

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FRONT_MATTER = re.compile(r"\A\s*-{3,}[ \t]*\r?\n(.*?)^-{3,}[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


class _Loader(_Base):  # type: ignore[misc]  # the base is chosen at run time
    """YAML 1.2's scalars, as prompt flow reads them: `yes`, `on` and `12:30` are strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":int"))]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF")
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^(?:[-+]?[0-9]+|0x[0-9a-fA-F]+)$"), [*"-+0123456789"]
)


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One YAML mapping and where its values stand.

    Attributes:
        where: the file, as the user sees it.
        data: the mapping.
        node: the parsed document, for lines.
        first_line: 0-based line of the file at which the document starts.
    """

    where: str
    data: Mapping[str, Any]
    node: yaml.Node | None
    first_line: int = 0

    def position(self, *keys: str | int) -> tuple[int, int]:
        """Find the 1-based line and column of the deepest of these keys that exists."""
        node, line, column = self.node, self.first_line + 1, 1
        for key in keys:
            step = _step(node, key)
            if step is None:
                break
            start, node = step
            line, column = self.first_line + start.start_mark.line + 1, start.start_mark.column + 1
        return line, column

    def locate(self, *keys: str | int) -> str:
        """Write `file:line: path.of.keys` for a value; the line is that of the deepest key that exists."""
        line, _ = self.position(*keys)
        dotted = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
        return f"{self.where}:{line}: {dotted}"


def parse_definition(content: bytes, where: str) -> Definition:
    """Parse a YAML file that must be a mapping.

    Raises:
        UsageError: not UTF-8, broken YAML, or not a mapping.
    """
    return _parse(_decode(content, where), where, 0)


def parse_front_matter(content: bytes, where: str) -> Definition:
    """Parse the front matter of a `.prompty` file: the YAML between its first two lines of dashes.

    Raises:
        UsageError: there is none, or it is broken.
    """
    text = _decode(content, where)
    found = _FRONT_MATTER.match(text)
    if not found:
        raise UsageError.of(
            "has no front matter", where=where, expected="YAML between two lines of ---, then the prompt"
        )
    return _parse(found[1], where, text.count("\n", 0, found.start(1)))


def _parse(text: str, where: str, first_line: int) -> Definition:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = first_line + (mark.line if mark else 0) + 1
        raise UsageError(Problem(what="broken YAML", where=f"{where}:{line}", found=error.problem or "")) from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(Problem(what="broken YAML", where=where, found=str(error).splitlines()[0])) from error
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise UsageError.of("not a flow", where=where, found=f"a YAML {_name_type(data)}", expected="a mapping")
    return Definition(where=where, data=data, node=node, first_line=first_line)


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError.of("not UTF-8", where=f"{where}:{line}", fix="Save the file as UTF-8.") from error


def _step(node: yaml.Node | None, key: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Find the node at which an entry starts, and its value."""
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key]
    if isinstance(node, yaml.MappingNode):
        return next(((name, value) for name, value in node.value if name.value == str(key)), None)
    return None


def _name_type(value: object) -> str:
    return "list" if isinstance(value, list) else type(value).__name__
