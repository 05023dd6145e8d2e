"""Everything that is judged before a line runs: flows, data, mappings, connections, metrics, the baseline."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from llmops.backends.protocols import FlowSource, RunRequest
from llmops.backends.registry import fetch_data
from llmops.commands.resamples import count_resamples
from llmops.config.connections import ResolvedConnection, resolve_connections
from llmops.config.data import DataSummary, describe, is_registered
from llmops.config.layers import Options, Selection, layer
from llmops.config.load import locate
from llmops.config.model import Environment, Evaluator, Experiment, Project
from llmops.core.aggregate import names_formed_of_rows
from llmops.core.mapping import check, parse_mapping
from llmops.errors import Problem, UsageError, near_match
from llmops.evaluators.builtin.source import builtin_closure, builtin_ref, with_builtins
from llmops.flows.closure import Closure, find_closure
from llmops.flows.commit import CommitTree
from llmops.flows.digest import digest_closure
from llmops.flows.folder import FlowMissing, connections_in_use, read_flow_in, validate_nodes, validate_variants
from llmops.flows.git import default_baseline_ref, head_commit, is_dirty, merge_base, resolve_ref
from llmops.flows.metric_names import reported_metrics
from llmops.flows.model import ConnectionUse, Flow
from llmops.flows.tree import FileTree, WorkingTree
from llmops.records import DatasetRef, FlowRef, RunRecord


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One experiment, ready to run.

    Attributes:
        data: absolute path of the data set.
        connections: every connection that the flow or an evaluator uses, resolved.
        evaluators: evaluator name to its flow.
    """

    project: Project
    experiment: Experiment
    environment: Environment
    dataset: DatasetRef
    data: Path
    flow: FlowSource
    evaluators: Mapping[str, FlowSource]
    connections: Mapping[str, ResolvedConnection]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What the candidate is compared with.

    Attributes:
        source: None when there is nothing to compare with, or when it cannot be used.
        reason: which it is or why there is none, for reports.
        problem: why a baseline that exists cannot be used; empty otherwise.
    """

    source: FlowSource | None
    reason: str
    problem: str = ""


def prepare(project: Project, selection: Selection, env: Mapping[str, str], *, needs_keys: bool = True) -> Prepared:
    """Read and judge all that an experiment needs.

    Args:
        needs_keys: whether the variables that connections refer to must be set; a replay calls nobody.

    Raises:
        UsageError: every problem that can be found without running a line.
    """
    experiment, environment = with_builtins(selection.experiment), selection.environment
    collector = _Problems()
    tree = WorkingTree(project.root)
    data = collector.attempt(lambda: _locate_data(project, selection, env))
    summary = collector.attempt(lambda: describe(data, label=_data_path(experiment))) if data else None
    flow = collector.attempt(lambda: read_source(tree, experiment))
    evaluators = {
        name: source
        for name, entry in experiment.evaluators.items()
        if (source := collector.attempt(lambda entry=entry: _read_evaluator(tree, entry)))  # type: ignore[misc]
    }
    if summary:
        collector.extend(_check_slices(project, experiment, summary))
    if summary and flow:
        collector.extend(_check_mappings(project, experiment, summary, flow, evaluators))
    if len(evaluators) == len(experiment.evaluators):
        collector.extend(_check_metrics(project, experiment, evaluators))
    used = [(source, _variables(environment, experiment)) for source in (flow,) if source]
    used += [(source, _variables(environment, experiment.evaluators[name])) for name, source in evaluators.items()]
    connections = collector.attempt(lambda: _connections(environment, used, env, needs_keys=needs_keys))
    if collector.problems or not (summary and flow):
        raise UsageError(*collector.problems)
    return Prepared(
        project=project,
        experiment=experiment,
        environment=environment,
        dataset=_dataset_ref(experiment, summary),
        data=data,
        flow=flow,
        evaluators=evaluators,
        connections=connections or {},
    )


def prepare_flow(
    project: Project, experiment: Experiment, environment: Environment, env: Mapping[str, str]
) -> tuple[FlowSource, Mapping[str, ResolvedConnection], Mapping[str, str]]:
    """Read an experiment's flow alone, without its data: the flow, its connections, its environment variables.

    Raises:
        UsageError: the flow or a connection cannot be used.
    """
    source = read_source(WorkingTree(project.root), experiment)
    variables = _variables(environment, experiment)
    connections = _connections(environment, [(source, variables)], env, needs_keys=True)
    return source, _used_by(source, connections, variables), variables


def _read_evaluator(tree: WorkingTree, evaluator: Evaluator) -> FlowSource:
    if evaluator.builtin is None:
        return read_source(tree, evaluator)
    ref = builtin_ref(evaluator.builtin, evaluator.options)
    return FlowSource(ref=ref, tree=tree, closure=builtin_closure(evaluator.builtin))


def find_baseline(
    prepared: Prepared, asked: str | None, *, env: Mapping[str, str], flags: Options, resources: ExitStack
) -> Baseline:
    """Find the flow as it stands at the merge base.

    Args:
        asked: a git ref, `none`, or None for the default: the target branch of the CI run, else `origin/HEAD`.
        flags: what the command line says; variants chosen there are for the candidate alone.
        resources: keeps what reads the commit open until the caller is done.

    Raises:
        UsageError: the ref does not exist, or has no commit in common with what is checked out.
    """
    root = prepared.project.root
    if asked == "none":
        return Baseline(source=None, reason="no baseline was asked for")
    chosen = default_baseline_ref(root, env)
    ref, reason = (asked, f"the merge base with {asked}") if asked else (chosen.ref, chosen.reason)
    if ref is None:
        return Baseline(source=None, reason=reason)
    commit = merge_base(root, ref)
    tree = resources.enter_context(CommitTree(root, commit))
    variants = layer(
        prepared.project, prepared.experiment.name, env=env, flags=replace(flags, variants=None)
    ).experiment.variants
    try:
        source = _read_at(tree, prepared, variants, commit, ref)
    except FlowMissing:
        return Baseline(source=None, reason=f"the flow does not exist at {commit[:12]} (merge base with {ref})")
    except UsageError as error:
        return Baseline(source=None, reason=reason, problem=f"the baseline at {commit[:12]} cannot be used: {error}")
    return Baseline(source=source, reason=reason)


def read_source_at(prepared: Prepared, ref: str, resources: ExitStack) -> FlowSource:
    """Read the experiment's flow as it stands at a commit."""
    commit = resolve_ref(prepared.project.root, ref)
    tree = resources.enter_context(CommitTree(prepared.project.root, commit))
    return _read_at(tree, prepared, prepared.experiment.variants, commit, ref)


