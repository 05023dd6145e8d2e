"""How often each row is to be measured: as configured, as at the last recorded look, or more often."""

from __future__ import annotations

import dataclasses

from llmops.backends.protocols import FlowSource, RunRequest
from llmops.commands.baselines import Baseline
from llmops.commands.preparation import Prepared
from llmops.commands.run_requests import evaluation_requests, run_request
from llmops.config.connections import identity
from llmops.evaluators.evaluation import judge_digest
from llmops.evaluators.verdict import Measured, look_family, read_looks


def with_repeats(prepared: Prepared, baseline: Baseline, added: int) -> Prepared:
    """Return the experiment with the number of repeats that this look is to have.

    Args:
        prepared: the experiment as configured.
        baseline: what it is compared with.
        added: repeats on top of those of the last look; 0 repeats the last look, which is answered from the record.
    """
    if not prepared.experiment.gate.add_repeats:
        return prepared
    recorded = read_looks(prepared.project.state, _family(prepared, baseline))
    known = recorded.looks[-1].repeats if recorded else prepared.experiment.repeat
    return dataclasses.replace(
        prepared,
        experiment=dataclasses.replace(prepared.experiment, repeat=max(known, prepared.experiment.repeat) + added),
    )


def _family(prepared: Prepared, baseline: Baseline) -> str:
    return look_family(
        prepared.experiment.name,
        prepared.environment.name,
        prepared.experiment.gate,
        {name: evaluator.metrics for name, evaluator in prepared.experiment.evaluators.items()},
        _measured(prepared, prepared.flow),
        _measured(prepared, baseline.source) if baseline.source else None,
    )


def _measured(prepared: Prepared, source: FlowSource) -> Measured:
    request = run_request(prepared, source, label="")
    return Measured(
        flow=source.ref.digest,
        overlay=source.ref.overlay,
        dataset=prepared.dataset.digest,
        evaluators={name: evaluator.ref.digest for name, evaluator in prepared.evaluators.items()},
        judges={
            name: judge_digest(one.source.ref, _identities(one), one.column_mapping)
            for name, one in evaluation_requests(prepared, request, label="").items()
        },
        connections=_identities(request),
        column_mapping=request.column_mapping,
    )


def _identities(request: RunRequest) -> dict[str, str]:
    return {name: identity(connection) for name, connection in request.connections.items()}
