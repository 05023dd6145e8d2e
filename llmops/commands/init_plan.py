"""What `llmops init` finds in a repository, and the files that follow from it; nothing is written here."""

from __future__ import annotations

import csv
import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llmops.config.data import describe
from llmops.config.model import ConnectionType
from llmops.errors import UsageError
from llmops.flows.closure import Closure, find_closure
from llmops.flows.folder import read_flow_in
from llmops.flows.ignore import CACHE_NAMES, IgnoreRules
from llmops.flows.lint.flow import find_definitions
from llmops.flows.metric_names import reported_metrics
from llmops.flows.model import ConnectionUse, Flow
from llmops.flows.tree import FileTree, WorkingTree, is_within, read

CiSystem = Literal["github", "azure-pipelines", "none"]

IGNORED = (".llmops/", "__pycache__/", ".promptflow/", ".runs/")
LARGEST_DATA = 64 << 20
"""Bytes; a larger file is not looked at, so that `init` stays quick."""

_LABELS = ("groundtruth", "ground_truth", "expected", "label", "target", "reference", "gold")
_LABEL_COLUMNS = ("answer", "correct_answer", "truth", "category", "class", "solution")
_ANSWERS = ("prediction", "predicted", "answer", "output", "response", "result", "completion")
_QUESTIONS = ("question", "query", "input", "prompt", "text", "url")
_SAME_MEANING: tuple[tuple[str, ...], ...] = (_LABELS, _ANSWERS, _QUESTIONS)


@dataclass(frozen=True, kw_only=True)
class FoundFlow:
    """One flow of the repository.

    Attributes:
        path: as an experiment names it: the folder, or the definition when there are several in it.
        metrics: what it logs; None when its source does not show all; empty for a flow that logs nothing.
    """

    path: str
    tree: FileTree
    flow: Flow
    closure: Closure
    metrics: frozenset[str] | None

    @property
    def is_evaluator(self) -> bool:
        """Whether it scores other flows: it logs metrics."""
        return self.metrics is None or bool(self.metrics)

    @property
    def name(self) -> str:
        """A name for the experiment."""
        stem = posixpath.basename(self.path).removesuffix(".prompty").removesuffix(".yaml")
        return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "flow"


@dataclass(frozen=True, kw_only=True)
class FoundData:
    """One data file: its path and the columns that every row has."""

    path: str
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a user said.

    Attributes:
        templates: `REPOSITORY@COMMIT` of our pipelines; empty: none are written.
        thresholds: metric to the smallest value that passes.
    """

    ci: CiSystem = "github"
    templates: str = ""
    backend: str = "local"
    thresholds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One experiment to write.

    Attributes:
        mapping: flow input to reference, for inputs whose column has another name.
        evaluators: evaluator flow to its whole mapping.
    """

    flow: FoundFlow
    data: FoundData
    mapping: Mapping[str, str]
    evaluators: Mapping[str, Mapping[str, str]]


def find_in_repository(root: Path) -> tuple[list[FoundFlow], list[str]]:
    """Find the flows of a repository.

    Returns:
        The flows in order of their paths, and one sentence for each that cannot be read.
    """
    tree = WorkingTree(root)
    definitions = find_definitions(tree)
    folders = [posixpath.dirname(path) or "." for path in definitions]
    found, problems = [], []
    for path, folder in zip(definitions, folders, strict=True):
        name = folder if folders.count(folder) == 1 and folder != "." else path
        try:
            flow = read_flow_in(tree, name)
            closure = find_closure(tree, flow)
        except UsageError as error:
            problems.append(f"{name} is left out: {error.problems[0].what}. `llmops lint {folder}` says more.")
            continue
        metrics = reported_metrics(tree, closure)
        found.append(FoundFlow(path=name, tree=tree, flow=flow, closure=closure, metrics=metrics))
    return found, problems


def find_data(root: Path) -> list[FoundData]:
    """Find JSON Lines and CSV files that can be data sets: those that git does not ignore, and that have rows."""
    tree = WorkingTree(root)
    rules = IgnoreRules(tree)
    found = []
    for path in sorted(_data_files(tree, rules, tree.prefix)):
        shown = posixpath.relpath(path, tree.prefix or ".")
        try:
            if (root / shown).stat().st_size <= LARGEST_DATA:
                found.append(FoundData(path=shown, columns=describe(root / shown, label=shown).columns))
        except (UsageError, OSError, csv.Error):
            continue
    return found


