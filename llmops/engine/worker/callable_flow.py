"""Flows that are plain Python: a function, a coroutine function, or a class with `__call__`; no prompt flow needed."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import inspect
import platform
import threading
from collections.abc import Callable
from typing import Any

from . import attribution, surroundings

_LINE = "line"
"""Key under which a line travels to `__aggregate__`."""


def load(message: dict[str, Any]) -> CallableFlow:
    """Import the callable; whatever the import raises goes to the driver."""
    surroundings.enter(message)
    surroundings.set_environment(message["environment_variables"], message["connections"])
    attribution.tell(message["connections"])
    module, _, name = message["entry"].partition(":")
    target = getattr(importlib.import_module(module), name)
    return CallableFlow(target(**message["init"]) if isinstance(target, type) else target)


class CallableFlow:
    """A loaded callable; `run_line` may be called from many threads.

    Coroutines run on one event loop, so that clients and locks which they keep belong to it.
    """

    def __init__(self, target: Callable[..., Any]) -> None:
        self.target = target
        self._aggregate: Callable[[list[Any]], Any] | None = getattr(target, "__aggregate__", None)
        self.has_aggregation = self._aggregate is not None
        self.versions = {"python": platform.python_version()}
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="coroutines", daemon=True).start()

    def run_line(self, inputs: dict[str, Any], line_id: str) -> tuple[Any, Any]:  # noqa: ARG002 part of the protocol
        """Call it with the inputs by name."""
        result = self._finish(self.target(**inputs))
        outputs = as_outputs(result)
        return outputs, {_LINE: outputs} if self.has_aggregation else {}

    def take_trace(self) -> list[dict[str, Any]]:
        """Return nothing: a callable has no nodes."""
        return []

    def aggregate(self, inputs: dict[str, list[Any]], aggregation_inputs: dict[str, list[Any]]) -> dict[str, Any]:  # noqa: ARG002 as above
        """Give all outputs to `__aggregate__`, which returns the metrics."""
        assert self._aggregate is not None
        return dict(self._finish(self._aggregate(aggregation_inputs.get(_LINE, []))))

    def _finish(self, result: Any) -> Any:
        if inspect.isawaitable(result):
            return asyncio.run_coroutine_threadsafe(_await(result), self._loop).result()
        if inspect.isasyncgen(result):
            return asyncio.run_coroutine_threadsafe(_collect(result), self._loop).result()
        if inspect.isgenerator(result):
            return _joined(list(result))
        return result


async def _await(result: Any) -> Any:
    return await result


async def _collect(result: Any) -> Any:
    return _joined([piece async for piece in result])


def _joined(pieces: list[Any]) -> Any:
    """A stream of texts is one text; any other stream is a list."""
    return "".join(pieces) if all(isinstance(piece, str) for piece in pieces) else pieces


def as_outputs(result: Any) -> dict[str, Any]:
    """Return named outputs: a mapping, a dataclass or a model as it is, anything else as `output`."""
    if isinstance(result, dict):
        return result
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return dataclasses.asdict(result)
    if hasattr(result, "model_dump"):
        return dict(result.model_dump(mode="json"))
    return {"output": result}