def _read_at(tree: FileTree, prepared: Prepared, variants: Mapping[str, str], commit: str, ref: str) -> FlowSource:
    flow = read_flow_in(tree, prepared.experiment.flow)
    known = {
        node: variant
        for node, variant in variants.items()
        if node in flow.variants and variant in flow.variants[node].names
    }
    nodes = {node: settings for node, settings in prepared.experiment.nodes.items() if node in flow.nodes}
    closure = find_closure(tree, flow)
    flow_ref = _flow_ref(tree, closure, prepared.experiment, variants=known, nodes=nodes)
    return FlowSource(ref=replace(flow_ref, commit=commit, ref=ref), tree=tree, closure=closure)


class HowToRun(Protocol):
    """What an experiment and an evaluator say of their flow; see `config.model.Experiment`."""

    @property
    def flow(self) -> str:
        """Folder, file or callable."""

    @property
    def variants(self) -> Mapping[str, str]:
        """Node to variant."""

    @property
    def nodes(self) -> Mapping[str, Mapping[str, str]]:
        """Node to settings that overlay it."""

    @property
    def init(self) -> Mapping[str, Any]:
        """Arguments of a class that is the flow."""

    @property
    def python(self) -> str:
        """Interpreter."""

    @property
    def environment_variables(self) -> Mapping[str, str]:
        """Set in the worker process."""


def read_source(tree: WorkingTree, how: HowToRun) -> FlowSource:
    """Read a flow of the working tree, its closure and its digest."""
    flow = read_flow_in(tree, how.flow)
    validate_variants(flow, how.variants)
    validate_nodes(flow, how.nodes)
    _check_init(flow, how.init)
    closure = find_closure(tree, flow)
    commit = head_commit(tree.top)
    dirty = commit is not None and is_dirty(tree.top, [source.path for source in closure.files.values()])
    ref = _flow_ref(tree, closure, how, variants=how.variants, nodes=how.nodes)
    return FlowSource(ref=replace(ref, commit=commit, dirty=dirty), tree=tree, closure=closure)


def _check_init(flow: Flow, init: Mapping[str, Any]) -> None:
    if init and flow.kind not in {"flex", "callable"}:
        raise UsageError.of(
            "arguments for a class, but the flow is none",
            where=f"{flow.name}: init",
            found=", ".join(map(repr, init)),
            fix="Remove `init`; only flex flows and callables are classes.",
        )


