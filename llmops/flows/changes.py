"""What changed between two states of a flow, in words that a reviewer uses: prompts, models, tools, inputs."""

from __future__ import annotations

import difflib
import json
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmops.errors import UsageError
from llmops.flows.closure import IMPORTED, Closure, find_closure
from llmops.flows.definition import parse_definition, parse_front_matter
from llmops.flows.folder import read_flow_in
from llmops.flows.model import Flow
from llmops.flows.nodes import Node, list_nodes
from llmops.flows.tree import FileTree, follow, in_project, read

Aspect = Literal[
    "flow", "node", "prompt", "model", "setting", "connection", "tool", "input", "output", "variant", "packages", "file"
]

_MODEL_KEYS = ("model", "deployment_name", "azure_deployment")
_LARGEST_DIFFED = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change.

    Attributes:
        subject: what changed, for instance `node classify` or `node summarize (variant_1)`; empty for the whole flow.
        aspect: which side of it.
        name: what exactly, for instance `temperature` or the path of the prompt.
        before, after: as written; None when it was not there, or is not there any more.
        diff: unified diff of texts, without headers; empty for everything that is no text.
    """

    subject: str
    aspect: Aspect
    name: str
    before: str | None = None
    after: str | None = None
    diff: str = ""

    def __str__(self) -> str:
        where = f"{self.subject}: " if self.subject else ""
        what = self.name if self.aspect in ("model", "setting", "flow") else f"{self.aspect} {self.name}".strip()
        if self.diff:
            added = sum(line.startswith("+") for line in self.diff.splitlines())
            removed = sum(line.startswith("-") for line in self.diff.splitlines())
            return f"{where}{what} changed (+{added} -{removed} lines)"
        if self.before is None:
            return f"{where}{what} added" + (f": {self.after}" if self.after else "")
        if self.after is None:
            return f"{where}{what} removed" + (f" (was {self.before})" if self.before else "")
        return f"{where}{what}: {self.before} → {self.after}" if self.before != self.after else f"{where}{what} changed"


@dataclass(frozen=True, kw_only=True)
class FlowState:
    """A flow as it stands in one tree."""

    tree: FileTree
    flow: Flow
    closure: Closure

    def text(self, name: str) -> str | None:
        """Read a file of the closure; None when it is not there, is not text, or is too large to be compared."""
        source = self.closure.files.get(posixpath.normpath(name))
        if source is None:
            return None
        content = read(self.tree, source.path)
        if len(content) > _LARGEST_DIFFED:
            return None
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None


def read_state(tree: FileTree, path: str) -> FlowState | None:
    """Read a flow for a comparison; None when it is not there or cannot be read."""
    try:
        flow = read_flow_in(tree, path)
        return FlowState(tree=tree, flow=flow, closure=find_closure(tree, flow))
    except UsageError:
        return None


def compare(old: FlowState | None, new: FlowState | None) -> list[Change]:
    """List what changed, in the order in which a reader of the flow meets it.

    Args:
        old, new: None when the flow was or is not there.
    """
    if old is None or new is None:
        if old is new:
            return []
        kind = Change(subject="", aspect="flow", name="the flow", before=_path(old), after=_path(new))
        return [kind]
    changes = [*_compare_interface(old.flow, new.flow)]
    if old.flow.kind == new.flow.kind == "dag":
        changes += _compare_nodes(old, new)
    elif old.flow.kind == new.flow.kind:
        changes += _compare_settings(old, new)
    told = {change.name for change in changes if change.diff}
    return [*changes, *_compare_files(old, new, told)]


def diff_texts(old: str, new: str) -> str:
    """Compare two texts line by line, with three lines of context."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=3)
    return "\n".join(list(lines)[2:])


def _path(state: FlowState | None) -> str | None:
    return state.flow.path if state else None


def _compare_interface(old: Flow, new: Flow) -> Iterator[Change]:
    if old.kind != new.kind:
        yield Change(subject="", aspect="flow", name="kind", before=old.kind, after=new.kind)
    if old.entry != new.entry:
        yield Change(subject="", aspect="flow", name="entry", before=old.entry or None, after=new.entry or None)
    inputs = [
        {name: " ".join([item.type, *([] if item.required else [f"= {_show(item.default)}"])]) for name, item in side}
        for side in (old.inputs.items(), new.inputs.items())
    ]
    yield from _compare_values("", "input", inputs[0], inputs[1])
    outputs = [_outputs(side) for side in (old, new)]
    yield from _compare_values("", "output", outputs[0], outputs[1])
    defaults = [{name: item.default for name, item in side.variants.items()} for side in (old, new)]
    for name in defaults[0].keys() & defaults[1].keys():
        if defaults[0][name] != defaults[1][name]:
            before, after = defaults[0][name], defaults[1][name]
            yield Change(subject=f"node {name}", aspect="variant", name="default", before=before, after=after)


def _outputs(flow: Flow) -> dict[str, str]:
    bodies = flow.data.get("outputs")
    return {
        str(name): str(body.get("reference", body.get("type", ""))) if isinstance(body, dict) else str(body)
        for name, body in (bodies if isinstance(bodies, dict) else {}).items()
    }


