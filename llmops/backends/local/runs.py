"""Runs on this machine: the engine, the line cache and run folders under `.llmops/`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from llmops.backends.local.workers import find_python, worker_spec
from llmops.backends.protocols import FlowSource, Progress, RunRequest
from llmops.config.connections import identity
from llmops.config.data import read_rows
from llmops.config.images import with_digests, with_places
from llmops.core.documents import to_json
from llmops.core.mapping import ColumnMapping, all_columns, apply, complete, parse_mapping
from llmops.engine.cache import ENGINE_VERSION, LineCache, StoredLine, line_key
from llmops.engine.gateway.process import Account
from llmops.engine.lines import LineRunner, Task
from llmops.engine.models import ModelServices
from llmops.engine.worker_process import WorkerSpec
from llmops.errors import LlmopsError, UsageError
from llmops.flows.baseline import temporary_copy
from llmops.records import (
    Line,
    LineError,
    ModelCalls,
    RunRecord,
    line_from_json,
    read_record,
    write_record,
    write_stream,
)

AGGREGATION_TIMEOUT_S = 3600.0
MISSES_SHOWN = 5


class PlannedLine(NamedTuple):
    """A line that the request asks for; `error` is set when its inputs cannot be formed."""

    row: int
    repeat: int
    inputs: Mapping[str, Any]
    key: str
    error: LineError | None = None


@dataclass(frozen=True)
class LocalRuns:
    """`Runs` on the embedded engine.

    Args:
        state: the project's `.llmops/` folder.
        cache: the line cache in it.
        services: knows how a worker reaches the models.
    """

    state: Path
    cache: LineCache
    services: ModelServices

    def run(self, requests: Sequence[RunRequest], progress: Progress) -> Sequence[RunRecord | LlmopsError]:
        """See `Runs.run`."""
        return asyncio.run(self._run_all(requests, progress))

    def lines(self, run: RunRecord) -> Iterator[Line]:
        """See `Runs.lines`."""
        path = self.folder(run.id) / "lines.jsonl"
        try:
            with path.open(encoding="utf-8") as handle:
                for text in handle:
                    yield line_from_json(text)
        except FileNotFoundError:
            raise UsageError.of(
                "the run's lines are missing", where=str(path), fix="Run the same command again."
            ) from None

    def find(self, run_id: str) -> RunRecord | None:
        """See `Runs.find`."""
        path = self.folder(run_id) / "run.json"
        return read_record(path, RunRecord) if path.exists() else None

    def list_all(self) -> Sequence[RunRecord]:
        """See `Runs.list_all`."""
        records = [read_record(path, RunRecord) for path in (self.state / "runs").glob("*/run.json")]
        return sorted(records, key=lambda record: record.ended_at, reverse=True)

    def folder(self, run_id: str) -> Path:
        """Return the folder that holds a run's record and lines."""
        return self.state / "runs" / run_id

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
            await asyncio.gather(*(job.close() for job in jobs.values()))


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
    _runner: LineRunner | None = None
    _account: Account | None = None
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _done: int = 0
    _failed: int = 0
    _unmeasured: int = 0
    _asked: int = 0
    _in_flight: set[str] = field(default_factory=set)
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
        self.record.set_result(outcome)
        return outcome

    async def _attempt(self) -> RunRecord | LlmopsError:
        target = await self._await_target()
        if isinstance(target, LlmopsError):
            return target
        self._target = target
        return self._recorded() or await self._execute()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.close()
        self._open.close()

    async def _await_target(self) -> RunRecord | LlmopsError | None:
        """Wait for the run to evaluate; meanwhile load the evaluation flow if that run really runs."""
        if not isinstance(self.target, _Job):
            return self.target
        working = asyncio.ensure_future(self.target.works.wait())
        waited: set[asyncio.Future[Any]] = {working, self.target.record}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        if not self.target.record.done():
            await (await self._runner_for_missing()).worker()
        return await self.target.record

    def _recorded(self) -> RunRecord | None:
        """Return the record of an earlier invocation if every line of it was measured."""
        record = self.runs.find(self._id)
        if record is None or record.unmeasured or record.aggregation_error or self.runs.services.runs_again:
            return None
        if not (self.runs.folder(record.id) / "lines.jsonl").exists():
            return None
        self.progress.update(
            self.request.label, done=record.lines, total=record.lines, failed=record.failed, unmeasured=0
        )
        return replace(record, cached=record.lines, model_calls=None)

    async def _execute(self) -> RunRecord:
        self.progress.update(self.request.label, done=0, total=self._total)
        missing = self._missing()
        first = next(missing, None)
        if first is not None:
            self.works.set()
            runner = await self._runner_for_missing()
            self.runs.services.check_reachable(self.request.connections)
            await runner.worker()
            await runner.run(_chain(first, missing), self._finished)
        counts = self._write_lines()
        if counts.misses:
            raise _unfit_recording(self.request, counts.misses)
        metrics, aggregation_error = await self._aggregate(counts.digest) if counts.completed else ({}, None)
        record = self._build_record(counts, metrics, aggregation_error)
        write_record(self.runs.folder(record.id) / "run.json", record)
        return record

    @cached_property
    def _id(self) -> str:
        request = self.request
        parts: list[Any] = [ENGINE_VERSION, self._identity, request.dataset.digest, dict(request.column_mapping)]
        parts += [request.repeats, self._target.lines_digest if self._target else None]
        if request.rows is not None:
            parts.append(list(request.rows))
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return f"{_slug(self.request.source)}-{digest[:12]}"

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
        return rows if self._target is None else self._target.completed * self.request.repeats

    def _planned(self) -> Iterator[PlannedLine]:
        """Yield every line of the request in order, reading the data (and the target's lines) as a stream."""
        inputs = {name: entry.required for name, entry in self.request.source.flow.inputs.items()}
        mapping = complete(parse_mapping(self.request.column_mapping), inputs)
        rows = read_rows(self.request.data)
        if self._target is None:
            takes_all = not inputs and not self.request.column_mapping
            wanted = None if self.request.rows is None else frozenset(self.request.rows)
            for row in rows:
                if wanted is not None and row.number not in wanted:
                    continue
                by_name = all_columns(row.values) if takes_all else mapping
                for repeat in range(self.request.repeats):
                    yield self._plan(by_name, row.number, repeat, data=row.values)
            return
        row = next(rows)
        for line in self.runs.lines(self._target):
            while row.number < line.row:
                row = next(rows)
            if line.status == "completed":
                sources = {
                    "data": row.values,
                    "run_inputs": row.values,
                    "run_outputs": line.outputs or {},
                    "run_line": measured(line),
                }
                for repeat in range(self.request.repeats):
                    yield self._plan(mapping, line.row, line.repeat * self.request.repeats + repeat, **sources)

    def _plan(self, mapping: ColumnMapping, row: int, repeat: int, **sources: Mapping[str, Any]) -> PlannedLine:
        try:
            inputs = apply(mapping, **sources)
        except UsageError as error:
            problem = LineError(type="MissingValue", message=str(error))
            return PlannedLine(row, repeat, {}, "", problem)
        return PlannedLine(row, repeat, inputs, line_key(self._identity, with_digests(inputs, self._folder), repeat))

    @property
    def _folder(self) -> Path:
        """The folder that paths of images in the rows are relative to."""
        return self.request.data.parent

    def _missing(self) -> Iterator[Task[str]]:
        for planned in self._planned():
            if planned.error is not None:
                self._count("unmeasured")
                continue
            stored = self.runs.cache.find([planned.key]).get(planned.key)
            if stored is not None and stored.is_final and not self.runs.services.runs_again:
                self._count(stored.status)
            elif planned.key in self._in_flight:
                self._count("completed")
            else:
                self._in_flight.add(planned.key)
                inputs = with_places(planned.inputs, self._folder)
                yield Task(tag=planned.key, inputs=inputs, repeat=planned.repeat)

    def _finished(self, key: str, line: StoredLine) -> None:
        self.runs.cache.store(key, line)
        self._in_flight.discard(key)
        self._asked += 1
        self._count(line.status)

    def _count(self, status: str) -> None:
        self._done += 1
        self._failed += status == "failed"
        self._unmeasured += status == "unmeasured"
        self.progress.update(
            self.request.label, done=self._done, total=self._total, failed=self._failed, unmeasured=self._unmeasured
        )

    @property
    def _log(self) -> Path:
        return self.runs.state / "logs" / f"{_slug(self.request.source)}-{self._identity[:12]}.log"

    async def _runner_for_missing(self) -> LineRunner:
        if self._runner is None:
            spec = await self._worker_spec()
            self._runner = LineRunner(
                spec,
                self._log,
                concurrency=self.request.concurrency,
                line_timeout_s=self.request.line_timeout_s,
                settle=self._account.settle if self._account else None,
            )
        return self._runner

    async def _worker_spec(self) -> WorkerSpec:
        """Copy the flow's files, so that no edit during the run reaches it, and say how to load them."""
        source, services = self.request.source, self.runs.services
        copy = temporary_copy(source.tree, source.closure, self.runs.state / "tmp")
        root = self._open.enter_context(copy)
        python = await asyncio.to_thread(find_python, source, root, self.runs.state, services.env)
        connections = services.for_worker(self.request.label, self.request.connections)
        self._account = connections.account
        variables = services.expand(self.request.environment_variables)
        return worker_spec(self.request, root, connections, variables, python=python)

    def _stored_lines(self) -> Iterator[Line]:
        for planned in self._planned():
            if planned.error is not None:
                yield Line(row=planned.row, repeat=planned.repeat, status="unmeasured", inputs={}, error=planned.error)
                continue
            stored = self.runs.cache.find([planned.key])[planned.key]
            yield Line(
                row=planned.row,
                repeat=planned.repeat,
                status=stored.status,
                inputs=planned.inputs,
                outputs=stored.outputs,
                error=LineError(**stored.error) if stored.error else None,
                duration_s=stored.duration_s,
                tokens=stored.tokens,
                cost_usd=stored.cost_usd,
                aggregation_inputs=stored.aggregation_inputs,
            )

    def _write_lines(self) -> _Counts:
        counts = _Counts()

        def texts() -> Iterator[str]:
            for line in self._stored_lines():
                counts.add(line)
                yield json.dumps(to_json(line), ensure_ascii=False)

        write_stream(self.runs.folder(self._id) / "lines.jsonl", texts())
        return counts

    async def _aggregate(self, lines_digest: str) -> tuple[Mapping[str, Any], LineError | None]:
        """Run the aggregation nodes over the completed lines, unless the same lines were aggregated before."""
        if not self._aggregates():
            return {}, None
        key = hashlib.sha256(f"{ENGINE_VERSION}:{self._identity}:{lines_digest}".encode()).hexdigest()
        known = self.runs.cache.find_aggregation(key)
        if known is not None:
            return known, None
        inputs: dict[str, list[Any]] = {}
        aggregation_inputs: dict[str, list[Any]] = {}
        for line in self._stored_lines():
            if line.status == "completed":
                _append(inputs, with_places(line.inputs, self._folder))
                _append(aggregation_inputs, line.aggregation_inputs)
        worker = await (await self._runner_for_missing()).worker()
        metrics: Mapping[str, Any] = {}
        error: LineError | None = None
        if worker.has_aggregation:
            metrics, error = await worker.aggregate(inputs, aggregation_inputs, timeout_s=AGGREGATION_TIMEOUT_S)
        if error is None:
            self.runs.cache.store_aggregation(key, metrics)
        return metrics, error

    def _model_calls(self) -> ModelCalls | None:
        if self._account is None:
            return None
        return replace(self._account.summary(), prices_as_of=self.runs.services.prices_as_of)

    def _aggregates(self) -> bool:
        nodes = self.request.source.flow.data.get("nodes") or []
        is_dag = self.request.source.flow.kind == "dag"
        return not is_dag or any(isinstance(node, Mapping) and node.get("aggregation") for node in nodes)

    def _build_record(
        self, counts: _Counts, metrics: Mapping[str, Any], aggregation_error: LineError | None
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
            model_calls=self._model_calls(),
            stand_in=any(connection.type == "stand_in" for connection in request.connections.values()),
            versions=self._runner.versions if self._runner else {},
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


class _Counts:
    """What the record says of the lines, gathered while they are written."""

    def __init__(self) -> None:
        self.completed = self.failed = self.unmeasured = 0
        self.tokens: dict[str, int] = {}
        self.misses: list[str] = []
        self._usd = 0.0
        self._priced = self._unpriced = 0
        self._hash = hashlib.sha256()

    def add(self, line: Line) -> None:
        setattr(self, line.status, getattr(self, line.status) + 1)
        for name, number in line.tokens.items():
            self.tokens[name] = self.tokens.get(name, 0) + number
        self._usd += line.cost_usd or 0.0
        self._priced += line.cost_usd is not None
        self._unpriced += line.cost_usd is None and bool(line.tokens)
        if line.error is not None and line.error.type == "ReplayMiss":
            self.misses.append(f"row {line.row}: {line.error.message}")
        body = [line.row, line.repeat, line.status, line.inputs, line.outputs]
        self._hash.update(json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")

    @property
    def total(self) -> int:
        return self.completed + self.failed + self.unmeasured

    @property
    def cost_usd(self) -> float | None:
        return round(self._usd, 8) if self._priced and not self._unpriced else None

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _slug(source: FlowSource) -> str:
    """Name a flow in a file name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", posixpath.basename(source.ref.path)).strip("-.") or "flow"


def measured(line: Line) -> dict[str, float | None]:
    """Return what `${run.line.…}` refers to; None where it is not known."""
    tokens = {f"{kind}_tokens": line.tokens.get(kind) for kind in ("prompt", "completion", "total")}
    return {"row": line.row, "duration_s": line.duration_s, **tokens, "cost_usd": line.cost_usd}


def log_of(state: Path, record: RunRecord) -> Path | None:
    """Find the log of what a run's flow printed; None for a run of before logs were noted."""
    return state / "logs" / record.log if record.log else None


def _append(columns: dict[str, list[Any]], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        columns.setdefault(name, []).append(value)


def _chain(first: Task[str], rest: Iterator[Task[str]]) -> Iterator[Task[str]]:
    yield first
    yield from rest


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
