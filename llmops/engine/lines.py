"""Run lines with bounded concurrency; survive time-outs and crashes of the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from llmops.core.documents import to_json
from llmops.engine.cache import StoredLine
from llmops.engine.worker_process import WorkerDiedError, WorkerProcess, WorkerReplacedError, WorkerSpec
from llmops.records import LineError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Task(Generic[T]):
    """One line to run; `tag` is the caller's name for it."""

    tag: T
    inputs: Mapping[str, Any]


@dataclass
class LineRunner:
    """Feeds lines to one worker process, which is replaced when it hangs or dies.

    A line that is in flight when the worker dies runs once more, alone, so that only the guilty line fails.
    """

    spec: WorkerSpec
    log: Path
    concurrency: int
    line_timeout_s: float
    _worker: WorkerProcess | None = None
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def worker(self) -> WorkerProcess:
        """Return the running worker; start it when there is none.

        Raises:
            UsageError: the flow does not load.
        """
        async with self._starting:
            if self._worker is None:
                worker = WorkerProcess(self.spec, self.log)
                try:
                    await worker.start()
                except BaseException:
                    await worker.stop()
                    raise
                self._worker = worker
            return self._worker

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions that the worker reported; empty before it started."""
        return self._worker.versions if self._worker else {}

    async def close(self) -> None:
        """End the worker."""
        async with self._starting:
            worker, self._worker = self._worker, None
        if worker is not None:
            await worker.stop()

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
                line = await self._attempt(task, final=False)
                if line is None:
                    suspects.append(task)
                else:
                    finished(task.tag, line)

        await _all(feed() for _ in range(self.concurrency))
        for task in suspects:
            line = await self._attempt(task, final=True)
            assert line is not None
            finished(task.tag, line)

    async def _attempt(self, task: Task[T], *, final: bool) -> StoredLine | None:
        """Run a line; None means that the worker died under it and it deserves another try."""
        while True:
            worker = await self.worker()
            try:
                return _stored(await worker.line(task.inputs, timeout_s=self.line_timeout_s))
            except WorkerReplacedError:
                continue
            except TimeoutError:
                await self._replace(worker)
                message = f"no answer within {self.line_timeout_s:g} s (line_timeout_s)"
                return _failed(LineError(type="LineTimeout", message=message), self.line_timeout_s)
            except WorkerDiedError as error:
                await self._replace(worker)
                if final:
                    return _failed(LineError(type="WorkerDied", message=error.reason))
                return None

    async def _replace(self, worker: WorkerProcess) -> None:
        async with self._starting:
            if self._worker is worker:
                self._worker = None
        await worker.stop()


async def _all(coroutines: Iterable[Any]) -> None:
    """Await all; when one fails or the caller is cancelled, cancel the others and wait for them."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _stored(answer: Mapping[str, Any]) -> StoredLine:
    error = answer.get("error")
    return StoredLine(
        status=answer["status"],
        outputs=answer.get("outputs"),
        error=to_json(error) if error else None,
        duration_s=answer["duration_s"],
        tokens=answer.get("tokens", {}),
        aggregation_inputs=answer.get("aggregation_inputs") or {},
    )


def _failed(error: LineError, duration_s: float = 0.0) -> StoredLine:
    return StoredLine(
        status="failed", outputs=None, error=to_json(error), duration_s=duration_s, tokens={}, aggregation_inputs={}
    )
