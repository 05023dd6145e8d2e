"""What a flow is, as frozen values."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

FlowKind = Literal["dag", "flex", "prompty", "callable"]
CONNECTION_VALUE = re.compile(r"^\$\{(?P<name>[^.}]+)\.(?P<key>[^}]+)\}$")
"""An environment variable that is to hold what a connection holds: `${connection.key}`."""


@dataclass(frozen=True, kw_only=True)
class FlowInput:
    """One input of a flow.

    Attributes:
        type: as the flow names it, for instance `string`, `list`, `object`; empty when it names none.
        required: whether the flow has no default for it.
    """

    type: str
    required: bool
    default: Any = None


@dataclass(frozen=True, kw_only=True)
class NodeVariants:
    """The alternatives of one node; `default` runs unless another is chosen."""

    default: str
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ConnectionUse:
    """One place at which a flow names a connection.

    Attributes:
        name: the connection.
        where: file, line and key.
        node: the node that uses it; None for the whole flow.
        variant: the variant of the node that uses it; None when the node has none.
        input: the node's input that takes it; None where the node itself, or the flow, names it.
        is_sure: whether it is a connection; a text for a tool of a package is one only if a connection has that name.
    """

    name: str
    where: str
    node: str | None = None
    variant: str | None = None
    input: str | None = None
    is_sure: bool = True


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One path that a definition names, as it is written there, and where."""

    path: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A flow as its definition describes it; nothing of the user's is imported or run.

    Attributes:
        path: folder relative to the project folder, with forward slashes.
        folder: the same folder relative to the top of the repository, links resolved.
        definition: name of the file in the folder that defines the flow; empty for a callable that is named by module.
        data: the parsed definition; of a `.prompty` file its front matter.
        entry: `module:callable` of a flex flow or a plain callable; empty for the other kinds.
        inputs: in the flow's order; of a flex flow or a callable by its signature, empty where that is not known.
        outputs, nodes: names in the flow's order.
        variants: node to its variants.
        connections: every place that names a connection, of all variants; see `connections_in_use`.
        additional_includes: files and folders that prompt flow puts beside the flow, relative to its folder.
        sources: files outside of the flow's folder that its nodes name, relative to its folder.
        environment_variables: as the flow declares them; a value may refer to a connection.
        init_connections: argument of a flex flow's class that takes a connection, to its default or None.
    """

    path: str
    folder: str
    kind: FlowKind
    definition: str
    data: Mapping[str, Any]
    entry: str = ""
    inputs: Mapping[str, FlowInput] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    variants: Mapping[str, NodeVariants] = field(default_factory=dict)
    connections: tuple[ConnectionUse, ...] = ()
    additional_includes: tuple[Reference, ...] = ()
    sources: tuple[Reference, ...] = ()
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    init_connections: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call the flow: its folder, or the callable where it has none."""
        return self.path if self.definition else self.entry

    @property
    def file(self) -> str:
        """The definition's path, relative to the project folder."""
        return posixpath.join(self.path, self.definition)

    @property
    def source(self) -> str:
        """What `read_flow_in` finds the flow by."""
        return source_of(self.kind, self.path, self.definition, self.entry)


def source_of(kind: str, path: str, definition: str, entry: str) -> str:
    """Return what `read_flow_in` finds a flow by; for the arguments see `Flow`."""
    if kind == "callable":
        return f"{posixpath.join(path, definition)}:{entry.partition(':')[2]}" if definition else entry
    return posixpath.join(path, definition)


def needs_llm_tool(flow: Flow) -> bool:
    """Tell whether a node of any variant is of a type that the package promptflow-tools holds."""
    bodies = [body for body in flow.data.get("nodes") or [] if isinstance(body, Mapping)]
    for variants in (flow.data.get("node_variants") or {}).values():
        choices = (variants.get("variants") or {}).values() if isinstance(variants, Mapping) else ()
        bodies += [choice["node"] for choice in choices if isinstance(choice, Mapping) and "node" in choice]
    return any(body.get("type") in ("llm", "prompt") for body in bodies)
