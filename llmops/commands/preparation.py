"""Everything that is read and judged before a line runs, one experiment at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.backends.protocols import FlowSource
from llmops.backends.registry import fetch_data
from llmops.commands.flow_connections import resolve_used, used_by, variables_of
from llmops.commands.preflight import check_mappings, check_metrics, check_slices
from llmops.commands.sources import read_evaluator, read_source
from llmops.config.connections import ResolvedConnection
from llmops.config.data import DataSummary, describe, is_registered
from llmops.config.layers import Selection
from llmops.config.model import Environment, Experiment, Project
from llmops.errors import Problem, UsageError
from llmops.evaluators.builtin.source import with_builtins
from llmops.flows.tree import WorkingTree
from llmops.records import DatasetRef


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
    data = collector.attempt(lambda: locate_data(project, selection, env))
    summary = collector.attempt(lambda: describe(data, label=_data_path(experiment))) if data else None
    flow = collector.attempt(lambda: read_source(tree, experiment))
    evaluators = {
        name: source
        for name, entry in experiment.evaluators.items()
        if (source := collector.attempt(lambda entry=entry: read_evaluator(tree, entry)))  # type: ignore[misc]
    }
    if summary:
        collector.extend(check_slices(project, experiment, summary))
    if summary and flow:
        collector.extend(check_mappings(project, experiment, summary, flow, evaluators))
    if len(evaluators) == len(experiment.evaluators):
        collector.extend(check_metrics(project, experiment, evaluators))
    used = [(source, variables_of(environment, experiment)) for source in (flow,) if source]
    used += [(source, variables_of(environment, experiment.evaluators[name])) for name, source in evaluators.items()]
    connections = collector.attempt(lambda: resolve_used(environment, used, env, needs_keys=needs_keys))
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
    variables = variables_of(environment, experiment)
    connections = resolve_used(environment, [(source, variables)], env, needs_keys=True)
    return source, used_by(source, connections, variables), variables


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


def locate_data(project: Project, selection: Selection, env: Mapping[str, str]) -> Path:
    """Return the file of the chosen data set; one that is registered elsewhere is fetched.

    Raises:
        UsageError: the environment's backend knows no registered data, or there is no such data.
    """
    path = _data_path(selection.experiment)
    if is_registered(path):
        return fetch_data(selection.environment, project.state, env, path)
    return project.root / path


def _dataset_ref(experiment: Experiment, summary: DataSummary) -> DatasetRef:
    path = experiment.datasets[experiment.dataset].path.replace(os.sep, "/")
    return DatasetRef(name=experiment.dataset, path=path, digest=summary.digest, rows=summary.rows)
