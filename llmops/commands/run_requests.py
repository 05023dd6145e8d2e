"""What the engine is asked for: a run of an experiment's flow, and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmops.backends.protocols import FlowSource, RunRequest
from llmops.commands.flow_connections import used_by, variables_of
from llmops.commands.preparation import Prepared
from llmops.commands.resamples import count_resamples
from llmops.records import RunRecord


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
        connections=used_by(source, prepared.connections, variables_of(prepared.environment, experiment)),
        environment_variables=variables_of(prepared.environment, experiment),
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
            connections=used_by(
                source, prepared.connections, variables_of(prepared.environment, experiment.evaluators[name])
            ),
            environment_variables=variables_of(prepared.environment, experiment.evaluators[name]),
            target=target,
            repeats=experiment.evaluators[name].repeat,
            resamples=count_resamples(experiment, name),
            concurrency=experiment.concurrency,
            line_timeout_s=experiment.line_timeout_s,
            is_required=is_required,
        )
        for name, source in prepared.evaluators.items()
    }


def _known_mapping(mapping: Mapping[str, Any], source: FlowSource) -> dict[str, Any]:
    """Leave out inputs that this version of the flow does not have; of the candidate none is left out."""
    inputs = source.flow.inputs
    return {name: value for name, value in mapping.items() if not inputs or name in inputs}
