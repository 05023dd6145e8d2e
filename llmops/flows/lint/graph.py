"""LL1: the graph of a DAG flow: references, cycles, orphans, names, outputs, types."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from llmops.errors import near_match
from llmops.flows.lint.finding import Finding
from llmops.flows.lint.literals import TYPES, fits_type
from llmops.flows.lint.returns import returned_fields
from llmops.flows.lint.subject import Reference, Subject, parse_reference, references_of
from llmops.flows.lint.tools import find_tools
from llmops.flows.nodes import Node

_RESERVED = ("inputs", "flow")


def check_graph(subject: Subject) -> Iterator[Finding]:
    """Judge the graph of a DAG flow."""
    yield from _check_names(subject)
    yield from _check_references(subject)
    yield from _check_activation(subject)
    yield from _check_cycles(subject)
    yield from _check_use(subject)
    yield from _check_aggregation(subject)
    yield from _check_outputs(subject)
    yield from check_inputs(subject)


def check_inputs(subject: Subject) -> Iterator[Finding]:
    """Judge types and defaults of the flow's inputs."""
    for name, body in subject.mapping("inputs").items():
        if not isinstance(body, dict):
            continue
        declared = body.get("type")
        if "type" in body and declared not in TYPES:
            yield Finding(
                code="LL114",
                place=subject.place("inputs", str(name), "type"),
                message=f"input '{name}' has the unknown type '{declared}'",
                fix=near_match(str(declared), sorted(TYPES)),
            )
        elif "default" in body and not fits_type(body["default"], str(declared)):
            yield Finding(
                code="LL115",
                place=subject.place("inputs", str(name), "default"),
                message=f"the default of input '{name}' is not of type {declared}",
            )


def _check_names(subject: Subject) -> Iterator[Finding]:
    first: dict[str, int] = {}
    bodies = subject.definition.data.get("nodes") or []
    for index, body in enumerate(bodies):
        name = str(body.get("name", "")) if isinstance(body, dict) else ""
        if not name:
            continue
        if name in _RESERVED:
            place = subject.place("nodes", index, "name")
            yield Finding(code="LL110", place=place, message=f"a node may not be called '{name}'", fix="Rename it.")
        if first.setdefault(name, index) != index:
            line = subject.place("nodes", first[name], "name").line
            place = subject.place("nodes", index, "name")
            yield Finding(code="LL106", place=place, message=f"node '{name}' is given twice, first on line {line}")


def _all_references(subject: Subject) -> Iterator[tuple[Reference, str]]:
    for node in subject.nodes:
        for reference in references_of(node):
            yield reference, f"node '{node.name}'"
    for name, body in subject.mapping("outputs").items():
        value = body.get("reference") if isinstance(body, dict) else None
        found = parse_reference(value, "outputs", str(name), "reference")
        if found:
            yield found, f"output '{name}'"


def _check_references(subject: Subject) -> Iterator[Finding]:
    names = {node.name for node in subject.nodes} | set(_bare_names(subject))
    inputs = [str(name) for name in subject.mapping("inputs")]
    fields = _known_fields(subject)
    for reference, owner in _all_references(subject):
        yield from _check_reference(subject, reference, owner, names, inputs, fields)
    yield from _check_literals(subject, names)


def _bare_names(subject: Subject) -> Iterator[str]:
    """List the names of all nodes, those without a node's form too: a reference to one of them is not the mistake."""
    for body in subject.definition.data.get("nodes") or []:
        if isinstance(body, dict) and body.get("name"):
            yield str(body["name"])


