"""The nodes of a DAG flow and the connections that they name."""

from __future__ import annotations

import ast
import posixpath
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmops.errors import UsageError
from llmops.flows.definition import Definition
from llmops.flows.model import ConnectionUse, Reference
from llmops.flows.tree import FileTree, follow, read


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of a flow, or one variant of it; `keys` leads to its body in the definition."""

    name: str
    variant: str | None
    body: Mapping[str, Any]
    definition: Definition
    keys: tuple[str | int, ...]

    @property
    def source_path(self) -> str | None:
        """The file that the node runs, relative to the flow's folder; None for a tool of a package."""
        source = self.body.get("source")
        path = source.get("path") if isinstance(source, dict) else None
        return path if isinstance(path, str) else None

    @property
    def is_packaged(self) -> bool:
        """Whether the tool is one of an installed package, with a prompt of the flow's or without."""
        source = self.body.get("source")
        return isinstance(source, dict) and source.get("type") in {"package", "package_with_prompt"}

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs as written: literals and references."""
        inputs = self.body.get("inputs")
        return inputs if isinstance(inputs, dict) else {}


def list_nodes(definition: Definition) -> list[Node]:
    """List the nodes in order; a node with variants is listed once for each of them.

    Raises:
        UsageError: `nodes` or `node_variants` does not have a flow's form.
    """
    bodies = definition.data["nodes"] or []
    if not isinstance(bodies, list):
        raise UsageError.of("not a list", where=definition.locate("nodes"), expected="a list of nodes")
    return [node for index, body in enumerate(bodies) for node in _expand(definition, index, body)]


def outside_sources(nodes: Sequence[Node]) -> tuple[Reference, ...]:
    """List the files that nodes name outside of the flow's folder."""
    return tuple(
        Reference(path=node.source_path, where=node.definition.locate(*node.keys, "source", "path"))
        for node in nodes
        if node.source_path and posixpath.normpath(node.source_path).startswith("../")
    )


def find_connections(tree: FileTree, folder: str, nodes: Sequence[Node]) -> list[ConnectionUse]:
    """List the places at which nodes name a connection.

    An LLM node has `connection`. A Python node has inputs whose parameter is annotated with a class that ends in
    `Connection`, found in its source without importing it. Of a tool in a package the inputs named `connection` or
    `..._connection` are known, and any other text may be one.

    Args:
        tree: where the flow is.
        folder: the flow's folder, relative to the top of the repository.
        nodes: its nodes.
    """
    return [use for node in nodes for use in _node_connections(tree, folder, node)]


def _expand(definition: Definition, index: int, body: Any) -> Iterator[Node]:
    if not isinstance(body, dict) or not body.get("name"):
        raise UsageError.of("not a node", where=definition.locate("nodes", index), expected="a mapping with `name`")
    name = str(body["name"])
    variants = _variants_of(definition, name) if body.get("use_variants") else {}
    if not variants:
        yield Node(name=name, variant=None, body=body, definition=definition, keys=("nodes", index))
    for variant, choice in variants.items():
        if not isinstance(choice, dict) or not isinstance(choice.get("node"), dict):
            where = definition.locate("node_variants", name, "variants", variant)
            raise UsageError.of("not a variant", where=where, expected="a mapping with `node`")
        keys = ("node_variants", name, "variants", str(variant), "node")
        yield Node(name=name, variant=str(variant), body=choice["node"], definition=definition, keys=keys)


def _variants_of(definition: Definition, name: str) -> Mapping[Any, Any]:
    choices = (definition.data.get("node_variants") or {}).get(name)
    variants = choices.get("variants") if isinstance(choices, dict) else None
    if not isinstance(variants, dict):
        raise UsageError.of(
            f"node '{name}' has use_variants, but no variants",
            where=definition.locate("node_variants", name),
            expected="node_variants with `variants` for the node",
        )
    return variants


def _node_connections(tree: FileTree, folder: str, node: Node) -> Iterator[ConnectionUse]:
    named = node.body.get("connection")
    if isinstance(named, str) and named:
        yield _use(node, named, "connection")
    sure = _connection_inputs(tree, folder, node)
    for name, value in node.inputs.items():
        if isinstance(value, str) and value and not value.startswith("${"):
            if name in sure:
                yield _use(node, value, "inputs", name)
            elif node.is_packaged:
                yield replace(_use(node, value, "inputs", name), is_sure=False)


def _use(node: Node, name: str, *keys: str) -> ConnectionUse:
    where = node.definition.locate(*node.keys, *keys)
    taken_by = keys[-1] if keys[0] == "inputs" else None
    return ConnectionUse(name=name, where=where, node=node.name, variant=node.variant, input=taken_by)


def _connection_inputs(tree: FileTree, folder: str, node: Node) -> list[str]:
    path = node.source_path
    if path is None or node.is_packaged:
        return [name for name in node.inputs if name == "connection" or str(name).endswith("_connection")]
    if not path.endswith(".py"):
        return []
    place = posixpath.normpath(posixpath.join(folder, path))
    if place.startswith("../") or tree.kind(follow(tree, place)) != "file":
        return []
    return _connection_parameters(read(tree, follow(tree, place)))


def _connection_parameters(source: bytes) -> list[str]:
    if b"Connection" not in source:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return []
    functions = (item for item in module.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return [
        argument.arg
        for function in functions
        if any("tool" in ast.unparse(decorator) for decorator in function.decorator_list)
        for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if argument.annotation is not None and "Connection" in ast.unparse(argument.annotation)
    ]
