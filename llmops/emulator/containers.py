"""What stands for containers: the serving processes and the workers that this machine has too.

They are forked from an interpreter that has imported prompt flow and nothing of a user's: that is most of their start.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import http.client
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from llmops.backends.local.serving.serving_process import (
    FlowRefusedError,
    ProcessDiedError,
    ServingProcess,
    ServingSpec,
)
from llmops.emulator.errors import RefusalError
from llmops.emulator.threads import CanceledError
from llmops.engine.fork_server import ForkServers

T = TypeVar("T")

_MODULES = ("promptflow.core._serving.app", "uvicorn")
_STOP_S = 15.0


class Answer(NamedTuple):
    """What a container answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(eq=False)
class Container:
    """One running deployment.

    Attributes:
        pending: requests that are being answered.
    """

    process: ServingProcess
    pending: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
        """Hand on one request.

        Raises:
            TimeoutError: no answer in time.
            OSError, http.client.HTTPException: the process is gone.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()


class Containers:
    """Starts and ends containers, from any thread.

    Args:
        environ: environment of each of them, without secrets.

    Attributes:
        forks: for what `do` does.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.forks = ForkServers((), environ, _MODULES)
        self._working: set[asyncio.Task[Any] | None] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Do something in the one loop that all containers live in; others go on meanwhile.

        Raises:
            CanceledError: the emulator ended first.
        """
        try:
            return asyncio.run_coroutine_threadsafe(self._known(work), self._loop).result(timeout_s)
        except concurrent.futures.CancelledError as error:
            raise CanceledError from error

    def start(self, spec: ServingSpec, log: Path) -> Container:
        """Start a container and wait until it listens.

        Raises:
            RefusalError: the flow does not load, or its process ended; the log says it too.
        """
        try:
            return Container(self.do(ServingProcess.start(replace(spec, environ=self.environ), log, self.forks)))
        except (FlowRefusedError, ProcessDiedError) as error:
            with log.open("a", encoding="utf-8") as handle:
                handle.write(f"User container has crashed or terminated: {error}\n")
            message = f"User container has crashed or terminated: {error}"
            raise RefusalError(200, "ResourceNotReady", message) from error

    def stop(self, container: Container) -> None:
        """End a container; one that is gone already is fine."""
        container.process.kill()
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            self.do(container.process.stop(), _STOP_S)

    def close(self) -> None:
        """End the loop and what still runs in it; deployments must have been stopped."""
        self.do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)
        self._loop.close()

    async def _known(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        self._working.add(task)
        try:
            return await work
        finally:
            self._working.discard(task)

    async def _end(self) -> None:
        others = [task for task in self._working if task and task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.forks.close()
