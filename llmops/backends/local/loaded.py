"""The flows that are loaded in worker processes: they stay from one run of a command to its next."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmops.backends.local.workers import find_python, worker_spec
from llmops.backends.protocols import RunRequest
from llmops.engine.fork_server import ForkServers, NoForkError
from llmops.engine.gateway.process import Account
from llmops.engine.lines import LineRunner
from llmops.engine.models import ModelServices, secret_values
from llmops.flows.baseline import temporary_copy


@dataclass(frozen=True, kw_only=True)
class LoadedFlow:
    """Runs the lines of one flow.

    Attributes:
        account: knows what the flow's model calls use; None when it has no model.
    """

    runner: LineRunner
    account: Account | None


class LoadedFlows:
    """Loads each flow when its first line is to run, and lets it go at the end.

    Args:
        state: the project's `.llmops/` folder.
        services: knows how a worker reaches the models.
    """

    def __init__(self, state: Path, services: ModelServices) -> None:
        self._state = state
        self._services = services
        self._secrets: set[str] = set()
        self._forks = ForkServers(self._secrets)
        self._loaded: dict[str, LoadedFlow] = {}
        self._copies = contextlib.ExitStack()

    def announce(self, requests: Sequence[RunRequest]) -> None:
        """Say which flows may be asked for, so that the secrets of none are around those of the others."""
        for request in requests:
            self._secrets.update(secret_values(request.connections))

    async def get(self, request: RunRequest, identity: str, log: Path) -> LoadedFlow:
        """Return the flow of a request; load it unless an earlier run of this command did.

        Args:
            request: names the flow, and how many lines may be in flight.
            identity: digest over all that decides a line's outcome but its inputs.
            log: file that takes what the flow prints.

        Raises:
            UsageError: it has no usable Python.
        """
        key = json.dumps([identity, request.label, request.concurrency, request.line_timeout_s])
        if key not in self._loaded:
            self._loaded[key] = await self._load(request, log)
        return self._loaded[key]

    async def _load(self, request: RunRequest, log: Path) -> LoadedFlow:
        """Copy the flow's files, so that no edit during the run reaches it, and say how to load them."""
        source, services = request.source, self._services
        if source.flow.kind != "callable" and not source.ref.python:
            with contextlib.suppress(NoForkError):
                self._forks.warm(sys.executable)  # it imports the framework while all the rest is made ready
        root = self._copies.enter_context(temporary_copy(source.tree, source.closure, self._state / "tmp"))
        python = await asyncio.to_thread(find_python, source, root, self._state, services.env)
        connections = services.for_worker(request.label, request.connections)
        variables = services.expand(request.environment_variables)
        account = connections.account
        runner = LineRunner(
            worker_spec(request, root, connections, variables, python=python),
            log,
            concurrency=request.concurrency,
            line_timeout_s=request.line_timeout_s,
            settle=account.settle if account else None,
            forks=self._forks,
        )
        return LoadedFlow(runner=runner, account=account)

    async def close(self) -> None:
        """End all workers."""
        await asyncio.gather(*(flow.runner.close() for flow in self._loaded.values()))
        await self._forks.close()
        self._copies.close()
