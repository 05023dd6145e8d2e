"""One input at a time through a flow, with what each node did: what `llmops test` needs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from llmops.backends.local.workers import find_python, worker_spec
from llmops.backends.protocols import RunRequest
from llmops.engine.models import ModelServices
from llmops.engine.worker_process import WorkerDiedError, WorkerProcess
from llmops.flows.baseline import temporary_copy
from llmops.records import LineError


class LocalTrial:
    """A loaded flow that takes inputs one by one; nothing is read from the cache or kept in it.

    Attributes:
        log: what the flow printed, one file per trial.
    """

    def __init__(self, worker: WorkerProcess, log: Path, timeout_s: float) -> None:
        self._worker = worker
        self._timeout_s = timeout_s
        self.log = log

    async def run(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Trial.run`."""
        try:
            return await self._worker.line(inputs, timeout_s=self._timeout_s)
        except TimeoutError:
            error = LineError(type="LineTimeout", message=f"no answer within {self._timeout_s:g} s")
        except WorkerDiedError as died:
            error = LineError(type="WorkerDied", message=died.reason)
        return {"status": "failed", "outputs": None, "error": error, "nodes": [], "duration_s": 0.0}


@contextlib.asynccontextmanager
async def open_trial(request: RunRequest, state: Path, services: ModelServices, log: Path) -> AsyncIterator[LocalTrial]:
    """Load the flow of a request in a worker; leaving the context ends it.

    Args:
        request: names the flow; its data set is not read.
        state: the project's `.llmops/` folder.
        services: knows how a worker reaches the models.
        log: file that takes what the flow prints.

    Raises:
        UsageError: the flow does not load.
        BackendError: a model service is unusable.
    """
    source = request.source
    with temporary_copy(source.tree, source.closure, state / "tmp") as root:
        python = await asyncio.to_thread(find_python, source, root, state, services.env)
        connections = services.for_worker(request.label, request.connections)
        variables = services.expand(request.environment_variables)
        spec = worker_spec(request, root, connections, variables, python=python, trace=True)
        services.check_reachable(request.connections)
        worker = WorkerProcess(spec, log)
        try:
            await worker.start()
            yield LocalTrial(worker, log, request.line_timeout_s)
        finally:
            await worker.stop()
