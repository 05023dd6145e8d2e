"""Run lines with bounded concurrency; survive time-outs and crashes of the worker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from llmops.core.documents import to_json
from llmops.engine.cache import StoredLine
from llmops.engine.fork_server import ForkServers
from llmops.engine.gateway.process import NO_USE, LineUse
from llmops.engine.worker_process import WorkerDiedError, WorkerProcess, WorkerReplacedError, WorkerSpec
from llmops.errors import UsageError
from llmops.records import LineError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Task(Generic[T]):
    """One line to run; `tag` is the caller's name for it, `repeat` the index of the measurement."""

    tag: T
    inputs: Mapping[str, Any]
    repeat: int = 0


GROW_INTERVAL_S = 0.5
GROW_AFTER = 2
"""Intervals in a row that all processes must compute before another is started, which costs a tenth of a second."""

SATURATED = 0.7
"""Share of one core from which on a worker process is taken to be the bottleneck; other programs need some, too."""


class LineRunner:
    """Feeds lines to worker processes, which are replaced when they hang or die.

    It starts with one process and adds another while all of them are busy computing rather than waiting for models. A
    line that is in flight when its worker dies, or that times out in a frozen one, runs once more, alone, so that only
    the guilty line fails.

    Args:
        spec: what every process loads.
        log: file that takes what the flow prints.
        concurrency: lines in flight at once, over all processes.
        line_timeout_s: seconds that one line may take.
        max_workers: processes at most.
        settle: returns what the model calls of a line used, by the line's id.
        forks: start workers faster where they can.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        log: Path,
        *,
        concurrency: int,
        line_timeout_s: float,
        max_workers: int | None = None,
        settle: Callable[[str], LineUse] | None = None,
        forks: ForkServers | None = None,
    ) -> None:
        self._spec = spec
        self._log = log
        self._concurrency = concurrency
        self._line_timeout_s = line_timeout_s
        self._max_workers = max_workers or os.cpu_count() or 1
        self._settle = settle
        self._forks = forks
        self._workers: list[WorkerProcess] = []
        self._starting = asyncio.Lock()
        self.versions: Mapping[str, str] = {}

    async def worker(self) -> WorkerProcess:
        """Return the running worker with the fewest lines; start one when there is none.

        Raises:
            UsageError: the flow does not load.
        """
        async with self._starting:
            if not self._workers:
                await self._start()
            return min(self._workers, key=lambda worker: worker.in_flight)

    async def close(self) -> None:
        """End the workers."""
        async with self._starting:
            workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.stop() for worker in workers))

    async def _start(self) -> None:
        worker = WorkerProcess(self._spec, self._log, self._forks)
        try:
            await worker.start()
        except WorkerDiedError as error:
            await worker.stop()
            if self.versions:
                raise
            raise UsageError.of(
                "the flow does not load",
                where=self._spec.name,
                found=f"{error.reason} while it loaded the flow",
                fix=f"The flow's own output is in {self._log}.",
            ) from error
        except BaseException:
            await worker.stop()
            raise
        self._workers.append(worker)
        self.versions = worker.versions

    async def _grow(self) -> None:
        """Add processes while all of them compute without a pause."""
        saturated = 0
        while len(self._workers) < self._max_workers:
            before = {worker: worker.cpu_s for worker in self._workers}
            await asyncio.sleep(GROW_INTERVAL_S)
            spent = [worker.cpu_s - before.get(worker, worker.cpu_s) for worker in self._workers]
            saturated = saturated + 1 if spent and min(spent) > SATURATED * GROW_INTERVAL_S else 0
            if saturated == GROW_AFTER:
                saturated = 0
                async with self._starting:
                    await self._start()

    async def run(self, tasks: Iterable[Task[T]], finished: Callable[[T, StoredLine], None]) -> None:
        """Run every task once and report each as it finishes, in any order.

        Args:
            tasks: read lazily; at most `concurrency` are held.
            finished: called on the event loop; durable storing belongs here.
        """
        source = iter(tasks)
        suspects: list[Task[T]] = []

        async def feed() -> None:
            for task in source:
                line = await self.attempt(task, final=False)
                if line is None:
                    suspects.append(task)
                else:
                    finished(task.tag, line)

        growing = asyncio.ensure_future(self._grow())
        try:
            await run_all(feed() for _ in range(self._concurrency))
        finally:
            growing.cancel()
            await asyncio.gather(growing, return_exceptions=True)
        for task in suspects:
            line = await self.attempt(task, final=True)
            assert line is not None
            finished(task.tag, line)

    async def attempt(self, task: Task[T], *, final: bool) -> StoredLine | None:
        """Run a line; None means that the worker died or froze under it and it deserves another try."""
        while True:
            worker = await self.worker()
            try:
                answer = await worker.line(task.inputs, timeout_s=self._line_timeout_s, repeat=task.repeat)
                return _stored(answer, self._settle(answer["id"]) if self._settle else NO_USE)
            except WorkerReplacedError:
                continue
            except TimeoutError:
                is_frozen = not final and not await worker.responds()
                await self._replace(worker)
                if is_frozen:
                    return None
                message = f"no answer within {self._line_timeout_s:g} s (line_timeout_s)"
                return _failed(LineError(type="LineTimeout", message=message), self._line_timeout_s)
            except WorkerDiedError as error:
                await self._replace(worker)
                if final:
                    return _failed(LineError(type="WorkerDied", message=error.reason))
                return None

    async def _replace(self, worker: WorkerProcess) -> None:
        async with self._starting:
            if worker in self._workers:
                self._workers.remove(worker)
        await worker.stop()


async def run_all(coroutines: Iterable[Any]) -> None:
    """Await all; when one fails or the caller is cancelled, cancel the others and wait for them."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _stored(answer: Mapping[str, Any], use: LineUse) -> StoredLine:
    """Build the line; one that was refused a model call is not measured, whatever the flow made of the refusal."""
    error = use.refusal or answer.get("error")
    return StoredLine(
        status="unmeasured" if use.refusal else answer["status"],
        outputs=None if use.refusal else answer.get("outputs"),
        error=to_json(error) if error else None,
        duration_s=answer["duration_s"],
        tokens=use.tokens,
        cost_usd=use.cost_usd,
        stand_in=use.stand_in,
        aggregation_inputs={} if use.refusal else answer.get("aggregation_inputs") or {},
    )


def _failed(error: LineError, duration_s: float = 0.0) -> StoredLine:
    return StoredLine(
        status="failed", outputs=None, error=to_json(error), duration_s=duration_s, tokens={}, aggregation_inputs={}
    )
