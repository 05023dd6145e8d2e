"""One deployment in the router: keeps its process alive, and lets no more requests in than it can take."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from llmops.backends.local.serving.serving_process import (
    FlowRefusedError,
    ProcessDiedError,
    ServingProcess,
    ServingSpec,
)
from llmops.backends.local.serving.settings import ServingSettings
from llmops.backends.local.serving.split import Sample
from llmops.backends.local.serving.upstream import Upstream, UpstreamError
from llmops.core.endpoint import DeploymentStatus

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 30.0
_STEADY_S = 60.0
_ATTEMPTS = 3
_HEALTH_S = 5.0
_HEALTHY = 200


class SaturatedError(Exception):
    """As many requests as are allowed wait already."""


class UnavailableError(Exception):
    """The deployment cannot answer; says why."""


BuildSpec = Callable[[], Awaitable[ServingSpec]]
"""Prepares a process anew before each start; raises FlowRefusedError when that is impossible."""


@dataclass(eq=False)
class ServedDeployment:
    """Supervises one serving process.

    A process that never came to listen is tried three times, a flow that refuses to load once; after the deployment
    was healthy, its process is started again for as long as the deployment exists, with growing pauses.

    Args:
        capture: says which live requests are kept with their answers.
        has_served: whether it was healthy in an earlier life of the router.
        on_healthy: is called each time when it becomes healthy.
    """

    name: str
    settings: ServingSettings
    log: Path
    build_spec: BuildSpec
    capture: Sample = field(default_factory=lambda: Sample(0))
    has_served: bool = False
    on_healthy: Callable[[], None] = lambda: None
    in_flight: int = 0
    restarts: int = 0
    message: str = ""
    _has_failed: bool = False
    _process: ServingProcess | None = None
    _upstream: Upstream | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _emptied: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    _supervisor: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the process and watch over it, in the background."""
        self._supervisor = asyncio.ensure_future(self._supervise())
        self._supervisor.add_done_callback(self._note_end)

    @property
    def pid(self) -> int | None:
        """Process id of the serving process, None while there is none."""
        return self._process.pid if self._process else None

    async def status(self) -> DeploymentStatus:
        """Say how it is now; `healthy` only when it answers."""
        if self._has_failed:
            return "failed"
        if self._upstream is None:
            return "unhealthy" if self.has_served else "creating"
        return "healthy" if await _answers(self._upstream) else "unhealthy"

    async def enter(self, *, waits: bool = True) -> None:
        """Take one of the places in the process; queue for it, first come first served, unless told otherwise.

        Whoever entered calls `leave`.

        Raises:
            SaturatedError: all are taken, and the queue is full.
        """
        if self.in_flight < self.settings.max_concurrent_requests:
            self.in_flight += 1
        elif waits and self.queued < self.settings.max_queued_requests:
            await self._queue()
        else:
            raise SaturatedError

    def leave(self) -> None:
        """Give the place to whoever waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                return
        self.in_flight -= 1
        if self.in_flight == 0:
            self._emptied.set()

    async def upstream(self) -> Upstream:
        """Return the way to the process; waits while it is being started again.

        Raises:
            UnavailableError: it will not come.
        """
        while self._upstream is None:
            if self._has_failed:
                raise UnavailableError(self.message)
            await self._changed.wait()
        return self._upstream

    def lose(self, upstream: Upstream) -> None:
        """Take note that nobody listens there any more, before the end of the process is noticed."""
        if self._upstream is upstream and self._process is not None:
            upstream.close()
            self._upstream = None
            self._process.kill()

    async def drain(self, *, timeout_s: float) -> None:
        """Return when no request is in it, or the time is over; the caller lets no new ones in."""
        if self.in_flight:
            self._emptied.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), timeout_s)

    async def stop(self) -> None:
        """End the process for good."""
        self._fail("it was stopped")
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        await self._end_process()

    @property
    def queued(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    async def _queue(self) -> None:
        """Wait until someone who leaves hands over the place."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    async def _supervise(self) -> None:
        pause_s = _FIRST_PAUSE_S
        attempts = 0
        while True:
            started = time.monotonic()
            try:
                self._serve_with(await ServingProcess.start(await self.build_spec(), self.log))
                self.message = f"the serving process {await self._watch()}"
            except FlowRefusedError as error:
                self.message = f"the flow does not load: {error}"
                attempts = _ATTEMPTS
            except ProcessDiedError as error:
                self.message = f"the serving process did not start: {error}"
                attempts += 1
            self._note(self.message)
            await self._end_process()
            if not self.has_served and attempts >= _ATTEMPTS:
                return self._fail(self.message)
            if time.monotonic() - started > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            self.restarts += 1

    def _note_end(self, supervisor: asyncio.Future[None]) -> None:
        """Fail when the supervisor itself fell over: else everybody would wait for a process that nobody starts."""
        if not supervisor.cancelled() and (error := supervisor.exception()):
            self._fail(f"{type(error).__name__}: {error}")

    def _serve_with(self, process: ServingProcess) -> None:
        self._process = process
        self._upstream = Upstream(process.port)
        self.message = ""
        self._note(f"serving, process {process.pid}")
        self.has_served = True
        self.on_healthy()
        self._wake()

    async def _watch(self) -> str:
        assert self._process is not None
        ended = await self._process.wait()
        self._upstream = None
        return ended

    async def _end_process(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
        self._upstream = None
        if self._process is not None:
            process, self._process = self._process, None
            await process.stop()

    def _note(self, text: str) -> None:
        """Write what happened to the process where the process writes."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as handle:
            handle.write(f"{datetime.now(timezone.utc).isoformat(timespec='milliseconds')} llmops: {text}\n")

    def _fail(self, message: str) -> None:
        self.message = message
        self._has_failed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _answers(upstream: Upstream) -> bool:
    async def ask() -> int:
        answer = await upstream.send("GET", b"/health", [], b"")
        await answer.read()
        return answer.status

    try:
        return await asyncio.wait_for(ask(), _HEALTH_S) == _HEALTHY
    except (UpstreamError, asyncio.TimeoutError):
        return False