def draft_experiment(flow: FoundFlow, data: Sequence[FoundData], evaluators: Sequence[FoundFlow]) -> Draft | None:
    """Choose the data set and the evaluators that fit a flow; None when no data set does."""
    drafts = [
        _draft(flow, item, mapping, evaluators)
        for item in data
        if not _is_material(flow, item) and (mapping := _map_inputs(flow.flow, item)) is not None
    ]
    return min(drafts, key=_distance, default=None)


def _is_material(flow: FoundFlow, data: FoundData) -> bool:
    """Say whether a file belongs to the flow's code, which names it, and is no data set."""
    if not is_within(data.path, flow.flow.path):
        return False
    name = posixpath.basename(data.path).encode()
    sources = (source for key, source in flow.closure.files.items() if key.endswith(".py"))
    return any(name in read(flow.tree, source.path) for source in sources)


def _draft(flow: FoundFlow, data: FoundData, mapping: Mapping[str, str], evaluators: Sequence[FoundFlow]) -> Draft:
    taken = set(_columns(flow.flow, mapping))
    mapped = {
        item.path: found
        for item in evaluators
        if (found := _map_evaluator(item.flow, flow.flow, data, taken)) is not None
    }
    return Draft(flow=flow, data=data, mapping=mapping, evaluators=mapped)


def experiment_text(draft: Draft, evaluators: Mapping[str, FoundFlow], thresholds: Mapping[str, float]) -> str:
    """Write the experiment's file."""
    lines = [f"flow: {_quote(draft.flow.path)}", "datasets:", f"  rows: {{path: {_quote(draft.data.path)}}}"]
    if draft.mapping:
        lines += ["column_mapping:", *(f"  {_quote(name)}: {value}" for name, value in draft.mapping.items())]
    if draft.evaluators:
        lines.append("evaluators:")
    for path, mapping in draft.evaluators.items():
        lines += [f"  {evaluator_name(evaluators[path])}:", f"    flow: {_quote(path)}", "    column_mapping:"]
        lines += [f"      {_quote(name)}: {value}" for name, value in mapping.items()]
    known = known_metrics(draft.evaluators, evaluators)
    chosen = thresholds if known is None else {name: value for name, value in thresholds.items() if name in known}
    lines += ["gate:", "  max_failed: 0"]
    if chosen:
        lines += [
            "  thresholds:",
            *(f"    - {{metric: {_quote(name)}, min: {value}}}" for name, value in chosen.items()),
        ]
    else:
        example = f"metric: {min(known)}" if known else "metric: accuracy"
        lines += ["  # No quality threshold is set yet: only rows that fail are judged. For instance:"]
        lines += ["  # thresholds:", f"  #   - {{{example}, min: 0.8}}"]
    return "\n".join(lines) + "\n"


def known_metrics(paths: Iterable[str], evaluators: Mapping[str, FoundFlow]) -> frozenset[str] | None:
    """Return the metrics of some evaluators; None when the source of one of them does not show all."""
    found = [evaluators[path].metrics for path in paths]
    return None if None in found else frozenset[str]().union(*(names for names in found if names))


def environment_text(backend: str, flows: Sequence[FoundFlow], env: Mapping[str, str]) -> str:
    """Write an environment's file with every connection that the flows name."""
    uses = {use.name: (item, use) for item in flows for use in item.flow.connections if use.is_sure}
    lines = [f"backend: {backend}"]
    if uses:
        lines.append("connections:")
    for name, (item, use) in sorted(uses.items()):
        lines += [f"  {_quote(name)}:", *(f"    {line}" for line in _connection_lines(item, use, env))]
    return "\n".join(lines) + "\n"


