"""Runs on this machine: the engine, the line cache and run folders under `.llmops/`."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from llmops.backends.line_counts import LineCounts
from llmops.backends.local.ahead import FinishedLine, FinishedLines
from llmops.backends.local.loaded import LoadedFlow, LoadedFlows
from llmops.backends.planned_lines import (
    PlannedLine,
    identify_target,
    plan_evaluation,
    plan_lines,
    slug_of,
    takes_failed_lines,
)
from llmops.backends.protocols import Progress, RunLog, RunRequest
from llmops.backends.recorded import RecordedRuns
from llmops.config.connections import identity, reach_stand_in
from llmops.config.images import with_digests, with_places
from llmops.core.documents import to_json
from llmops.core.latency import summarize_latency
from llmops.engine.cache import ENGINE_VERSION, LineCache, StoredLine, line_key
from llmops.engine.lines import LineRunner, Task, run_all
from llmops.engine.loop import Loop
from llmops.engine.models import ModelServices
from llmops.errors import LlmopsError, UsageError
from llmops.records import Line, LineError, ModelCalls, RunRecord

AGGREGATION_TIMEOUT_S = 3600.0
MISSES_SHOWN = 5
AHEAD = 8
"""Lines for each line in flight that an evaluation may be behind the run which it evaluates."""
MOST_ROWS_RESAMPLED = 5000


class LocalRuns:
    """`Runs` on the embedded engine; what a run loads is there for the next one, until `close`.

    Args:
        state: the project's `.llmops/` folder.
        cache: the line cache in it.
        services: knows how a worker reaches the models.
    """

    def __init__(self, state: Path, cache: LineCache, services: ModelServices) -> None:
        self.state = state
        self.cache = cache
        self.services = services
        self.loaded = LoadedFlows(state, services)
        self._loop = Loop()

    def run(self, requests: Sequence[RunRequest], progress: Progress) -> Sequence[RunRecord | LlmopsError]:
        """See `Runs.run`."""
        self.loaded.announce(requests)
        return self._loop.run(self._run_all(requests, progress))

    def close(self) -> None:
        """End all workers."""
        try:
            self._loop.run(self.loaded.close())
        finally:
            self._loop.close()

    @property
    def recorded(self) -> RecordedRuns:
        """The records and lines of the project."""
        return RecordedRuns(self.state)

    def count_missing(self, request: RunRequest) -> int:
        """See `KeepsLines.count_missing`; for a run of a flow itself."""
        return self._loop.run(self._count_missing(request))

    async def _count_missing(self, request: RunRequest) -> int:
        job = _Job(request=request, runs=self, progress=_NoProgress(), target=None)
        return sum(1 for _ in job.missing())

    def lines(self, run: RunRecord) -> Iterator[Line]:
        """See `Runs.lines`."""
        return self.recorded.lines(run)

    def find(self, run_id: str) -> RunRecord | None:
        """See `Runs.find`."""
        return self.recorded.find(run_id)

    def list_all(self) -> Sequence[RunRecord]:
        """See `Runs.list_all`."""
        return self.recorded.list_all()

    def read_log(self, run_id: str) -> RunLog:
        """See `Runs.read_log`; a run shows up here once it has ended."""
        return self.recorded.read_log(run_id)

    def submit(self, requests: Sequence[RunRequest]) -> Sequence[RunRecord]:
        """See `Runs.submit`; nothing of this machine runs unwatched."""
        del requests
        raise UsageError.of(
            "the backend 'local' runs only while it is watched",
            where="--detach",
            fix="Leave --detach out, or name an environment of the backend azure.",
        )

    def wait(self, run_id: str, progress: Progress) -> RunRecord:
        """See `Runs.wait`; a run that is known here has ended."""
        del progress
        return self.recorded.require(run_id)

    def cancel(self, run_id: str) -> None:
        """See `Runs.cancel`; a run that is known here has ended."""
        self.recorded.require(run_id)

    async def _run_all(self, requests: Sequence[RunRequest], progress: Progress) -> Sequence[RunRecord | LlmopsError]:
        jobs: dict[int, _Job] = {}
        for request in requests:
            target = jobs[id(request.target)] if isinstance(request.target, RunRequest) else request.target
            jobs[id(request)] = _Job(request=request, runs=self, progress=progress, target=target)
        tasks = [asyncio.ensure_future(job.run()) for job in jobs.values()]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _NoProgress:
    """Where nothing runs."""

    def update(self, label: str, *, done: int, total: int, failed: int = 0, unmeasured: int = 0) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(eq=False)
class _Job:
    """One request on its way to a record."""

    request: RunRequest
    runs: LocalRuns
    progress: Progress
    target: _Job | RunRecord | None
    record: asyncio.Future[RunRecord | LlmopsError] = field(init=False)
    works: asyncio.Event = field(default_factory=asyncio.Event)
    _target: RunRecord | None = None
    _loaded: LoadedFlow | None = None
    _done: int = 0
    _failed: int = 0
    _unmeasured: int = 0
    _asked: int = 0
    _in_flight: set[str] = field(default_factory=set)
    _unmeasured_ahead: set[str] = field(default_factory=set)
    _followers: list[FinishedLines] = field(default_factory=list)
    _started_at: str = ""

    def __post_init__(self) -> None:
        self.record = asyncio.get_running_loop().create_future()
        self._started_at = _now()

    async def run(self) -> RunRecord | LlmopsError:
        try:
            outcome = await self._attempt()
        except LlmopsError as error:
            if self.request.is_required:
                self.record.cancel()
                raise
            outcome = error
        except BaseException:
            self.record.cancel()
            raise
        finally:
            for follower in self._followers:
                follower.end()
        self.record.set_result(outcome)
        return outcome

    async def _attempt(self) -> RunRecord | LlmopsError:
        target = await self._await_target()
        if isinstance(target, LlmopsError):
            return target
        self._target = target
        return self._recorded() or await self._execute()

    async def _await_target(self) -> RunRecord | LlmopsError | None:
        """Wait for the run to evaluate; if it really runs, load the evaluation flow and evaluate what is finished."""
        if not isinstance(self.target, _Job):
            return self.target
        working = asyncio.ensure_future(self.target.works.wait())
        waited: set[asyncio.Future[Any]] = {working, self.target.record}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        if not self.target.record.done():
            lines = self.target.follow(self.request.concurrency)
            await (await self._runner()).worker()
            if not self.runs.services.runs_again:
                await self._run_ahead(lines)
        return await self.target.record

    def follow(self, takers: int) -> FinishedLines:
        """Return where lines will be found as they finish."""
        lines = FinishedLines(most=AHEAD * takers, takers=takers)
        self._followers.append(lines)
        return lines

    async def _run_ahead(self, lines: FinishedLines) -> None:
        """Measure lines of the target while it runs, into the cache; what comes of them is counted afterwards."""
        runner = await self._runner()

        async def feed() -> None:
            while (found := await lines.take()) is not None:
                for planned in plan_evaluation(self.request, *found):
                    await self._run_one_ahead(runner, self._with_key(planned))

        await run_all(feed() for _ in range(self.request.concurrency))

    async def _run_one_ahead(self, runner: LineRunner, planned: PlannedLine) -> None:
        if planned.error or planned.key in self._in_flight or self.runs.cache.find([planned.key]):
            return
        self._in_flight.add(planned.key)
        line = await runner.attempt(self._task(planned), final=False)
        self._in_flight.discard(planned.key)
        if line is None:
            return  # its worker died; after the run it has another try
        self._store(planned.key, line)
        if not line.is_final:
            self._unmeasured_ahead.add(planned.key)

    def _store(self, key: str, line: StoredLine) -> None:
        self.runs.cache.store(key, line)
        self._asked += 1

    def _recorded(self) -> RunRecord | None:
        """Return the record of an earlier invocation if every line of it was measured."""
        record = self.runs.find(self._id)
        if record is None or record.unmeasured or record.aggregation_error or self.runs.services.runs_again:
            return None
        if not self.runs.recorded.has_lines(record.id):
            return None
        self.progress.update(
            self.request.label, done=record.lines, total=record.lines, failed=record.failed, unmeasured=0
        )
        return replace(record, cached=record.lines, model_calls=None)

    async def _execute(self) -> RunRecord:
        self.progress.update(self.request.label, done=0, total=self._total)
        missing = self.missing()
        first = next(missing, None)
        if first is not None:
            self.works.set()
            runner = await self._runner()
            self.runs.services.check_reachable(self.request.connections)
            await runner.worker()
            await runner.run(_chain(first, missing), self._finished)
        counts = self._write_lines()
        if counts.misses:
            raise _unfit_recording(self.request, counts.misses)
        metrics, aggregation_error = await self._aggregate(counts.digest) if counts.completed else ({}, None)
        resampled = await self._resample(counts) if metrics else {}
        record = replace(self._build_record(counts, metrics, aggregation_error), resampled=resampled)
        self.runs.recorded.write(record)
        return record

    @cached_property
    def _id(self) -> str:
        request = self.request
        parts: list[Any] = [ENGINE_VERSION, self._identity, request.dataset.digest, dict(request.column_mapping)]
        parts += [request.repeats, identify_target(request, self._target)]
        if request.rows is not None:
            parts.append(list(request.rows))
        if request.resamples:
            parts.append(f"{request.resamples} samples")
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return f"{slug_of(self.request.source)}-{digest[:12]}"

    @cached_property
    def _identity(self) -> str:
        """Digest over all that decides a line's outcome but its inputs."""
        request = self.request
        flow = request.source.flow
        parts = [
            request.source.ref.digest,
            [flow.definition, flow.entry],
            dict(request.source.ref.variants),
            [to_json(request.source.ref.nodes), dict(request.source.ref.init), request.source.ref.python],
            {name: identity(connection) for name, connection in request.connections.items()},
            dict(request.environment_variables),
        ]
        parts += [peculiarity] if (peculiarity := self.runs.services.peculiarity) else []
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def _total(self) -> int:
        asked = self.request.rows
        rows = (self.request.dataset.rows if asked is None else len(asked)) * self.request.repeats
        if self._target is None:
            return rows
        failed = self._target.failed if takes_failed_lines(self.request) else 0
        return (self._target.completed + failed) * self.request.repeats

    def _planned(self) -> Iterator[PlannedLine]:
        """Yield every line of the request with the key of its answer in the cache."""
        return map(self._with_key, plan_lines(self.request, self._target, self.runs.lines))

    def _with_key(self, planned: PlannedLine) -> PlannedLine:
        if planned.error:
            return planned
        inputs = with_digests(planned.inputs, self._folder)
        return planned._replace(key=line_key(self._identity, inputs, planned.repeat))

    def _task(self, planned: PlannedLine) -> Task[PlannedLine]:
        return Task(tag=planned, inputs=with_places(planned.inputs, self._folder), repeat=planned.repeat)

    @property
    def _folder(self) -> Path:
        """The folder that paths of images in the rows are relative to."""
        return self.request.data.parent

    def missing(self) -> Iterator[Task[PlannedLine]]:
        """Yield what no run before has measured, each line once, and count the others."""
        for planned in self._planned():
            if planned.error is not None:
                self._count("unmeasured")
                continue
            stored = self.runs.cache.find([planned.key]).get(planned.key)
            is_known = stored is not None and (stored.is_final or planned.key in self._unmeasured_ahead)
            if stored is not None and is_known and not self.runs.services.runs_again:
                self._count(stored.status)
            elif planned.key in self._in_flight:
                self._count("completed")
            else:
                self._in_flight.add(planned.key)
                yield self._task(planned)

    def _finished(self, planned: PlannedLine, line: StoredLine) -> None:
        self._store(planned.key, line)
        self._in_flight.discard(planned.key)
        self._count(line.status)
        for follower in self._followers:
            follower.offer(FinishedLine(planned.data, _as_line(planned, line)))

    def _count(self, status: str) -> None:
        self._done += 1
        self._failed += status == "failed"
        self._unmeasured += status == "unmeasured"
        self.progress.update(
            self.request.label, done=self._done, total=self._total, failed=self._failed, unmeasured=self._unmeasured
        )

    @property
    def _log(self) -> Path:
        return self.runs.state / "logs" / f"{slug_of(self.request.source)}-{self._identity[:12]}.log"

    async def _runner(self) -> LineRunner:
        """Return what runs lines of this flow."""
        if self._loaded is None:
            self._loaded = await self.runs.loaded.get(self.request, self._identity, self._log)
        return self._loaded.runner

    def _stored_lines(self) -> Iterator[Line]:
        for planned in self._planned():
            if planned.error is not None:
                yield Line(row=planned.row, repeat=planned.repeat, status="unmeasured", inputs={}, error=planned.error)
                continue
            stored = self.runs.cache.find([planned.key]).get(planned.key)
            if stored is None:
                raise UsageError.of(
                    "a finished line is gone from the line cache",
                    where=f"{self.request.label}: row {planned.row}",
                    fix="Run the same command again; it runs what is missing.",
                )
            yield _as_line(planned, stored)

    def _write_lines(self) -> LineCounts:
        counts = LineCounts()

        def texts() -> Iterator[str]:
            for line in self._stored_lines():
                counts.add(line)
                yield json.dumps(to_json(line), ensure_ascii=False)

        self.runs.recorded.write_lines(self._id, texts())
        return counts

    async def _aggregate(self, lines_digest: str) -> tuple[Mapping[str, Any], LineError | None]:
        """Run the aggregation nodes over the completed lines, unless the same lines were aggregated before."""
        if not self._aggregates():
            return {}, None
        key = hashlib.sha256(f"{ENGINE_VERSION}:{self._identity}:{lines_digest}".encode()).hexdigest()
        known = self.runs.cache.find_aggregation(key)
        if known is not None:
            return known, None
        worker = await (await self._runner()).worker()
        metrics: Mapping[str, Any] = {}
        error: LineError | None = None
        if worker.has_aggregation:
            metrics, error = await worker.aggregate(*self._to_aggregate(), timeout_s=AGGREGATION_TIMEOUT_S)
        if error is None:
            self.runs.cache.store_aggregation(key, metrics)
        return metrics, error

    def _to_aggregate(self) -> tuple[Mapping[str, Sequence[Any]], Mapping[str, Sequence[Any]]]:
        """Return the inputs and the aggregation inputs of the completed lines, name to one value per line."""
        inputs: dict[str, list[Any]] = {}
        aggregation_inputs: dict[str, list[Any]] = {}
        for line in self._stored_lines():
            if line.status == "completed":
                _append(inputs, with_places(line.inputs, self._folder))
                _append(aggregation_inputs, line.aggregation_inputs)
        return inputs, aggregation_inputs

    async def _resample(self, counts: LineCounts) -> Mapping[str, Sequence[float | None]]:
        """Run the aggregation over bootstrap samples of the rows, where that was asked for, is possible and is free."""
        samples = self.request.resamples
        lines_per_row = self.request.repeats * (self._target.repeats if self._target else 1)
        rows = counts.completed // lines_per_row
        is_whole = counts.completed == counts.total == rows * lines_per_row
        if not samples or not is_whole or rows > MOST_ROWS_RESAMPLED or self._aggregation_asks_models():
            return {}
        parts = f"{ENGINE_VERSION}:{self._identity}:{counts.digest}:{samples} samples of {lines_per_row}"
        key = hashlib.sha256(parts.encode()).hexdigest()
        known = self.runs.cache.find_aggregation(key)
        if known is None:
            worker = await (await self._runner()).worker()
            known = await worker.resample(
                *self._to_aggregate(),
                samples=samples,
                rows=rows,
                lines_per_row=lines_per_row,
                timeout_s=AGGREGATION_TIMEOUT_S,
            )
            self.runs.cache.store_aggregation(key, known)
        return known

    def _aggregation_asks_models(self) -> bool:
        """Whether an aggregation node takes a connection, so that each run of it may cost money."""
        nodes = self.request.source.flow.data.get("nodes") or []
        aggregations = [node for node in nodes if isinstance(node, Mapping) and node.get("aggregation")]
        names = set(self.request.connections)

        def asks(node: Mapping[str, Any]) -> bool:
            inputs = set(map(str, (node.get("inputs") or {}).values()))
            return node.get("type") == "llm" or bool(node.get("connection")) or bool(names & inputs)

        return any(map(asks, aggregations))

    def _model_calls(self) -> ModelCalls | None:
        if self._loaded is None or self._loaded.account is None:
            return None
        return replace(self._loaded.account.summary(), prices_as_of=self.runs.services.prices_as_of)

    def _aggregates(self) -> bool:
        nodes = self.request.source.flow.data.get("nodes") or []
        is_dag = self.request.source.flow.kind == "dag"
        return not is_dag or any(isinstance(node, Mapping) and node.get("aggregation") for node in nodes)

    def _build_record(
        self, counts: LineCounts, metrics: Mapping[str, Any], aggregation_error: LineError | None
    ) -> RunRecord:
        request = self.request
        return RunRecord(
            id=self._id,
            experiment=request.experiment,
            flow=request.source.ref,
            dataset=request.dataset,
            column_mapping=request.column_mapping,
            environment=request.environment,
            connections={name: identity(connection) for name, connection in request.connections.items()},
            repeats=request.repeats,
            completed=counts.completed,
            failed=counts.failed,
            unmeasured=counts.unmeasured,
            cached=counts.total - self._asked,
            started_at=self._started_at,
            ended_at=_now(),
            tokens=counts.tokens,
            cost_usd=counts.cost_usd,
            latency_s=summarize_latency(counts.durations_s),
            model_calls=self._model_calls(),
            stand_in=counts.stand_in or reach_stand_in(request.connections),
            versions=self._loaded.runner.versions if self._loaded else {},
            target=self._target.id if self._target else None,
            metrics=metrics,
            aggregation_error=aggregation_error,
            lines_digest=counts.digest,
            log=self._log.name,
        )


def _unfit_recording(request: RunRequest, misses: Sequence[str]) -> UsageError:
    more = f"\nand {len(misses) - MISSES_SHOWN} more" if len(misses) > MISSES_SHOWN else ""
    return UsageError.of(
        f"the recording does not fit this run: {len(misses)} lines asked what it has no answer for",
        where=request.label,
        found="\n".join(misses[:MISSES_SHOWN]) + more,
        fix="Record again with `--record FILE`, or run without `--replay`.",
    )


def _append(columns: dict[str, list[Any]], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        columns.setdefault(name, []).append(value)


def _as_line(planned: PlannedLine, stored: StoredLine) -> Line:
    return Line(
        row=planned.row,
        repeat=planned.repeat,
        status=stored.status,
        inputs=planned.inputs,
        outputs=stored.outputs,
        error=LineError(**stored.error) if stored.error else None,
        duration_s=stored.duration_s,
        tokens=stored.tokens,
        cost_usd=stored.cost_usd,
        stand_in=stored.stand_in,
        aggregation_inputs=stored.aggregation_inputs,
    )


def _chain(first: Task[PlannedLine], rest: Iterator[Task[PlannedLine]]) -> Iterator[Task[PlannedLine]]:
    yield first
    yield from rest


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
