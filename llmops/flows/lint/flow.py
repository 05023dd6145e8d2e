"""Lint flows: read each once, ask every family of rules."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import yaml

from llmops.errors import UsageError
from llmops.flows.closure import Closure, find_closure
from llmops.flows.definition import Definition, parse_definition, parse_front_matter
from llmops.flows.folder import DEFINITION_FILES, find_flows, read_flow_in
from llmops.flows.lint.entries import check_entry, check_prompty
from llmops.flows.lint.finding import Finding, Place, from_problem
from llmops.flows.lint.graph import check_graph, check_inputs
from llmops.flows.lint.packages import check_packages
from llmops.flows.lint.repository import check_secrets
from llmops.flows.lint.rules import RULES
from llmops.flows.lint.subject import Subject
from llmops.flows.lint.templates import check_templates
from llmops.flows.lint.tools import check_tools
from llmops.flows.lint.variants import check_nodes, list_nodes
from llmops.flows.model import Flow
from llmops.flows.tree import FileTree, follow, in_project, read


@dataclass(frozen=True, kw_only=True)
class LintedFlow:
    """What was found of one flow.

    Attributes:
        flow, closure: None when the definition or the files are not in order.
    """

    path: str
    findings: tuple[Finding, ...]
    flow: Flow | None = None
    closure: Closure | None = None


def find_definitions(tree: FileTree) -> list[str]:
    """List every definition of a flow in the project, relative to the project folder.

    A `.prompty` file beside a `flow.dag.yaml` or `flow.flex.yaml` is a part of that flow.
    """
    found: list[str] = []
    for folder in find_flows(tree):
        names = tree.list(follow(tree, in_project(tree, folder)))
        main = [name for name in DEFINITION_FILES if name in names]
        found += [posixpath.normpath(posixpath.join(folder, name)) for name in main or _prompty_files(names)]
    return found


def lint_flow(tree: FileTree, path: str) -> LintedFlow:
    """Judge one flow.

    Args:
        path: its definition, relative to the project folder.
    """
    try:
        content = read(tree, follow(tree, in_project(tree, path)))
        is_prompty = path.endswith(".prompty")
        definition = (parse_front_matter if is_prompty else parse_definition)(content, path)
    except UsageError as error:
        return LintedFlow(path=path, findings=tuple(from_problem("LL001", item, path) for item in error.problems))
    subject, flow, problems = _read_subject(tree, path, definition, content)
    if subject is None:
        return LintedFlow(path=path, findings=tuple(problems))
    findings = [*_check_keys(definition), *_check(subject)]
    findings += [problem for problem in problems if not _is_known(problem, findings)]
    return LintedFlow(path=path, findings=tuple(findings), flow=flow, closure=subject.closure)


def _read_subject(
    tree: FileTree, path: str, definition: Definition, content: bytes
) -> tuple[Subject | None, Flow | None, list[Finding]]:
    problems: list[Finding] = []
    flow, closure = None, None
    try:
        flow = read_flow_in(tree, path)
        closure = find_closure(tree, flow)
    except UsageError as error:
        code = "LL001" if flow is None else "LL704"
        problems = [from_problem(code, item, path) for item in error.problems]
    is_flow = path.endswith(".prompty") or "entry" in definition.data or "nodes" in definition.data
    if not is_flow:
        return None, None, problems
    kind = "prompty" if path.endswith(".prompty") else "flex" if "entry" in definition.data else "dag"
    subject = Subject(
        tree=tree,
        path=posixpath.dirname(path) or ".",
        kind=kind,  # type: ignore[arg-type]  # one of the three
        definition=definition,
        nodes=list_nodes(definition) if kind == "dag" else (),
        closure=closure,
        body=_body(content, definition) if kind == "prompty" else ("", 1),
    )
    return subject, flow, problems


def _check(subject: Subject) -> Iterator[Finding]:
    if subject.kind == "dag":
        yield from check_nodes(subject.definition)
        yield from check_graph(subject)
        yield from check_tools(subject)
        yield from check_templates(subject)
    elif subject.kind == "flex":
        yield from check_inputs(subject)
        yield from check_entry(subject)
    else:
        yield from check_prompty(subject)
    yield from check_packages(subject)
    yield from check_secrets(subject)


def _check_keys(definition: Definition) -> Iterator[Finding]:
    """Find keys that are given twice in one mapping."""
    pending: list[yaml.Node] = [definition.node] if definition.node is not None else []
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        first: dict[str, int] = {}
        for key, value in node.value:
            line = definition.first_line + key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and first.setdefault(key.value, line) != line:
                place = Place(file=definition.where, line=line, column=key.start_mark.column + 1)
                message = f"the key '{key.value}' is given twice, first on line {first[key.value]}"
                yield Finding(code="LL002", place=place, message=message)
            pending.append(value)


def _is_known(problem: Finding, findings: Sequence[Finding]) -> bool:
    """Say whether a rule has found the same thing, and said more of it."""
    is_same = any(finding.place.line == problem.place.line for finding in findings)
    return is_same or (problem.code == "LL001" and any(RULES[finding.code].severity == "error" for finding in findings))


def _prompty_files(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.endswith(".prompty"))


def _body(content: bytes, definition: Definition) -> tuple[str, int]:
    """Split a prompty file: the template after the front matter, and its first line."""
    text = content.decode("utf-8-sig")
    lines = text.splitlines(keepends=True)
    end = next(n for n in range(definition.first_line, len(lines)) if lines[n].startswith("---"))
    return "".join(lines[end + 1 :]), end + 2
