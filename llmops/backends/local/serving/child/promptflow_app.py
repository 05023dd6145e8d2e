"""Prompt flow's own serving app, the one that Azure runs too, from promptflow-core alone."""

from __future__ import annotations

import json
import os
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_CHOSEN = "llmops.flow.dag.yaml"


def load(message: dict[str, Any]) -> Any:
    """Build the app; whatever the flow raises while it loads goes to the router."""
    from _llmops_worker import promptflow_flow as worker

    definition = worker.prepare(message)
    folder = Path(message["folder"])
    os.environ["PROMPTFLOW_PROJECT_PATH"] = str(folder)
    is_overlaid = message["variants"] or message["nodes"]
    flow_file = _write(definition, folder) if is_overlaid else folder / message["flow_file"]
    from promptflow.core._serving.app import create_app

    app = create_app(
        engine="fastapi", extension_type="local", flow_file_path=str(flow_file), init=worker.init_of(message)
    )
    if message["kind"] == "prompty":
        _make_awaitable(app.flow_invoker.executor)
    return FailureMark(app)


def _make_awaitable(executor: Any) -> None:
    """Give a prompty's executor the coroutine that the serving app calls; promptflow-core 1.18.5 forgets to."""
    from promptflow._utils.async_utils import sync_to_async

    if not hasattr(executor, "_func_async"):
        executor._func_async = sync_to_async(executor._func)  # noqa: SLF001 there is no public way


def _write(definition: dict[str, Any], folder: Path) -> Path:
    """Write the definition as it is overlaid beside the original: its folder is where paths start."""
    path = folder / _CHOSEN
    path.write_text(json.dumps(definition, default=str), encoding="utf-8")
    return path


class FailureMark:
    """Marks the answers of flows that failed.

    Prompt flow answers 400 both when a caller sends wrong inputs and when a node raises; only the second is the
    flow's failure. The answer itself stays as Azure gives it; a header is added.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._outcome: ContextVar[dict[str, bool]] = ContextVar("outcome")
        self._invoke = app.flow_invoker.invoke_async
        app.flow_invoker.invoke_async = self._watch

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        outcome: dict[str, bool] = {}
        self._outcome.set(outcome)

        async def mark(message: Any) -> None:
            if outcome and message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-llmops-flow-failed", b"true")]}
            await send(message)

        await self._app(scope, receive, mark)

    async def _watch(self, *arguments: Any, **options: Any) -> Any:
        result = await self._invoke(*arguments, **options)
        if result.run_info.status.value != "Completed":
            self._outcome.get()["failed"] = True
        return result
