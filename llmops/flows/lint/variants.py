"""LL4 and the form of nodes: which nodes there are, and which of their variants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmops.errors import near_match
from llmops.flows.definition import Definition
from llmops.flows.lint.finding import Finding, place_of
from llmops.flows.lint.tools import NODE_TYPES
from llmops.flows.nodes import Node


def list_nodes(definition: Definition) -> tuple[Node, ...]:
    """List the nodes that have a node's form; one with variants is listed once for each of them."""
    bodies = definition.data.get("nodes")
    named = [(n, body) for n, body in enumerate(bodies) if _name(body)] if isinstance(bodies, list) else []
    return tuple(node for index, body in named for node in _expand(definition, index, body))


def check_nodes(definition: Definition) -> Iterator[Finding]:
    """Judge the form of the nodes and of their variants."""
    bodies = definition.data.get("nodes")
    if not isinstance(bodies, list):
        yield Finding(code="LL110", place=place_of(definition, "nodes"), message="'nodes' is not a list")
        return
    for index, body in enumerate(bodies):
        if not _name(body):
            place = place_of(definition, "nodes", index)
            yield Finding(code="LL110", place=place, message="this entry of 'nodes' has no name")
        elif not body.get("use_variants"):
            yield from _check_body(definition, ("nodes", index), _name(body), body)
        elif not _choices(definition, _name(body)):
            place = place_of(definition, "nodes", index)
            yield Finding(code="LL403", place=place, message=f"node '{_name(body)}' has no variants")
    yield from _check_variants(definition, bodies)


def _check_variants(definition: Definition, bodies: list[Any]) -> Iterator[Finding]:
    users = {_name(body) for body in bodies if isinstance(body, dict) and body.get("use_variants")}
    variants = definition.data.get("node_variants")
    for name, body in (variants if isinstance(variants, dict) else {}).items():
        place = place_of(definition, "node_variants", str(name))
        if str(name) not in users:
            message = f"no node '{name}' uses these variants"
            yield Finding(code="LL404", place=place, message=message, fix=near_match(str(name), sorted(users)))
            continue
        choices = _choices(definition, str(name))
        default = body.get("default_variant_id") if isinstance(body, dict) else None
        if choices and not default:
            yield Finding(code="LL401", place=place, message=f"the variants of node '{name}' have no default")
        elif choices and str(default) not in choices:
            place = place_of(definition, "node_variants", str(name), "default_variant_id")
            message = f"the default variant '{default}' of node '{name}' does not exist"
            yield Finding(code="LL402", place=place, message=message, fix=near_match(str(default), choices))
        for variant, choice in choices.items():
            keys = ("node_variants", str(name), "variants", variant)
            if isinstance(choice, dict) and isinstance(choice.get("node"), dict):
                yield from _check_body(definition, (*keys, "node"), str(name), choice["node"])
            else:
                message = f"variant '{variant}' of node '{name}' has no 'node'"
                yield Finding(code="LL403", place=place_of(definition, *keys), message=message)


def _check_body(
    definition: Definition, keys: tuple[str | int, ...], name: str, body: dict[str, Any]
) -> Iterator[Finding]:
    kind = body.get("type")
    if kind not in NODE_TYPES:
        found = f"has the unknown type '{kind}'" if kind else "has no type"
        place = place_of(definition, *keys, "type")
        message = f"node '{name}' {found}"
        yield Finding(code="LL110", place=place, message=message, fix=near_match(str(kind), NODE_TYPES))


def _name(body: Any) -> str:
    return str(body.get("name") or "") if isinstance(body, dict) else ""


def _choices(definition: Definition, name: str) -> dict[str, Any]:
    variants = definition.data.get("node_variants")
    body = variants.get(name) if isinstance(variants, dict) else None
    choices = body.get("variants") if isinstance(body, dict) else None
    return {str(key): value for key, value in choices.items()} if isinstance(choices, dict) else {}


def _expand(definition: Definition, index: int, body: dict[str, Any]) -> Iterator[Node]:
    name = _name(body)
    if not body.get("use_variants"):
        yield Node(name=name, variant=None, body=body, definition=definition, keys=("nodes", index))
        return
    for variant, choice in _choices(definition, name).items():
        if isinstance(choice, dict) and isinstance(choice.get("node"), dict):
            # Aggregation and the activate condition are the node's, whatever its variant.
            shared: dict[str, Any] = {key: body[key] for key in ("aggregation", "activate") if key in body}
            keys = ("node_variants", name, "variants", variant, "node")
            yield Node(name=name, variant=variant, body={**shared, **choice["node"]}, definition=definition, keys=keys)
