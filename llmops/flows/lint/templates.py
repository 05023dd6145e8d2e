"""LL3: Jinja templates: do they parse, and do they and their inputs fit."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from llmops.errors import near_match
from llmops.flows.lint.finding import Finding, Place
from llmops.flows.lint.subject import Subject, parse_reference
from llmops.flows.lint.tools import LLM_PARAMETERS
from llmops.flows.nodes import Node

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

_ROLE = re.compile(r"(?im)^\s*#?\s*(system|user|assistant|function|tool)\s*:\s*$")
_NAME = re.compile(r"[A-Za-z_]\w*")
_GUARDS = frozenset({"defined", "undefined", "none"})


class Template(NamedTuple):
    """What a template says of itself.

    Attributes:
        variables: name to the 1-based line of its first use; loop variables and the like are not among them.
        guarded: those that the template looks at before it uses them.
        problem: why it does not parse, with the line; None when it does.
        loads: 1-based line of the first include, import or extends; None when there is none.
    """

    variables: dict[str, int]
    guarded: frozenset[str]
    problem: tuple[str, int] | None = None
    loads: int | None = None


@functools.lru_cache(maxsize=512)
def read_template(text: str) -> Template:
    """Parse a template as prompt flow does, without rendering it."""
    from jinja2 import TemplateSyntaxError, meta
    from jinja2 import nodes as jinja

    environment = _environment()
    try:
        tree = environment.parse(text)
    except TemplateSyntaxError as error:
        return Template({}, frozenset(), problem=(error.message or "broken", error.lineno))
    unknown = _unknown_names(environment, tree)
    if unknown:
        return Template({}, frozenset(), problem=unknown)
    undeclared = meta.find_undeclared_variables(tree) - environment.globals.keys()
    lines: dict[str, int] = {}
    for name in tree.find_all(jinja.Name):
        if name.name in undeclared and name.ctx == "load":
            lines[name.name] = min(name.lineno, lines.get(name.name, name.lineno))
    loads = [node.lineno for node in tree.find_all((jinja.Include, jinja.Import, jinja.FromImport, jinja.Extends))]
    return Template(lines, frozenset(_guarded(tree)), loads=min(loads, default=None))


def check_templates(subject: Subject) -> Iterator[Finding]:
    """Judge the templates of a DAG flow's LLM and prompt nodes, each variant of them."""
    for node in subject.nodes:
        path, kind = node.source_path, node.body.get("type")
        text = subject.text(path) if path and kind in ("llm", "prompt", "custom_llm") else None
        if text is None or path is None:
            continue
        place = Place(file=subject.shown(path))
        given = {str(name) for name in node.inputs}
        fed = {str(name) for name, value in node.inputs.items() if value not in (None, "")}
        yield from check_template(text, place, given, fed=fed, owner=f"node '{node.name}'")
        if kind != "custom_llm":
            yield from _check_unused(subject, node, text)
        if kind == "llm" and node.body.get("api") == "chat":
            yield from check_roles(text, place)


def check_template(
    text: str, place: Place, names: Collection[str], *, owner: str, fed: Collection[str] | None = None
) -> Iterator[Finding]:
    """Judge one template.

    Args:
        place: where it starts.
        names: what may be used in it.
        fed: those of `names` that have a value; all when None.
    """
    template = read_template(text)
    if template.problem:
        message, line = template.problem
        yield Finding(code="LL301", place=_at(place, line), message=f"the template does not parse: {message}")
        return
    if template.loads is not None:
        message = "the template takes parts from other files, which prompt flow does not find"
        yield Finding(code="LL304", place=_at(place, template.loads), message=message)
    for variable, line in template.variables.items():
        if variable not in (names if fed is None else fed) and variable not in template.guarded:
            column = _column(text, line, variable)
            where = Place(file=place.file, line=place.line + line - 1, column=column)
            message = f"{owner} gives no value to '{variable}', which its template uses"
            known = [name for name in names if name not in template.variables]
            yield Finding(code="LL302", place=where, message=message, fix=near_match(variable, known))


def check_roles(text: str, place: Place) -> Iterator[Finding]:
    """Judge whether a chat prompt can be split into messages; what a template computes may hold the roles."""
    if _ROLE.search(text) or "{%" in text or re.match(r"\s*\{\{", text):
        return
    yield Finding(code="LL305", place=place, message="no line of the prompt names a role")


def _check_unused(subject: Subject, node: Node, text: str) -> Iterator[Finding]:
    template = read_template(text)
    if template.problem:
        return
    known = LLM_PARAMETERS if node.body.get("type") == "llm" else frozenset()
    for name in node.inputs:
        if name not in template.variables and name not in known:
            place = subject.place(*node.keys, "inputs", str(name))
            message = f"node '{node.name}' passes '{name}', which its template does not use"
            yield Finding(code="LL303", place=place, message=message, fix=_hint(node, str(name)))


def _hint(node: Node, name: str) -> str:
    is_literal = parse_reference(node.inputs.get(name)) is None
    return near_match(name, sorted(LLM_PARAMETERS)) if is_literal and node.body.get("type") == "llm" else ""


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment

    return Environment()  # noqa: S701 as prompt flow reads prompts; nothing is rendered here


def _unknown_names(environment: Environment, tree: nodes.Template) -> tuple[str, int] | None:
    from jinja2 import nodes as jinja

    for found in tree.find_all(jinja.Filter):
        if found.name not in environment.filters:
            return f"there is no filter '{found.name}'", found.lineno
    for test in tree.find_all(jinja.Test):
        if test.name not in environment.tests:
            return f"there is no test '{test.name}'", test.lineno
    return None


def _guarded(tree: Any) -> Iterator[str]:
    """Yield the names that the template checks with `is defined`, `default` or a bare `if`."""
    from jinja2 import nodes as jinja

    for test in tree.find_all(jinja.Test):
        if test.name in _GUARDS and isinstance(test.node, jinja.Name):
            yield test.node.name
    for used in tree.find_all(jinja.Filter):
        if used.name in ("default", "d") and isinstance(used.node, jinja.Name):
            yield used.node.name


def _at(place: Place, line: int) -> Place:
    return Place(file=place.file, line=place.line + line - 1)


def _column(text: str, line: int, name: str) -> int:
    lines = text.splitlines()
    written = lines[line - 1] if 0 < line <= len(lines) else ""
    return next((match.start() + 1 for match in _NAME.finditer(written) if match[0] == name), 1)