def _check_reference(
    subject: Subject,
    reference: Reference,
    owner: str,
    names: set[str],
    inputs: list[str],
    fields: Mapping[str, frozenset[str]],
) -> Iterator[Finding]:
    place, name = subject.place(*reference.keys), reference.name
    if reference.is_input:
        if name not in inputs:
            fix = near_match(name, inputs)
            if "." in name and name.partition(".")[0] in inputs:
                fix = f"Take the whole input '{name.partition('.')[0]}' and pick the field in the tool."
            yield Finding(code="LL102", place=place, message=f"{owner} takes the unknown flow input '{name}'", fix=fix)
    elif name not in names:
        fix = near_match(name, sorted(names)) or (f"Write ${{inputs.{name}}}." if name in inputs else "")
        yield Finding(code="LL101", place=place, message=f"{owner} refers to the unknown node '{name}'", fix=fix)
    elif reference.section != "output":
        message = f"{owner} takes '{reference.section}' of node '{name}'; only 'output' can be taken"
        yield Finding(code="LL103", place=place, message=message, fix=f"Write ${{{name}.output}}.")
    elif reference.field and name in fields:
        first = re.split(r"[.\[]", reference.field)[0]
        if first and first not in fields[name]:
            known = sorted(fields[name])
            message = f"{owner} takes the field '{first}', which node '{name}' does not return"
            yield Finding(code="LL109", place=place, message=message, fix=near_match(first, known))


def _known_fields(subject: Subject) -> dict[str, frozenset[str]]:
    """Find the fields of the nodes whose source shows all that they return."""
    known: dict[str, frozenset[str]] = {}
    for node in subject.nodes:
        if node.body.get("type") in ("llm", "prompt"):
            continue
        path = node.source_path
        module = subject.module(path) if path and path.endswith(".py") else None
        tools = find_tools(module.tree) if module and module.tree else []
        fields = returned_fields(tools[0].function) if len(tools) == 1 else None
        if fields is not None:
            known[node.name] = fields
    return known


def _check_literals(subject: Subject, names: set[str]) -> Iterator[Finding]:
    """Find references that are not the whole value, or that are not closed."""
    starts = "|".join(re.escape(name) for name in sorted({*names, *_RESERVED}))
    pattern = re.compile(rf"\$?\{{+\s*(?:{starts})\.\w+")
    for keys, value in _literals(subject):
        if pattern.search(value):
            yield Finding(code="LL103", place=subject.place(*keys), message=f"'{value}' is taken as it is written")


def _literals(subject: Subject) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for node in subject.nodes:
        values = {("inputs", str(name)): value for name, value in node.inputs.items()}
        activate = node.body.get("activate")
        if isinstance(activate, dict):
            values["activate", "when"] = activate.get("when")
        for keys, value in values.items():
            if isinstance(value, str) and parse_reference(value) is None:
                yield (*node.keys, *keys), value


def _check_activation(subject: Subject) -> Iterator[Finding]:
    for node in subject.nodes:
        if "activate" not in node.body or node.body["activate"] is None:
            continue
        activate, place = node.body["activate"], subject.place(*node.keys, "activate")
        if not isinstance(activate, dict) or not {"when", "is"} <= activate.keys():
            message = f"the activate condition of node '{node.name}' needs both 'when' and 'is'"
            yield Finding(code="LL111", place=place, message=message)
        elif activate["when"] is not None and parse_reference(activate["when"]) is None:
            place = subject.place(*node.keys, "activate", "when")
            message = f"the activate condition of node '{node.name}' compares a constant"
            yield Finding(code="LL111", place=place, message=message)


def _edges(subject: Subject) -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {}
    for node in subject.nodes:
        targets = edges.setdefault(node.name, set())
        targets.update(reference.name for reference in references_of(node) if not reference.is_input)
    return edges


def _check_cycles(subject: Subject) -> Iterator[Finding]:
    edges = _edges(subject)
    waiting = {name: {target for target in targets if target in edges} for name, targets in edges.items()}
    while free := [name for name, targets in waiting.items() if not targets]:
        for name in free:
            del waiting[name]
        for targets in waiting.values():
            targets.difference_update(free)
    circle = [name for name in waiting if _reaches(edges, name, name)]
    if circle:
        node = next(node for node in subject.nodes if node.name == circle[0])
        message = "these nodes wait for each other: " + ", ".join(f"'{name}'" for name in circle)
        if len(circle) == 1:
            message = f"node '{circle[0]}' waits for its own output"
        yield Finding(code="LL104", place=subject.place(*node.keys), message=message)


