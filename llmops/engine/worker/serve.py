"""Answer the driver's messages until its end of the pipe closes."""

from __future__ import annotations

import json
import math
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from . import attribution, failures, surroundings


class LoadedFlow(Protocol):
    """What every kind of flow offers to the worker."""

    has_aggregation: bool
    versions: dict[str, str]

    def run_line(self, inputs: dict[str, Any], line_id: str) -> tuple[Any, Any]:
        """Return outputs and aggregation inputs of one line; raise what the flow raises."""

    def take_trace(self) -> list[dict[str, Any]]:
        """Return what the nodes did since the last call, when a trace was asked for."""

    def aggregate(self, inputs: dict[str, list[Any]], aggregation_inputs: dict[str, list[Any]]) -> dict[str, Any]:
        """Return the metrics that the aggregation nodes logged; raise what they raise."""


class _Pipe:
    """Write whole messages from many threads."""

    def __init__(self, sink: int) -> None:
        self._sink = sink
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, ensure_ascii=False, allow_nan=False, default=repr).encode(
            "utf-8", "backslashreplace"
        )
        with self._lock:
            view = memoryview(data + b"\n")
            while view:
                view = view[os.write(self._sink, view) :]


def serve(source: int, sink: int) -> None:
    """Load one flow, then run lines on threads; never returns, because a flow's threads may not end."""
    pipe = _Pipe(sink)
    flow: LoadedFlow | None = None
    pool: ThreadPoolExecutor | None = None
    with os.fdopen(source, "rb") as reader:
        for raw in reader:
            message = json.loads(raw)
            if message["op"] == "load":
                flow = _load(message, pipe)
                pool = ThreadPoolExecutor(max_workers=message["threads"], thread_name_prefix="line")
            elif message["op"] == "ping":
                pipe.send({"op": "pong", "id": message["id"]})
            elif flow is not None and pool is not None:
                pool.submit(_WORK[message["op"]], flow, message, pipe)
    sys.stdout.flush()
    os._exit(0)


def _load(message: dict[str, Any], pipe: _Pipe) -> LoadedFlow | None:
    try:
        if message.get("environ") is not None:
            surroundings.inherit(message["environ"])
        flow = _loader(message["kind"])(message)
    except BaseException as error:  # a flow may raise SystemExit while it is imported
        pipe.send({"op": "load_failed", "error": failures.describe(error)})
        return None
    pipe.send({"op": "loaded", "aggregation": flow.has_aggregation, "versions": flow.versions})
    return flow


def _loader(kind: str) -> Callable[[dict[str, Any]], LoadedFlow]:
    """Return what loads this kind of flow; plain callables need no prompt flow in their interpreter."""
    if kind == "callable":
        from . import callable_flow

        return callable_flow.load
    from . import promptflow_flow

    return promptflow_flow.load


def _run_line(flow: LoadedFlow, message: dict[str, Any], pipe: _Pipe) -> None:
    started = time.perf_counter()
    answer: dict[str, Any] = {"op": "line", "id": message["id"]}
    attribution.line.set(message["id"])
    try:
        outputs, aggregation_inputs = flow.run_line(message["inputs"], message["id"])
        answer |= {
            "status": "completed",
            "outputs": json_value(outputs),
            "aggregation_inputs": json_value(aggregation_inputs),
        }
    except BaseException as error:  # whatever a flow raises, SystemExit included, is that line's own failure
        answer |= {"status": failures.status(error), "error": failures.describe(error)}
    if nodes := flow.take_trace():
        answer["nodes"] = json_value(nodes)
    answer["duration_s"] = round(time.perf_counter() - started, 6)
    answer["cpu_s"] = time.process_time()
    pipe.send(answer)


def _aggregate(flow: LoadedFlow, message: dict[str, Any], pipe: _Pipe) -> None:
    answer: dict[str, Any] = {"op": "aggregated", "id": message["id"], "metrics": {}, "error": None}
    try:
        metrics = flow.aggregate(message["inputs"], message["aggregation_inputs"])
        answer["metrics"] = {name: json_value(value) for name, value in metrics.items()}
    except BaseException as error:  # see _run_line
        answer["error"] = failures.describe(error)
    pipe.send(answer)


def _resample(flow: LoadedFlow, message: dict[str, Any], pipe: _Pipe) -> None:
    """Run the aggregation over bootstrap samples of the rows: all lines of a row are drawn together."""
    found: dict[str, list[Any]] = {}
    for sample in range(message["samples"]):
        drawn = random.Random(sample).choices(range(message["rows"]), k=message["rows"])
        width = message["lines_per_row"]
        lines = [row * width + line for row in drawn for line in range(width)]
        inputs, aggregation_inputs = (
            {name: [values[line] for line in lines] for name, values in message[part].items()}
            for part in ("inputs", "aggregation_inputs")
        )
        try:
            metrics = flow.aggregate(inputs, aggregation_inputs)
        except BaseException:  # see _run_line; a sample may lack what the aggregation divides by
            metrics = {}
        for name, value in metrics.items():
            column = found.setdefault(name, [])
            column.extend([None] * (sample - len(column)))
            column.append(_number(value))
    for column in found.values():
        column.extend([None] * (message["samples"] - len(column)))
    pipe.send({"op": "resampled", "id": message["id"], "metrics": found, "error": None})


def _number(value: Any) -> Any:
    plain = json_value(value)
    return plain if isinstance(plain, (int, float)) else None


_WORK: dict[str, Callable[[LoadedFlow, dict[str, Any], _Pipe], None]] = {
    "line": _run_line,
    "aggregate": _aggregate,
    "resample": _resample,
}


def json_value(value: Any) -> Any:
    """Turn a flow's value into JSON: what JSON has no word for becomes text, NaN included."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [json_value(item) for item in value]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return json_value(value.item())
    if hasattr(value, "serialize"):
        return json_value(value.serialize())
    return str(value)
