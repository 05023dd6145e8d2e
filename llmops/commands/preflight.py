"""What can be found wrong with an experiment before a line runs: mappings, slices, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmops.backends.protocols import FlowSource
from llmops.config.data import DataSummary
from llmops.config.load import locate
from llmops.config.model import Experiment, Project
from llmops.core.aggregate import names_formed_of_rows
from llmops.core.mapping import check, parse_mapping
from llmops.errors import Problem, near_match
from llmops.flows.metric_names import reported_metrics


def check_slices(project: Project, experiment: Experiment, summary: DataSummary) -> list[Problem]:
    """Find slices by a column that the data set does not have."""
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


def check_mappings(
    project: Project,
    experiment: Experiment,
    summary: DataSummary,
    flow: FlowSource,
    evaluators: Mapping[str, FlowSource],
) -> list[Problem]:
    """Find inputs that no mapping fills, and mappings that name what is not there, of the flow and its evaluators."""
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


def check_metrics(project: Project, experiment: Experiment, evaluators: Mapping[str, FlowSource]) -> list[Problem]:
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