def _reaches(edges: Mapping[str, set[str]], start: str, goal: str) -> bool:
    pending, seen = [start], set()
    while pending:
        for target in edges.get(pending.pop(), ()):
            if target == goal:
                return True
            if target not in seen:
                seen.add(target)
                pending.append(target)
    return False


def _check_use(subject: Subject) -> Iterator[Finding]:
    outputs = {reference.name for reference, owner in _all_references(subject) if owner.startswith("output")}
    aggregations = {node.name for node in subject.nodes if node.body.get("aggregation")}
    if not subject.mapping("outputs") and not aggregations:
        yield Finding(
            code="LL116", place=subject.place("outputs"), message="the flow has neither outputs nor an aggregation node"
        )
        return
    used, pending, edges = set(aggregations), [*outputs, *aggregations], _edges(subject)
    while pending:
        name = pending.pop()
        used.add(name)
        pending += edges.get(name, set()) - used
    for node in {node.name: node for node in reversed(subject.nodes)}.values():
        if node.name not in used:
            place = subject.place(*_name_keys(subject, node))
            yield Finding(code="LL105", place=place, message=f"nothing depends on node '{node.name}'")
    yield from _check_unused_inputs(subject)


def _name_keys(subject: Subject, node: Node) -> tuple[str | int, ...]:
    bodies = subject.definition.data.get("nodes") or []
    index = next((n for n, body in enumerate(bodies) if isinstance(body, dict) and body.get("name") == node.name), None)
    return ("nodes", index, "name") if index is not None else node.keys


def _check_unused_inputs(subject: Subject) -> Iterator[Finding]:
    taken = {reference.name.partition(".")[0] for reference, _ in _all_references(subject) if reference.is_input}
    for name, body in subject.mapping("inputs").items():
        is_history = isinstance(body, dict) and body.get("is_chat_history")
        if str(name) not in taken and not is_history:
            yield Finding(
                code="LL107", place=subject.place("inputs", str(name)), message=f"nothing uses input '{name}'"
            )


def _check_aggregation(subject: Subject) -> Iterator[Finding]:
    aggregations = {node.name for node in subject.nodes if node.body.get("aggregation")}
    for node in subject.nodes:
        is_aggregation = node.body.get("aggregation")
        for reference in references_of(node):
            if reference.is_input:
                continue
            place = subject.place(*reference.keys)
            if not is_aggregation and reference.name in aggregations:
                message = f"node '{node.name}' runs per line and takes from the aggregation node '{reference.name}'"
                yield Finding(code="LL112", place=place, message=message)
            elif is_aggregation and reference.keys[-1] == "when" and reference.name not in aggregations:
                message = f"the aggregation node '{node.name}' is activated by '{reference.name}', which runs per line"
                yield Finding(code="LL112", place=place, message=message)


def _check_outputs(subject: Subject) -> Iterator[Finding]:
    aggregations = {node.name for node in subject.nodes if node.body.get("aggregation")}
    for name, body in subject.mapping("outputs").items():
        value = body.get("reference") if isinstance(body, dict) else None
        reference = parse_reference(value)
        if reference is None:
            place = subject.place("outputs", str(name), "reference")
            message = f"output '{name}' has no reference" if not value else f"output '{name}' is the constant '{value}'"
            yield Finding(code="LL108", place=place, message=message)
        elif not reference.is_input and reference.name in aggregations:
            place = subject.place("outputs", str(name), "reference")
            message = f"output '{name}' is taken from the aggregation node '{reference.name}'"
            yield Finding(code="LL113", place=place, message=message)