def _variables(environment: Environment, how: HowToRun) -> dict[str, str]:
    return {**environment.environment_variables, **how.environment_variables}


def _flow_ref(
    tree: FileTree,
    closure: Closure,
    how: HowToRun,
    *,
    variants: Mapping[str, str],
    nodes: Mapping[str, Mapping[str, str]],
) -> FlowRef:
    return FlowRef(
        path=closure.flow.name,
        digest=digest_closure(tree, closure),
        variants=variants,
        nodes=nodes,
        init=how.init,
        python=how.python,
        environment_variables=sorted(how.environment_variables),
    )


def run_request(
    prepared: Prepared, source: FlowSource, *, label: str, rows: Sequence[int] | None = None, is_required: bool = True
) -> RunRequest:
    """Ask for a run of the experiment's flow (or of its baseline), over all rows or some of them."""
    experiment = prepared.experiment
    return RunRequest(
        label=label,
        experiment=experiment.name,
        source=source,
        dataset=prepared.dataset,
        data=prepared.data,
        column_mapping=_known_mapping(experiment.column_mapping, source),
        environment=prepared.environment.name,
        connections=_used_by(source, prepared.connections, _variables(prepared.environment, experiment)),
        environment_variables=_variables(prepared.environment, experiment),
        repeats=experiment.repeat,
        rows=rows,
        concurrency=experiment.concurrency,
        line_timeout_s=experiment.line_timeout_s,
        is_required=is_required,
    )


def evaluation_requests(
    prepared: Prepared, target: RunRequest | RunRecord, *, label: str, is_required: bool = True
) -> dict[str, RunRequest]:
    """Ask for the evaluation of a run by every evaluator of the experiment."""
    experiment = prepared.experiment
    return {
        name: RunRequest(
            label=f"{label} {name}".strip(),
            experiment=experiment.name,
            source=source,
            dataset=prepared.dataset,
            data=prepared.data,
            column_mapping=experiment.evaluators[name].column_mapping,
            environment=prepared.environment.name,
            connections=_used_by(
                source, prepared.connections, _variables(prepared.environment, experiment.evaluators[name])
            ),
            environment_variables=_variables(prepared.environment, experiment.evaluators[name]),
            target=target,
            repeats=experiment.evaluators[name].repeat,
            resamples=count_resamples(experiment, name),
            concurrency=experiment.concurrency,
            line_timeout_s=experiment.line_timeout_s,
            is_required=is_required,
        )
        for name, source in prepared.evaluators.items()
    }