def evaluator_name(flow: FoundFlow) -> str:
    """Name an evaluator after its folder; a dot may not be in it."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", flow.name).strip("-") or "evaluator"


def sample_row(flow: Flow) -> str:
    """Write a row that has every input that the flow needs."""
    row = {name: _sample(item.type) for name, item in flow.inputs.items() if item.required}
    return json.dumps(row or {name: _sample(item.type) for name, item in flow.inputs.items()}, ensure_ascii=False)


def _sample(type_: str) -> Any:
    return {"int": 1, "double": 1.0, "bool": True, "list": [], "object": {}}.get(type_, "…")


def _data_files(tree: FileTree, rules: IgnoreRules, folder: str) -> Iterator[str]:
    for name, kind in tree.list(folder).items():
        path = posixpath.join(folder, name)
        if name in CACHE_NAMES or kind not in ("file", "folder") or rules.leaves_out(path, is_folder=kind == "folder"):
            continue
        if kind == "folder":
            yield from _data_files(tree, rules, path)
        elif name.lower().endswith((".jsonl", ".csv")):
            yield path


def _map_inputs(flow: Flow, data: FoundData) -> dict[str, str] | None:
    """Find a column for each input that needs one; of inputs with a default, those whose column is there."""
    required = {name for name, item in flow.inputs.items() if item.required}
    if not flow.inputs:
        return {} if flow.kind in ("flex", "callable") else None
    by_fold = {_fold(column): column for column in data.columns}
    mapping: dict[str, str] = {}
    matched = 0
    for name in flow.inputs:
        column = name if name in data.columns else by_fold.get(_fold(name))
        if column is None and name in required:
            return None
        if column is not None:
            matched += 1
            if column != name or name not in required:
                mapping[name] = f"${{data.{column}}}"
    return mapping if matched else None


def _columns(flow: Flow, mapping: Mapping[str, str]) -> Iterator[str]:
    for name in flow.inputs:
        yield mapping[name][len("${data.") : -1] if name in mapping else name


def _map_evaluator(flow: Flow, target: Flow, data: FoundData, taken: set[str]) -> dict[str, str] | None:
    """Map every input of an evaluator; None when one of them has no plausible source."""
    mapping: dict[str, str] = {}
    columns = [column for column in data.columns if column not in taken]
    for name in flow.inputs:
        source = _find_source(name, target.outputs, columns, data.columns)
        if source is None:
            return None
        mapping[name] = source
    uses_output = any(value.startswith("${run.outputs.") for value in mapping.values())
    return mapping if uses_output or not target.outputs else None


def _find_source(name: str, outputs: Sequence[str], labels: Sequence[str], columns: Sequence[str]) -> str | None:
    """Find what an evaluator's input is meant to take: by its name, else by the family of its name."""
    group = next((group for group in _SAME_MEANING if _fold(name) in map(_fold, group)), ())
    everywhere = (("run.outputs", outputs), ("data", columns))
    places = everywhere[:1] if group is _ANSWERS else (("data", labels),) if group is _LABELS else everywhere
    for wanted in (name, *group, *(_LABEL_COLUMNS if group is _LABELS else ())):
        for source, known in places:
            found = next((item for item in known if _fold(item) == _fold(wanted)), None)
            if found is not None:
                return f"${{{source}.{found}}}"
    if group is _LABELS and len(labels) == 1:
        return f"${{data.{labels[0]}}}"
    if group is _ANSWERS and outputs:
        remark = "" if len(outputs) == 1 else " # the first output; check that it is the one to judge"
        return f"${{run.outputs.{outputs[0]}}}{remark}"
    return None


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _distance(draft: Draft) -> tuple[int, bool, bool, int, int, str]:
    """Order data files: those that most evaluators can use, then beside or named like the flow, then by path."""
    name, path = _fold(draft.flow.name), draft.data.path
    is_named = name in _fold(path) or _fold(Path(path).stem) in name
    renamed = sum(value != f"${{data.{name}}}" for name, value in draft.mapping.items())
    is_beside = is_within(path, draft.flow.flow.path)
    return -len(draft.evaluators), not is_beside, not is_named, renamed, len(path), path


def _connection_lines(item: FoundFlow, use: ConnectionUse, env: Mapping[str, str]) -> list[str]:
    kind = _connection_type(item, use, env)
    if kind == "custom":
        return ["type: custom", "configs: {}", "secrets: {}"]
    if kind == "stand_in":
        return ["type: stand_in # no real model; for one, write open_ai or azure_open_ai here and set its key"]
    return [f"type: {kind}"]


def _connection_type(item: FoundFlow, use: ConnectionUse, env: Mapping[str, str]) -> ConnectionType:
    if _is_custom(item, use):
        return "custom"
    if env.get("AZURE_OPENAI_API_KEY") and env.get("AZURE_OPENAI_ENDPOINT"):
        return "azure_open_ai"
    return "open_ai" if env.get("OPENAI_API_KEY") else "stand_in"


def _is_custom(item: FoundFlow, use: ConnectionUse) -> bool:
    """Say whether a Python node takes the connection as a CustomConnection."""
    bodies = item.flow.data.get("nodes") or []
    body = next((body for body in bodies if isinstance(body, dict) and body.get("name") == use.node), {})
    path = (body.get("source") or {}).get("path", "") if isinstance(body.get("source"), dict) else ""
    source = item.closure.files.get(posixpath.normpath(path)) if path.endswith(".py") else None
    return source is not None and b"CustomConnection" in read(item.tree, source.path)


def _quote(text: str) -> str:
    return (
        text
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) and text not in ("true", "false", "null")
        else json.dumps(text)
    )