def _compare_nodes(old: FlowState, new: FlowState) -> Iterator[Change]:
    before, after = _nodes(old), _nodes(new)
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            yield Change(subject=f"node {name}", aspect="node", name="", before=str(before[name].body.get("type", "")))
        elif name not in before:
            yield Change(subject=f"node {name}", aspect="node", name="", after=str(after[name].body.get("type", "")))
        else:
            yield from _compare_node(f"node {name}", old, new, before[name], after[name])


def _nodes(state: FlowState) -> dict[str, Node]:
    where = state.flow.file
    definition = parse_definition(read(state.tree, follow(state.tree, in_project(state.tree, where))), where)
    nodes = list_nodes(definition)
    return {node.name if node.variant is None else f"{node.name} ({node.variant})": node for node in nodes}


def _compare_node(subject: str, old: FlowState, new: FlowState, before: Node, after: Node) -> Iterator[Change]:
    bodies = [_settings(node.body) for node in (before, after)]
    yield from _compare_values(subject, "setting", bodies[0], bodies[1])
    connections = [
        {"connection": str(node.body["connection"])} for node in (before, after) if "connection" in node.body
    ]
    if len(connections) == 2 and connections[0] != connections[1]:
        old_name, new_name = (side["connection"] for side in connections)
        yield Change(subject=subject, aspect="connection", name="", before=old_name, after=new_name)
    inputs = [{str(name): _show(value) for name, value in node.inputs.items()} for node in (before, after)]
    models = [{name: side.pop(name) for name in _MODEL_KEYS if name in side} for side in inputs]
    yield from _compare_values(subject, "model", models[0], models[1])
    yield from _compare_values(subject, "setting", inputs[0], inputs[1])
    yield from _compare_source(subject, old, new, before, after)


def _settings(body: Mapping[str, Any]) -> dict[str, str]:
    """Take what is left of a node's body once name, inputs, source and connection are told elsewhere."""
    told = ("name", "inputs", "source", "connection", "use_variants")
    return {str(key): _show(value) for key, value in body.items() if key not in told}


def _compare_source(subject: str, old: FlowState, new: FlowState, before: Node, after: Node) -> Iterator[Change]:
    paths = before.source_path, after.source_path
    is_prompt = after.body.get("type") in ("llm", "prompt", "custom_llm")
    aspect: Aspect = "prompt" if is_prompt else "tool"
    if paths[0] != paths[1]:
        yield Change(subject=subject, aspect=aspect, name="file", before=paths[0], after=paths[1])
    tools = [node.body["source"].get("tool") for node in (before, after) if isinstance(node.body.get("source"), dict)]
    if len(tools) == 2 and tools[0] != tools[1]:
        yield Change(subject=subject, aspect="tool", name="", before=tools[0], after=tools[1])
    texts = [state.text(path) if path else None for state, path in zip((old, new), paths, strict=True)]
    if texts[0] is not None and texts[1] is not None and texts[0] != texts[1]:
        name = paths[1] or ""
        yield Change(subject=subject, aspect=aspect, name=name, diff=diff_texts(texts[0], texts[1]) or " ")


def _compare_settings(old: FlowState, new: FlowState) -> Iterator[Change]:
    """Compare two prompty files (model, parameters, prompt) or what two flex flows set."""
    sides = [_flatten({key: state.flow.data.get(key) for key in ("model", "environment")}) for state in (old, new)]
    models = [{key: side.pop(key) for key in list(side) if key.split(".")[-1] in _MODEL_KEYS} for side in sides]
    yield from _compare_values("", "model", models[0], models[1])
    yield from _compare_values("", "setting", sides[0], sides[1])
    if new.flow.kind == "prompty":
        texts = [_prompt(state) for state in (old, new)]
        if texts[0] != texts[1]:
            diff = diff_texts(texts[0], texts[1]) or " "
            yield Change(subject="", aspect="prompt", name=new.flow.definition, diff=diff)


def _prompt(state: FlowState) -> str:
    content = state.text(state.flow.definition) or ""
    first = parse_front_matter(content.encode(), state.flow.file).first_line
    lines = content.splitlines()
    end = next(n for n in range(first, len(lines)) if lines[n].startswith("---"))
    return "\n".join(lines[end + 1 :])


def _flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            flat.update(_flatten(item, f"{prefix}{key}."))
        elif item is not None:
            flat[f"{prefix}{key}"] = _show(item)
    return flat


def _compare_values(subject: str, aspect: Aspect, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            yield Change(subject=subject, aspect=aspect, name=name, before=old.get(name), after=new.get(name))


def _compare_files(old: FlowState, new: FlowState, told: set[str]) -> Iterator[Change]:
    """List changed files that no change above speaks of."""
    for name in sorted({*old.closure.files, *new.closure.files}):
        if name in told or name in (old.flow.definition, new.flow.definition):
            continue
        sources = old.closure.files.get(name), new.closure.files.get(name)
        shown = name.removeprefix(IMPORTED)
        aspect: Aspect = "packages" if posixpath.basename(name).startswith("requirements") else "file"
        if sources[0] is None or sources[1] is None:
            sides = ["" if source else None for source in sources]
            yield Change(subject="", aspect=aspect, name=shown, before=sides[0], after=sides[1])
        elif read(old.tree, sources[0].path) != read(new.tree, sources[1].path):
            texts = old.text(name), new.text(name)
            diff = diff_texts(texts[0], texts[1]) if texts[0] is not None and texts[1] is not None else ""
            yield Change(subject="", aspect=aspect, name=shown, before="", after="", diff=diff)


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