class _Problems:
    """Collects the problems of several steps, so that a user sees all of them at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def attempt(self, step: Callable[[], Any]) -> Any:
        """Return what the step returns, or None and keep its problems."""
        try:
            return step()
        except UsageError as error:
            self.problems.extend(error.problems)
            return None

    def extend(self, problems: Sequence[Problem]) -> None:
        self.problems.extend(problems)


def _data_path(experiment: Experiment) -> str:
    return experiment.datasets[experiment.dataset].path


def _locate_data(project: Project, selection: Selection, env: Mapping[str, str]) -> Path:
    """Return the file of the data set; one that is registered elsewhere is fetched."""
    path = _data_path(selection.experiment)
    if is_registered(path):
        return fetch_data(selection.environment, project.state, env, path)
    return project.root / path


def _dataset_ref(experiment: Experiment, summary: DataSummary) -> DatasetRef:
    path = experiment.datasets[experiment.dataset].path.replace(os.sep, "/")
    return DatasetRef(name=experiment.dataset, path=path, digest=summary.digest, rows=summary.rows)


def _check_mappings(
    project: Project,
    experiment: Experiment,
    summary: DataSummary,
    flow: FlowSource,
    evaluators: Mapping[str, FlowSource],
) -> list[Problem]:
    problems = _check_mapping(project, experiment, summary, flow, experiment.column_mapping, ("column_mapping",))
    for name, source in evaluators.items():
        mapping = experiment.evaluators[name].column_mapping
        path = ("evaluators", name, "column_mapping")
        problems += _check_mapping(project, experiment, summary, source, mapping, path, flow.flow.outputs or None)
    return problems


def _check_mapping(
    project: Project,
    experiment: Experiment,
    summary: DataSummary,
    source: FlowSource,
    mapping: Mapping[str, Any],
    path: tuple[str, ...],
    outputs: Sequence[str] | None = None,
) -> list[Problem]:
    inputs = {name: entry.required for name, entry in source.flow.inputs.items()}
    if not inputs and source.flow.kind in {"flex", "callable"}:
        return []

    def where(name: str) -> str:
        here = (*path, name) if name in mapping else path[:-1] or ("flow",)
        return locate(project, experiment.name, here, environment=experiment.environment)

    return list(
        check(
            parse_mapping(mapping, where=where),
            inputs=inputs,
            columns=summary.columns,
            lacking=summary.lacking,
            outputs=outputs,
            where=where,
        )
    )


def _check_slices(project: Project, experiment: Experiment, summary: DataSummary) -> list[Problem]:
    return [
        Problem(
            what="a slice by a column that the data set does not have",
            where=locate(project, experiment.name, ("gate", "thresholds", index, "slices")),
            found=f"'{column}'",
            expected=", ".join(map(repr, sorted(summary.columns))),
            fix=near_match(column, sorted(summary.columns)),
        )
        for index, threshold in enumerate(experiment.gate.thresholds)
        for column in threshold.slices
        if column not in summary.columns
    ]


def _check_metrics(project: Project, experiment: Experiment, evaluators: Mapping[str, FlowSource]) -> list[Problem]:
    """Find thresholds on metrics that no evaluator can report, where the evaluators' code shows what they report."""
    reported = {name: reported_metrics(source.tree, source.closure) for name, source in evaluators.items()}
    dynamic = [name for name, source in evaluators.items() if source.flow.kind != "dag" and not source.flow.outputs]
    if dynamic or any(names is None for names in reported.values()):
        return []
    known = {
        name: {
            *(names or ()),
            *evaluators[name].flow.outputs,
            *names_formed_of_rows(experiment.evaluators[name].metrics, evaluators[name].flow.outputs),
        }
        for name, names in reported.items()
    }
    bare = {metric for names in known.values() for metric in names}
    qualified = {f"{name}.{metric}" for name, names in known.items() for metric in names}
    problems = []
    for index, threshold in enumerate(experiment.gate.thresholds):
        if threshold.metric not in bare | qualified:
            where = locate(project, experiment.name, ("gate", "thresholds", index, "metric"))
            problems.append(
                Problem(
                    what="no such metric",
                    where=where,
                    found=f"'{threshold.metric}'",
                    expected="one that an evaluator reports: "
                    + (", ".join(map(repr, sorted(bare))) or "there is none"),
                    fix=near_match(threshold.metric, sorted(bare)),
                )
            )
    return problems


def _connections(
    environment: Environment,
    sources: Sequence[tuple[FlowSource, Mapping[str, str]]],
    env: Mapping[str, str],
    *,
    needs_keys: bool,
) -> Mapping[str, ResolvedConnection]:
    problems, used = [], {}
    for source, variables in sources:
        for use in _uses(source, variables):
            if use.name in environment.connections:
                used[use.name] = environment.connections[use.name]
                continue
            known = sorted(environment.connections)
            problems.append(
                Problem(
                    what=f"the environment '{environment.name}' has no connection '{use.name}'",
                    where=use.where,
                    expected=", ".join(map(repr, known)) or "a connection in the environment file",
                    fix=near_match(use.name, known) or f"Add it to config/environments/{environment.name}.yaml.",
                )
            )
    resolved: Mapping[str, ResolvedConnection] = {}
    try:
        resolved = resolve_connections(used, env, needs_values=needs_keys)
    except UsageError as error:
        problems.extend(error.problems)
    if problems:
        raise UsageError(*problems)
    return resolved


def _used_by(
    source: FlowSource, connections: Mapping[str, ResolvedConnection], variables: Mapping[str, str]
) -> dict[str, ResolvedConnection]:
    names = {use.name for use in _uses(source, variables)}
    return {name: connection for name, connection in sorted(connections.items()) if name in names}


def _uses(source: FlowSource, variables: Mapping[str, str]) -> Sequence[ConnectionUse]:
    ref = source.ref
    return connections_in_use(source.flow, ref.variants, nodes=ref.nodes, init=ref.init, variables=variables)


def _known_mapping(mapping: Mapping[str, Any], source: FlowSource) -> dict[str, Any]:
    """Leave out inputs that this version of the flow does not have; of the candidate none is left out."""
    inputs = source.flow.inputs
    return {name: value for name, value in mapping.items() if not inputs or name in inputs}
