"""Read what a flow says of itself: kind, inputs, outputs, nodes, variants, connections; nothing is run."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmops.errors import LlmopsError, Problem, UsageError, near_match
from llmops.flows.callables import entry_connections, entry_inputs, is_callable, read_callable
from llmops.flows.definition import Definition, parse_definition, parse_front_matter
from llmops.flows.ignore import IgnoreRules
from llmops.flows.model import CONNECTION_VALUE, ConnectionUse, Flow, FlowInput, NodeVariants, Reference
from llmops.flows.nodes import find_connections, list_nodes, outside_sources
from llmops.flows.tree import FileTree, WorkingTree, follow, in_project, kind_behind, read, show

DEFINITION_FILES = ("flow.dag.yaml", "flow.dag.yml", "flow.flex.yaml", "flow.flex.yml")


class FlowMissing(UsageError):
    """There is no flow at the path: no such folder, or no flow in it."""


def read_flow(root: Path, path: str) -> Flow:
    """Read a flow as it lies in the working tree; see `read_flow_in`.

    Args:
        root: the project folder, which holds `config/`.
        path: the flow's folder or file, relative to `root`.
    """
    return read_flow_in(WorkingTree(root), relative_to(root, path))


def read_flow_in(tree: FileTree, path: str) -> Flow:
    """Read a flow.

    Args:
        tree: where to look.
        path: relative to the project folder: a folder with one definition in it, or a definition: a `.prompty` file or
            a YAML file; or a Python callable, see `callables`.

    Raises:
        FlowMissing: there is no such folder or file, or no definition in it.
        UsageError: several definitions, broken YAML, or a definition that does not have a flow's form.
    """
    if is_callable(path):
        return read_callable(tree, path)
    path = posixpath.normpath(path.replace(os.sep, "/"))
    if path.startswith(("../", "/")) or path == "..":
        raise UsageError.of("not in the project folder", where=path, expected="a path relative to the project folder")
    folder, file = _find_definition(tree, path)
    where = posixpath.join(folder, file)
    content = read(tree, follow(tree, in_project(tree, where)))
    if file.endswith(".prompty"):
        return _read_prompty(tree, folder, file, parse_front_matter(content, where))
    definition = parse_definition(content, where)
    if "entry" in definition.data:
        return _read_flex(tree, folder, file, definition)
    return _read_dag(tree, folder, file, definition)


def relative_to(root: Path, path: str) -> str:
    """Turn a path that a user gave, perhaps absolute, into one relative to the project folder."""
    if not Path(path).is_absolute():
        return path
    return os.path.relpath(Path(path).resolve(), root.resolve()).replace(os.sep, "/")


def find_flows(tree: FileTree) -> list[str]:
    """List the folders of the project that hold a flow, sorted, relative to the project folder.

    Folders that are caches, or that the ignore files leave out, are not looked into.
    """
    return sorted(_find_flows(tree, tree.prefix, IgnoreRules(tree)))


def validate_variants(flow: Flow, variants: Mapping[str, str]) -> None:
    """Check a choice of variants.

    Args:
        flow: the flow that would run.
        variants: node to variant.

    Raises:
        UsageError: with every node that the flow does not have or that has no such variant.
    """
    problems = [problem for node, variant in variants.items() for problem in _check_variant(flow, node, variant)]
    if problems:
        raise UsageError(*problems)


def validate_nodes(flow: Flow, nodes: Mapping[str, Mapping[str, str]]) -> None:
    """Check settings that overlay nodes.

    Raises:
        UsageError: with every node that the flow does not have.
    """
    known = ", ".join(flow.nodes) or "no nodes at all"
    problems = [
        Problem(what="no such node", where=f"{flow.name}: {node}", expected=known, fix=near_match(node, flow.nodes))
        for node in nodes
        if node not in flow.nodes
    ]
    if problems:
        raise UsageError(*problems)


def connections_in_use(
    flow: Flow,
    variants: Mapping[str, str],
    *,
    nodes: Mapping[str, Mapping[str, str]] | None = None,
    init: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    known: Collection[str] = (),
) -> tuple[ConnectionUse, ...]:
    """List the places that name a connection when these variants, and the defaults of the other nodes, run.

    Args:
        flow: as its definition says.
        variants: node to variant.
        nodes: settings that overlay nodes; a connection there stands in the place of the one that the node names.
        init: arguments of the flow's class; those that take a connection count, and of a mapping there, such as a
            model configuration, `connection`.
        variables: environment variables of the worker; `${connection.key}` uses that connection.
        known: names of connections; of uses that are not sure, only those that name one of them are listed.
    """
    chosen = {node: variants.get(node, known.default) for node, known in flow.variants.items()}
    named = (use for use in flow.connections if use.variant is None or chosen.get(use.node or "") == use.variant)
    uses = [_overlaid(use, nodes or {}) for use in named if use.is_sure or use.name in known]
    uses += [
        ConnectionUse(name=name, where=f"init.{key}")
        for key, default in flow.init_connections.items()
        if isinstance(name := (init or {}).get(key, default), str)
    ]
    uses += [
        ConnectionUse(name=value["connection"], where=f"init.{key}.connection")
        for key, value in (init or {}).items()
        if isinstance(value, Mapping) and isinstance(value.get("connection"), str)
    ]
    uses += [
        ConnectionUse(name=match[1], where=f"environment_variables.{key}")
        for key, value in (variables or {}).items()
        if (match := CONNECTION_VALUE.match(value))
    ]
    return tuple(uses)


def _overlaid(use: ConnectionUse, nodes: Mapping[str, Mapping[str, str]]) -> ConnectionUse:
    settings = nodes.get(use.node or "", {})
    name = settings.get(use.input or "connection")
    return replace(use, name=name, where=f"nodes.{use.node}.{use.input or 'connection'}") if name else use


def _find_definition(tree: FileTree, path: str) -> tuple[str, str]:
    place = in_project(tree, path)
    kind = kind_behind(tree, place)
    if kind == "file":
        folder, _, file = path.rpartition("/")
        if not file.endswith((".yaml", ".yml", ".prompty")):
            raise UsageError.of("not a flow", where=path, expected="a folder, a .yaml file or a .prompty file")
        return folder or ".", file
    if kind != "folder":
        raise _describe_missing(tree, path)
    names = [name for name, entry in tree.list(follow(tree, place)).items() if entry in ("file", "link")]
    found = [name for name in DEFINITION_FILES if name in names]
    found = found or sorted(name for name in names if name.endswith(".prompty"))
    if not found:
        raise FlowMissing.of(
            "no flow in this folder",
            where=path,
            expected=f"{DEFINITION_FILES[0]}, {DEFINITION_FILES[2]} or a .prompty file",
            fix=near_match(path, find_flows(tree)),
        )
    if len(found) > 1:
        raise UsageError.of(
            "several flows in one folder", where=path, found=", ".join(found), fix=f"Name one: {path}/{found[0]}"
        )
    return path, found[0]


def _describe_missing(tree: FileTree, path: str) -> LlmopsError:
    known = find_flows(tree)
    return FlowMissing.of(
        f"no such flow folder in {tree.name}",
        where=path,
        expected=f"one of {', '.join(known[:10])}" if known else "",
        fix=near_match(path, known),
    )


def _find_flows(tree: FileTree, folder: str, rules: IgnoreRules) -> Iterator[str]:
    entries = tree.list(folder)
    if any(name in DEFINITION_FILES or name.endswith(".prompty") for name in entries):
        yield show(tree, folder)
    for name, kind in entries.items():
        place = posixpath.join(folder, name)
        if kind == "folder" and rules.leaves_out(place, is_folder=True) is None:
            yield from _find_flows(tree, place, rules)


def _check_variant(flow: Flow, node: str, variant: str) -> Iterator[Problem]:
    where = f"{flow.file}: node_variants.{node}"
    if node not in flow.variants:
        known = ", ".join(flow.variants) or "no variants at all"
        what = "this node has no variants" if node in flow.nodes else "no such node"
        yield Problem(what=what, where=where, expected=f"one of {known}", fix=near_match(node, flow.variants))
    elif variant not in flow.variants[node].names:
        names = flow.variants[node].names
        yield Problem(
            what="no such variant",
            where=where,
            found=f"'{variant}'",
            expected=f"one of {', '.join(names)}",
            fix=near_match(variant, names),
        )


def _read_dag(tree: FileTree, path: str, file: str, definition: Definition) -> Flow:
    if "nodes" not in definition.data:
        raise UsageError.of(
            "not a flow", where=definition.where, expected="`nodes` (a DAG flow) or `entry` (a flex flow)"
        )
    folder = follow(tree, in_project(tree, path))
    nodes = list_nodes(definition)
    return Flow(
        path=path,
        folder=folder,
        kind="dag",
        definition=file,
        data=definition.data,
        inputs=_read_inputs(definition),
        outputs=tuple(map(str, _mapping(definition, "outputs"))),
        nodes=tuple(dict.fromkeys(node.name for node in nodes)),
        variants=_read_variants(definition),
        connections=(*find_connections(tree, folder, nodes), *_environment_connections(definition)),
        additional_includes=_read_includes(definition),
        sources=outside_sources(nodes),
        environment_variables=_read_environment(definition),
    )


def _read_flex(tree: FileTree, path: str, file: str, definition: Definition) -> Flow:
    folder, entry = follow(tree, in_project(tree, path)), str(definition.data["entry"])
    return Flow(
        path=path,
        folder=folder,
        kind="flex",
        definition=file,
        data=definition.data,
        entry=entry,
        inputs=_read_inputs(definition) or entry_inputs(tree, folder, entry),
        outputs=tuple(map(str, _mapping(definition, "outputs"))),
        connections=tuple(_environment_connections(definition)),
        additional_includes=_read_includes(definition),
        environment_variables=_read_environment(definition),
        init_connections={
            name: _read_input(_mapping(definition, "init").get(name)).default
            for name in entry_connections(tree, folder, entry)
        },
    )


def _read_prompty(tree: FileTree, path: str, file: str, definition: Definition) -> Flow:
    model = _mapping(definition, "model").get("configuration")
    connection = model.get("connection") if isinstance(model, dict) else None
    where = definition.locate("model", "configuration", "connection")
    return Flow(
        path=path,
        folder=follow(tree, in_project(tree, path)),
        kind="prompty",
        definition=file,
        data=definition.data,
        inputs=_read_inputs(definition),
        outputs=tuple(map(str, _mapping(definition, "outputs"))),
        connections=(ConnectionUse(name=connection, where=where),) if isinstance(connection, str) else (),
        environment_variables=_read_environment(definition),
    )


def _read_inputs(definition: Definition) -> dict[str, FlowInput]:
    return {str(name): _read_input(value) for name, value in _mapping(definition, "inputs").items()}


def _read_input(value: Any) -> FlowInput:
    """Read one input: a mapping with `type`, or, in older `.prompty` files, its default value itself."""
    if not isinstance(value, dict):
        return FlowInput(type="", required=value is None, default=value)
    if "default" in value:
        return FlowInput(type=str(value.get("type", "")), required=False, default=value["default"])
    return FlowInput(type=str(value.get("type", "")), required=True)


def _read_variants(definition: Definition) -> dict[str, NodeVariants]:
    return {
        str(node): NodeVariants(
            default=str(body.get("default_variant_id", "")), names=tuple(map(str, body.get("variants") or ()))
        )
        for node, body in _mapping(definition, "node_variants").items()
        if isinstance(body, dict)
    }


def _read_includes(definition: Definition) -> tuple[Reference, ...]:
    includes = definition.data.get("additional_includes") or []
    if not isinstance(includes, list):
        raise UsageError.of(
            "not a list", where=definition.locate("additional_includes"), expected="a list of files and folders"
        )
    return tuple(
        Reference(path=str(include), where=definition.locate("additional_includes", index))
        for index, include in enumerate(includes)
    )


def _read_environment(definition: Definition) -> dict[str, str]:
    """Read the declared variables as prompt flow sets them: lists and mappings as JSON, the rest as text."""
    variables = _mapping(definition, "environment_variables")
    return {
        str(name): json.dumps(value) if isinstance(value, (dict, list)) else str(value)
        for name, value in variables.items()
    }


def _environment_connections(definition: Definition) -> Sequence[ConnectionUse]:
    found = ((name, CONNECTION_VALUE.match(value)) for name, value in _read_environment(definition).items())
    return [
        ConnectionUse(name=match[1], where=definition.locate("environment_variables", name))
        for name, match in found
        if match
    ]


def _mapping(definition: Definition, key: str) -> Mapping[Any, Any]:
    value = definition.data.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError.of("not a mapping", where=definition.locate(key), found=repr(value)[:80], expected="a mapping")
    return value
