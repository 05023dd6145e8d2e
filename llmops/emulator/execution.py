"""Execute a flow over rows in a child process: the driver's own worker with promptflow-core."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llmops.core.mapping import ColumnMapping, apply, complete, parse_mapping
from llmops.emulator.containers import Containers
from llmops.engine.worker_process import WorkerDiedError, WorkerProcess, WorkerSpec
from llmops.errors import UsageError

LINE_TIMEOUT_S = 600.0
_CONCURRENCY = 4
_VARIANT = re.compile(r"\${(?P<node>[^.}]+)\.(?P<variant>[^}]+)}")


class RunFailedError(Exception):
    """The run as a whole failed; `code` is that of the run's error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a column mapping takes its values from, for one line.

    Attributes:
        index: line number of the run.
    """

    index: int
    data: Mapping[str, Any] = field(default_factory=dict)
    run_inputs: Mapping[str, Any] = field(default_factory=dict)
    run_outputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FlowRun:
    """One run to execute.

    Attributes:
        folder: of the flow, a copy that nobody else uses.
        node_variant: `${node.variant}` or empty.
        overrides: node to `connection`, `deployment_name`, `model`.
        connections: name to `{type, configs, secrets}`.
        log: what the flow prints.
        python: interpreter that runs it.
    """

    folder: Path
    flow_file: str
    lines: Sequence[Sources]
    mapping: Mapping[str, Any]
    node_variant: str
    overrides: Mapping[str, Mapping[str, Any]]
    connections: Mapping[str, Mapping[str, Any]]
    environment_variables: Mapping[str, str]
    log: Path
    python: str


@dataclass(frozen=True, kw_only=True)
class LineOutcome:
    """What became of one line; `error` is None when it completed."""

    index: int
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    duration_s: float
    aggregation_inputs: Mapping[str, Any] = field(default_factory=dict)


def execute(
    run: FlowRun,
    containers: Containers,
    *,
    is_canceled: Callable[[], bool],
    on_line: Callable[[LineOutcome], None],
) -> Mapping[str, Any]:
    """Run all lines, then the aggregation over those that completed; returns the logged metrics.

    Args:
        run: what to execute.
        containers: where it is executed.
        is_canceled: whether it shall end.
        on_line: told of each line as it ends, in the loop of the containers; must be quick.

    Raises:
        RunFailedError: the flow does not load, the mapping finds nothing, or the aggregation failed.
    """
    definition = _prepare(run)
    inputs = _inputs_of(run, definition)
    worker = WorkerProcess(_worker_spec(run, containers.environ), run.log, containers.forks)
    return containers.do(_execute(worker, inputs, is_canceled, on_line))


async def _execute(
    worker: WorkerProcess,
    inputs: Sequence[tuple[int, Mapping[str, Any]]],
    is_canceled: Callable[[], bool],
    on_line: Callable[[LineOutcome], None],
) -> Mapping[str, Any]:
    try:
        await _start(worker)
        outcomes = await _run_lines(worker, inputs, is_canceled, on_line)
        if is_canceled() or not worker.has_aggregation:
            return {}
        return await _aggregate(worker, [outcome for outcome in outcomes if outcome.error is None])
    except WorkerDiedError as error:
        raise RunFailedError("SystemError", error.reason) from error
    finally:
        await worker.stop()


def _prepare(run: FlowRun) -> Mapping[str, Any]:
    """Read the definition and write the overrides of connections into it."""
    path = run.folder / run.flow_file
    if path.suffix not in {".yaml", ".yml"}:
        return {}
    definition: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    nodes = {node.get("name"): node for node in definition.get("nodes") or []}
    for name, override in run.overrides.items():
        if name not in nodes:
            raise RunFailedError("UserError", f"The connections name the node '{name}', which the flow does not have.")
        _override(nodes[name], override)
    if run.overrides:
        path.write_text(yaml.safe_dump(definition, sort_keys=False), encoding="utf-8")
    return definition


def _override(node: dict[str, Any], override: Mapping[str, Any]) -> None:
    inputs = node.setdefault("inputs", {})
    for name, value in override.items():
        if name == "connection" and "connection" in node:
            node["connection"] = value
        else:
            inputs[name] = value


def _inputs_of(run: FlowRun, definition: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    declared = definition.get("inputs") or {}
    required = {name: "default" not in (entry or {}) for name, entry in declared.items()}
    try:
        mapping = complete(parse_mapping(run.mapping), required)
        return [(line.index, _apply(mapping, line)) for line in run.lines]
    except UsageError as error:
        message = f"The input for flow is incorrect. Couldn't find these mapping relations: {error}"
        raise RunFailedError("UserError", message) from error


def _apply(mapping: ColumnMapping, line: Sources) -> Mapping[str, Any]:
    return apply(mapping, data=line.data, run_inputs=line.run_inputs, run_outputs=line.run_outputs)


def _worker_spec(run: FlowRun, environ: Mapping[str, str]) -> WorkerSpec:
    match = _VARIANT.fullmatch(run.node_variant) if run.node_variant else None
    secrets = [str(value) for connection in run.connections.values() for value in connection["secrets"].values()]
    return WorkerSpec(
        name=run.folder.name,
        folder=run.folder,
        flow_file=run.flow_file,
        variants={match["node"]: match["variant"]} if match else {},
        connections=run.connections,
        environment_variables=run.environment_variables,
        secrets=secrets,
        environ=environ,
        threads=_CONCURRENCY,
        python=run.python,
    )


async def _start(worker: WorkerProcess) -> None:
    try:
        await worker.start()
    except UsageError as error:
        raise RunFailedError("UserError", str(error)) from error


async def _run_lines(
    worker: WorkerProcess,
    inputs: Sequence[tuple[int, Mapping[str, Any]]],
    is_canceled: Callable[[], bool],
    on_line: Callable[[LineOutcome], None],
) -> list[LineOutcome]:
    limit = asyncio.Semaphore(_CONCURRENCY)
    outcomes: list[LineOutcome] = []

    async def one(index: int, values: Mapping[str, Any]) -> None:
        async with limit:
            if is_canceled():
                return
            answer = await worker.line(values, timeout_s=LINE_TIMEOUT_S)
            outcome = _outcome(index, values, answer)
            outcomes.append(outcome)
            on_line(outcome)

    await asyncio.gather(*(one(index, values) for index, values in inputs))
    return sorted(outcomes, key=lambda outcome: outcome.index)


def _outcome(index: int, inputs: Mapping[str, Any], answer: Mapping[str, Any]) -> LineOutcome:
    error = answer.get("error")
    outputs = {name: value for name, value in (answer.get("outputs") or {}).items() if name != "line_number"}
    return LineOutcome(
        index=index,
        inputs=inputs,
        outputs=None if error else outputs,
        error={"type": error.type, "message": error.message, "node": error.node} if error else None,
        duration_s=answer["duration_s"],
        aggregation_inputs=answer.get("aggregation_inputs") or {},
    )


async def _aggregate(worker: WorkerProcess, outcomes: Sequence[LineOutcome]) -> Mapping[str, Any]:
    if not outcomes:
        return {}
    inputs: dict[str, list[Any]] = {}
    aggregation_inputs: dict[str, list[Any]] = {}
    for outcome in outcomes:
        for columns, values in ((inputs, outcome.inputs), (aggregation_inputs, outcome.aggregation_inputs)):
            for name, value in values.items():
                columns.setdefault(name, []).append(value)
    metrics, error = await worker.aggregate(inputs, aggregation_inputs, timeout_s=LINE_TIMEOUT_S)
    if error is not None:
        raise RunFailedError("UserError", f"The aggregation failed: {error.type}: {error.message}")
    return metrics
