"""Lay an experiment's choices over the definition of a DAG flow, as the worker does where the flow is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmops.errors import UsageError


def lay_over(
    definition: dict[str, Any], variants: Mapping[str, str], nodes: Mapping[str, Mapping[str, str]], *, where: str
) -> None:
    """Choose variants and change nodes, in place.

    Args:
        definition: of a DAG flow, parsed.
        variants: node to variant, which becomes the node's default.
        nodes: node to what it uses instead: `connection` of an LLM node, else inputs.
        where: the flow, for messages.

    Raises:
        UsageError: the flow has no such variants or node.
    """
    choices = definition.get("node_variants") or {}
    for name, variant in variants.items():
        if name not in choices:
            raise UsageError.of(f"the flow has no variants of '{name}'", where=where)
        choices[name]["default_variant_id"] = variant
    known = {node.get("name"): node for node in definition.get("nodes") or []}
    for name, settings in nodes.items():
        if name not in known:
            raise UsageError.of(f"the flow has no node '{name}'", where=where)
        _change(chosen_body(definition, known[name]), settings)


def chosen_body(definition: Mapping[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return what a node is: of a node with variants the default one's body."""
    if not node.get("use_variants"):
        return node
    choices = definition["node_variants"][node["name"]]
    body: dict[str, Any] = choices["variants"][choices["default_variant_id"]]["node"]
    return body


def _change(body: dict[str, Any], settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        if name == "connection" and body.get("type") == "llm":
            body["connection"] = value
        else:
            body.setdefault("inputs", {})[name] = value
