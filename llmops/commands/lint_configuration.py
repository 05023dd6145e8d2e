"""LL8: the configuration against the flows, and the data sets themselves."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmops.config.data import DataSummary, describe, is_registered, read_rows
from llmops.config.layers import Selection, layer
from llmops.config.load import load_project, locate
from llmops.config.model import Evaluator, Experiment, Project
from llmops.core.aggregate import names_formed_of_rows
from llmops.core.mapping import Reference, check, complete, parse_mapping
from llmops.errors import Problem, UsageError, near_match
from llmops.evaluators.builtin.source import builtin_closure, with_builtins
from llmops.flows.callables import is_callable
from llmops.flows.closure import find_closure
from llmops.flows.folder import connections_in_use, read_flow_in, validate_nodes, validate_variants
from llmops.flows.lint.examples import FewShot
from llmops.flows.lint.finding import Finding, from_problem
from llmops.flows.lint.flow import LintedFlow
from llmops.flows.metric_names import reported_metrics
from llmops.flows.model import Flow
from llmops.flows.tree import FileTree, in_project

if TYPE_CHECKING:
    from llmops.commands.sources import HowToRun

CONFIG = "config"

_MOST_LINES_SHOWN = 5
_BALANCE_ROWS = 20
_MOST_LABELS = 30
_DOMINANT = 0.8


class _Sound(NamedTuple):
    """The flow of an experiment and those of its evaluators, as far as they are in order."""

    flow: LintedFlow | None
    evaluators: Mapping[str, LintedFlow]


def lint_configuration(root: Path, tree: FileTree, flows: Mapping[str, LintedFlow]) -> Iterator[Finding]:
    """Judge the configuration of a project and its data sets.

    Args:
        flows: by the path that an experiment may give: folder or definition.
    """
    try:
        project = load_project(root)
    except UsageError as error:
        yield from (from_problem("LL801", problem, CONFIG) for problem in error.problems)
        return
    for name in project.experiments:
        try:
            selection = layer(project, name, env={})
        except UsageError as error:
            yield from (from_problem("LL801", problem, CONFIG) for problem in error.problems)
            continue
        yield from _Linter(project=project, tree=tree, selection=selection, flows=flows).findings()


@dataclass(frozen=True, kw_only=True)
class _Linter:
    """Judges one experiment in its own environment."""

    project: Project
    tree: FileTree
    selection: Selection
    flows: Mapping[str, LintedFlow]

    @functools.cached_property
    def experiment(self) -> Experiment:
        """The experiment as it would run, built-in metrics with the settings that they bring along."""
        return with_builtins(self.selection.experiment)

    def findings(self) -> Iterator[Finding]:
        """Judge variants, connections, metrics, then each data set with the mappings."""
        sound = self._sound()
        yield from self._check_callables()
        yield from self._check_variants(sound)
        yield from self._check_connections(sound)
        if len(sound.evaluators) == len(self.experiment.evaluators):
            yield from self._check_metrics(sound)
        for dataset in self.experiment.datasets:
            yield from self._check_dataset(dataset, sound)

    def where(self, *path: str | int) -> str:
        """Write the place of a setting."""
        return locate(self.project, self.experiment.name, path, environment=self.experiment.environment)

    def finding(self, code: str, what: str, *path: str | int, fix: str = "") -> Finding:
        """Build a finding at a setting of the experiment."""
        return replace(from_problem(code, Problem(what=what, where=self.where(*path), fix=fix), CONFIG), message=what)

    def _sound(self) -> _Sound:
        evaluators = {
            name: flow
            for name, entry in self.experiment.evaluators.items()
            if (flow := self._find_evaluator(entry)) is not None
        }
        return _Sound(self._find(self.experiment.flow), evaluators)

    def _find_evaluator(self, entry: Evaluator) -> LintedFlow | None:
        if entry.builtin is None:
            return self._find(entry.flow)
        closure = builtin_closure(entry.builtin)
        return LintedFlow(path=entry.builtin, findings=(), flow=closure.flow, closure=closure)

    def _find(self, path: str) -> LintedFlow | None:
        if is_callable(path):
            return self._read_callable(path)
        linted = self.flows.get(path.strip("/").removeprefix("./"))
        return linted if linted is not None and linted.flow is not None and linted.closure is not None else None

    def _read_callable(self, path: str) -> LintedFlow | None:
        try:
            flow = read_flow_in(self.tree, path)
            return LintedFlow(path=path, findings=(), flow=flow, closure=find_closure(self.tree, flow))
        except UsageError:
            return None

    def _check_callables(self) -> Iterator[Finding]:
        """Report Python callables that cannot be found, at the setting that names them."""
        named: list[tuple[str, tuple[str, ...]]] = [(self.experiment.flow, ("flow",))]
        named += [(entry.flow, ("evaluators", name, "flow")) for name, entry in self.experiment.evaluators.items()]
        for path, keys in named:
            if path and is_callable(path):
                try:
                    read_flow_in(self.tree, path)
                except UsageError as error:
                    what = f"'{path}': {error.problems[0].what}"
                    yield self.finding("LL501", what, *keys, fix=error.problems[0].fix)

    def _users(self, sound: _Sound) -> Iterator[tuple[HowToRun, Flow, tuple[str, ...]]]:
        """Yield what says how a flow runs, the flow, and the path of the setting: the experiment, then evaluators."""
        if sound.flow is not None and sound.flow.flow is not None:
            yield self.experiment, sound.flow.flow, ()
        for name, linted in sound.evaluators.items():
            if linted.flow is not None:
                yield self.experiment.evaluators[name], linted.flow, ("evaluators", name)

    def _check_variants(self, sound: _Sound) -> Iterator[Finding]:
        for how, flow, path in self._users(sound):
            judged = (("variants", validate_variants, how.variants), ("nodes", validate_nodes, how.nodes))
            for key, judge, chosen in judged:
                try:
                    judge(flow, chosen)  # type: ignore[arg-type]  # each with its own setting
                except UsageError as error:
                    for problem in error.problems:
                        found = f"{problem.what}: {problem.where.rpartition('.')[2]} {problem.found}".strip()
                        yield self.finding("LL810", found, *path, key, fix=problem.fix)

    def _check_connections(self, sound: _Sound) -> Iterator[Finding]:
        environment = self.selection.environment
        known = sorted(environment.connections)
        for how, flow, path in self._users(sound):
            variables = {**environment.environment_variables, **how.environment_variables}
            uses = connections_in_use(
                flow, how.variants, nodes=how.nodes, init=how.init, variables=variables, known=known
            )
            for use in uses:
                if use.name in environment.connections:
                    continue
                what = f"the environment '{environment.name}' has no connection '{use.name}'"
                # What overlays the flow stands in the experiment, and its place is a path of keys alone.
                where = use.where if ":" in use.where else self.where(*path, *use.where.split("."))
                problem = Problem(what=what, where=where, fix=near_match(use.name, known))
                yield replace(from_problem("LL804", problem, flow.file), message=what)

    def _check_metrics(self, sound: _Sound) -> Iterator[Finding]:
        known: dict[str, set[str]] = {}
        for name, linted in sound.evaluators.items():
            logged = reported_metrics(self.tree, linted.closure) if linted.closure else None
            if logged is None or linted.flow is None or (linted.flow.kind != "dag" and not linted.flow.outputs):
                return
            declared = self.experiment.evaluators[name].metrics
            known[name] = {*logged, *linted.flow.outputs, *names_formed_of_rows(declared, linted.flow.outputs)}
        bare = sorted({metric for names in known.values() for metric in names})
        qualified = {f"{name}.{metric}" for name, names in known.items() for metric in names}
        for index, threshold in enumerate(self.experiment.gate.thresholds):
            if threshold.metric not in qualified and threshold.metric not in bare:
                what = f"no evaluator reports the metric '{threshold.metric}'"
                fix = near_match(threshold.metric, [*bare, *sorted(qualified)])
                yield self.finding("LL803", what, "gate", "thresholds", index, "metric", fix=fix)

    def _check_dataset(self, name: str, sound: _Sound) -> Iterator[Finding]:
        path = self.experiment.datasets[name].path
        if is_registered(path):
            return  # it is in a workspace, and lint asks nobody
        try:
            summary = describe(self.project.root / path, label=path)
        except UsageError as error:
            yield from (from_problem("LL809", problem, path) for problem in error.problems)
            return
        yield from self._check_slices(summary)
        yield from self._check_mappings(summary, sound)
        if sound.flow is not None:
            yield from self._check_rows(name, summary, sound)

    def _check_slices(self, summary: DataSummary) -> Iterator[Finding]:
        for index, threshold in enumerate(self.experiment.gate.thresholds):
            for column in threshold.slices:
                if column not in summary.columns:
                    what = f"there is no column '{column}' to slice by"
                    fix = near_match(column, summary.columns)
                    yield self.finding("LL811", what, "gate", "thresholds", index, "slices", fix=fix)

    def _check_mappings(self, summary: DataSummary, sound: _Sound) -> Iterator[Finding]:
        outputs = sound.flow.flow.outputs if sound.flow and sound.flow.flow else ()
        if sound.flow is not None:
            mapping = self.experiment.column_mapping
            yield from self._check_mapping(sound.flow, mapping, ("column_mapping",), summary, None)
        for name, linted in sound.evaluators.items():
            mapping = self.experiment.evaluators[name].column_mapping
            yield from self._check_mapping(
                linted, mapping, ("evaluators", name, "column_mapping"), summary, outputs or None
            )

    def _check_mapping(
        self,
        linted: LintedFlow,
        mapping: Mapping[str, Any],
        path: tuple[str, ...],
        summary: DataSummary,
        outputs: Sequence[str] | None,
    ) -> Iterator[Finding]:
        flow = linted.flow
        if flow is None or (not flow.inputs and flow.kind in {"flex", "callable"}):
            return
        inputs = {name: entry.required for name, entry in flow.inputs.items()}

        def where(name: str) -> str:
            return self.where(*((*path, name) if name in mapping else path[:-1] or ("flow",)))

        problems = check(
            parse_mapping(mapping, where=where),
            inputs=inputs,
            columns=summary.columns,
            lacking=summary.lacking,
            outputs=outputs,
            where=where,
        )
        yield from (from_problem("LL802", problem, CONFIG) for problem in problems)

    def _check_rows(self, name: str, summary: DataSummary, sound: _Sound) -> Iterator[Finding]:
        flow = sound.flow
        if flow is None or flow.flow is None or flow.closure is None:
            return
        inputs = self._columns(self.experiment.column_mapping, flow, summary)
        labels = self._labels(sound, inputs, summary)
        own = in_project(self.tree, self.experiment.datasets[name].path)
        rows = _Rows(inputs=inputs, labels=labels, examples=FewShot(self.tree, flow.closure, without=own))
        for row in read_rows(self.project.root / self.experiment.datasets[name].path):
            rows.add(row.line, row.values)
        for code, what in rows.judge(self.experiment.datasets[name].path):
            yield self.finding(code, what, "datasets", name, "path")

    def _columns(self, mapping: Mapping[str, Any], linted: LintedFlow, summary: DataSummary) -> tuple[str, ...]:
        inputs = {name: entry.required for name, entry in linted.flow.inputs.items()} if linted.flow else {}
        whole = complete(parse_mapping(mapping), inputs)
        found = (item.column for item in whole.references.values() if _is_data(item))
        return tuple(dict.fromkeys(column for column in found if column in summary.columns))

    def _labels(self, sound: _Sound, inputs: Sequence[str], summary: DataSummary) -> tuple[str, ...]:
        found: list[str] = []
        for name, linted in sound.evaluators.items():
            found += self._columns(self.experiment.evaluators[name].column_mapping, linted, summary)
        return tuple(dict.fromkeys(column for column in found if column not in inputs))


def _is_data(reference: Reference) -> bool:
    return reference.source == "data"


class _Rows:
    """Takes the rows of one data set one at a time, and judges them at the end."""

    def __init__(self, *, inputs: Sequence[str], labels: Sequence[str], examples: FewShot) -> None:
        self.inputs, self.labels, self.examples = inputs, labels, examples
        self.rows = 0
        self.first: dict[str, tuple[int, str]] = {}
        self.twice: list[tuple[int, int, bool]] = []
        self.unlabeled: dict[str, list[int]] = {label: [] for label in labels}
        self.counts: dict[str, Counter[str]] = {label: Counter() for label in labels}
        self.leaked: list[tuple[int, str]] = []

    def add(self, line: int, values: Mapping[str, Any]) -> None:
        """Take one row."""
        self.rows += 1
        taken = [values.get(column) for column in self.inputs] if self.inputs else dict(values)
        key = json.dumps(taken, sort_keys=True, ensure_ascii=False)
        label = json.dumps([values.get(column) for column in self.labels], ensure_ascii=False)
        earlier = self.first.setdefault(key, (line, label))
        if earlier[0] != line:
            self.twice.append((earlier[0], line, earlier[1] == label))
        for column in self.labels:
            self._count(column, values.get(column), line)
        file = self.examples.find(
            [values.get(column) for column in self.inputs], [values.get(column) for column in self.labels]
        )
        if file:
            self.leaked.append((line, file))

    def _count(self, column: str, value: Any, line: int) -> None:
        if value is None or (isinstance(value, str) and not value.strip()):
            self.unlabeled[column].append(line)
        elif len(self.counts[column]) <= _MOST_LABELS:
            self.counts[column][value if isinstance(value, str) else json.dumps(value, sort_keys=True)] += 1

    def judge(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield code and message of what is wrong."""
        if self.leaked:
            files = ", ".join(sorted({file for _, file in self.leaked}))
            lines = _lines([line for line, _ in self.leaked])
            yield "LL805", f"{path} has rows that are examples in {files}: {lines}"
        for is_same, what in ((True, "the same row"), (False, "the same inputs with another label")):
            pairs = [f"{first} and {second}" for first, second, same in self.twice if same == is_same]
            if pairs:
                more = f" and {len(pairs) - _MOST_LINES_SHOWN} more" if len(pairs) > _MOST_LINES_SHOWN else ""
                yield "LL806", f"{path} has {what} twice: lines {', '.join(pairs[:_MOST_LINES_SHOWN])}{more}"
        for column, unlabeled in self.unlabeled.items():
            if unlabeled:
                yield "LL807", f"{path} has no '{column}' in {_lines(unlabeled)}"
            yield from self._judge_balance(path, column)

    def _judge_balance(self, path: str, column: str) -> Iterator[tuple[str, str]]:
        counts = self.counts[column]
        total = sum(counts.values())
        if total < _BALANCE_ROWS or not 2 <= len(counts) <= min(_MOST_LABELS, total // 4):
            return
        label, most = counts.most_common(1)[0]
        if most > _DOMINANT * total:
            yield "LL808", f"'{column}' is '{label}' in {most} of {total} rows of {path}"
        lonely = sorted(label for label, count in counts.items() if count == 1)
        if lonely:
            yield "LL808", f"{path} has one row of '{column}': {', '.join(lonely[:_MOST_LINES_SHOWN])}"


def _lines(lines: Sequence[int]) -> str:
    shown = ", ".join(map(str, lines[:_MOST_LINES_SHOWN]))
    more = f" and {len(lines) - _MOST_LINES_SHOWN} more" if len(lines) > _MOST_LINES_SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {shown}{more}"
