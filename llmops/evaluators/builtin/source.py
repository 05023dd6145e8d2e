"""Built-in metrics as flows, so that they run, are cached and are recorded like any evaluator."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmops.config.model import Evaluator, Experiment
from llmops.core.limits import BuiltinName
from llmops.evaluators.builtin import BUILTINS
from llmops.evaluators.builtin.similarity import Similarity
from llmops.flows.closure import Closure
from llmops.flows.model import Flow, FlowInput
from llmops.records import FlowRef


def builtin_flow(name: BuiltinName) -> Flow:
    """Return the flow that a built-in metric is: a class of ours, with no file of the user's."""
    builtin = BUILTINS[name]
    return Flow(
        path=".",
        folder="",
        kind="callable",
        definition="",
        data={},
        entry=builtin.entry,
        inputs={key: FlowInput(type="", required=required) for key, required in builtin.inputs.items()},
        outputs=(*builtin.metrics, *builtin.logged),
    )


def builtin_closure(name: BuiltinName) -> Closure:
    """Return the empty closure: its code is part of llmops."""
    return Closure(flow=builtin_flow(name), files={})


def builtin_ref(name: BuiltinName, options: Mapping[str, Any]) -> FlowRef:
    """Return the reference whose digest is over the source of the built-in metrics; the options are its `init`."""
    total = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return FlowRef(path=f"builtin/{name}", digest=f"sha256:{total.hexdigest()}", init=options)


def with_builtins(experiment: Experiment) -> Experiment:
    """Fill in what built-in metrics bring along: column mapping, kinds of metrics, environment variables."""
    evaluators = {name: _completed(evaluator) for name, evaluator in experiment.evaluators.items()}
    return replace(experiment, evaluators=evaluators)


def _completed(evaluator: Evaluator) -> Evaluator:
    if evaluator.builtin is None:
        return evaluator
    builtin = BUILTINS[evaluator.builtin]
    variables = Similarity.environment(evaluator.options) if evaluator.builtin == "similarity" else {}
    return replace(
        evaluator,
        column_mapping={**builtin.mapping, **evaluator.column_mapping},
        metrics={**builtin.metrics, **evaluator.metrics},
        environment_variables={**variables, **evaluator.environment_variables},
    )
