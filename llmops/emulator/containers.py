"""What stands for the containers of deployments: the serving processes that local endpoints have too."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from llmops.backends.local.serving.serving_process import (
    FlowRefusedError,
    ProcessDiedError,
    ServingProcess,
    ServingSpec,
)
from llmops.emulator.errors import RefusalError

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
    """Starts and ends containers, from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, spec: ServingSpec, log: Path) -> Container:
        """Start a container and wait until it listens.

        Raises:
            RefusalError: the flow does not load, or its process ended; the log says it too.
        """
        try:
            return Container(self._run(ServingProcess.start(spec, log)))
        except (FlowRefusedError, ProcessDiedError) as error:
            with log.open("a", encoding="utf-8") as handle:
                handle.write(f"User container has crashed or terminated: {error}\n")
            message = f"User container has crashed or terminated: {error}"
            raise RefusalError(200, "ResourceNotReady", message) from error

    def stop(self, container: Container) -> None:
        """End a container; one that is gone already is fine."""
        container.process.kill()
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            self._run(container.process.stop(), _STOP_S)

    def close(self) -> None:
        """End the loop; the containers must have been stopped."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)
        self._loop.close()

    def _run(self, work: Any, timeout_s: float | None = None) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)
