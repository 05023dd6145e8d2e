"""The driver's side of one worker process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from llmops.engine.child_process import ChildProcess, start_child
from llmops.engine.fork_server import ForkedProcess, ForkServers
from llmops.engine.pipes import Ends, Pipes, open_pipes, read_lines
from llmops.errors import UsageError
from llmops.records import LineError

LOAD_TIMEOUT_S = 300.0
_PING_S = 2.0
_REST_S = 1.0
"""For what a process wrote before it ended; longer only if another process writes to its pipes."""


class WorkerDiedError(Exception):
    """The process ended with lines in flight; `reason` says how."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WorkerReplacedError(Exception):
    """The driver ended the process on purpose; its lines run again and nothing is held against them."""


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """What a worker process needs to load a flow.

    Attributes:
        folder: the flow's folder, working directory of the process.
        flow_file: name of the definition in it; empty for a callable that is named by module.
        kind, entry: see `flows.model.Flow`.
        init: arguments of a class that is the flow.
        nodes: node to the settings that overlay it; see `config.model.Experiment`.
        paths: further import roots, after the folder.
        connections: name to `{type, configs, secrets}` with the real values; they travel through the pipe only.
        secrets: every value that must not appear in a log or a message.
        environ: environment that the process inherits; this process's own when None.
        withheld: values of environment variables that it does not inherit all the same: the model gateway has them.
        threads: lines that may be in flight.
        trace: whether a line's answer says what each node did; then lines run one at a time.
    """

    name: str
    folder: Path
    flow_file: str
    kind: str = "dag"
    entry: str = ""
    init: Mapping[str, Any] = field(default_factory=dict)
    paths: Sequence[Path] = ()
    variants: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    environ: Mapping[str, str] | None = None
    withheld: Sequence[str] = ()
    threads: int = 16
    python: str = sys.executable
    trace: bool = False


def mask(text: str, secrets: Sequence[str]) -> str:
    """Blank out every secret value in a text."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


class WorkerProcess:
    """One flow, loaded; lines run concurrently.

    Args:
        spec: what it loads.
        log: file that takes what the flow prints.
        forks: start it faster where they can; without them the interpreter starts anew.
    """

    def __init__(self, spec: WorkerSpec, log: Path, forks: ForkServers | None = None) -> None:
        self.spec = spec
        self._forks = forks
        self.has_aggregation = False
        self.versions: Mapping[str, str] = {}
        self.cpu_s = 0.0
        self._log = log
        self._ids = itertools.count()
        self._name = secrets.token_hex(4)
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._replaced = False
        self._process: asyncio.subprocess.Process | ForkedProcess | None = None
        self._pipes: Pipes | None = None
        self._tasks: list[asyncio.Future[None]] = []
        self._ping: asyncio.Future[bool] | None = None
        self._ended: Exception | None = None

    @property
    def in_flight(self) -> int:
        """Requests that have no answer yet."""
        return len(self._waiting)

    async def start(self) -> None:
        """Start the process and load the flow.

        Raises:
            UsageError: the flow does not load; the message holds what it raised.
            WorkerDiedError: the process ended while it loaded the flow.
        """
        self._pipes, ends = await open_pipes()
        inherited = os.environ if self.spec.environ is None else self.spec.environ
        environ = _environment(inherited, self.spec.withheld)
        try:
            self._process, is_forked = await self._start(ends, environ)
        finally:
            for descriptor in ends:
                os.close(descriptor)
        reading = [asyncio.ensure_future(self._read_log()), asyncio.ensure_future(self._read_answers())]
        self._tasks = [*reading, asyncio.ensure_future(self._watch(reading))]
        answer = await self._ask(
            "load", self._load_message(environ if is_forked else None), key="load", timeout_s=LOAD_TIMEOUT_S
        )
        if answer["op"] == "load_failed":
            await self.stop()
            raise self._load_error(self._line_error(answer["error"]))
        self.has_aggregation = answer["aggregation"]
        self.versions = answer["versions"]

    async def _start(self, ends: Ends, environ: Mapping[str, str]) -> ChildProcess:
        forks = None if self.spec.kind == "callable" else self._forks  # a fork saves the import of a framework
        try:
            return await start_child(self.spec.python, ends, folder=self.spec.folder, environ=environ, forks=forks)
        except OSError as error:
            raise UsageError.of(
                "the flow's Python interpreter does not start",
                where=self.spec.name,
                found=f"{self.spec.python}: {error}",
            ) from error

    def _load_message(self, environ: Mapping[str, str] | None) -> dict[str, Any]:
        return {
            "environ": environ,
            "flow_file": self.spec.flow_file,
            "kind": self.spec.kind,
            "entry": self.spec.entry,
            "init": dict(self.spec.init),
            "folder": str(self.spec.folder),
            "paths": list(dict.fromkeys(map(str, (self.spec.folder, *self.spec.paths)))),
            "variants": dict(self.spec.variants),
            "nodes": {name: dict(settings) for name, settings in self.spec.nodes.items()},
            "connections": {name: dict(value) for name, value in self.spec.connections.items()},
            "environment_variables": dict(self.spec.environment_variables),
            "threads": self.spec.threads,
            "trace": self.spec.trace,
        }

    def _load_error(self, error: LineError) -> UsageError:
        place = f"{self.spec.name} (node {error.node})" if error.node else self.spec.name
        found = f"{error.type}: {error.message}" + (f"\n{error.traceback.rstrip()}" if error.traceback else "")
        fix = (
            "Run `llmops setup`."
            if error.type == "LlmToolMissingError"
            else f"The flow's own output is in {self._log}."
        )
        return UsageError.of("the flow does not load", where=place, found=found, fix=fix)

    async def line(self, inputs: Mapping[str, Any], *, timeout_s: float, repeat: int = 0) -> dict[str, Any]:
        """Run one line.

        Args:
            repeat: index of the measurement; the line's id has it in front, where the model gateway looks for it.

        Returns:
            The worker's answer; see `worker/protocol.md`.

        Raises:
            TimeoutError: no answer in time; the caller replaces the worker.
            WorkerDiedError, WorkerReplacedError: see there.
        """
        answer = await self._ask(
            "line", {"inputs": inputs}, key=f"{repeat}-{self._name}-{next(self._ids)}", timeout_s=timeout_s
        )
        if answer.get("error"):
            answer["error"] = self._line_error(answer["error"])
        return answer

    async def responds(self) -> bool:
        """Tell whether the process still reads its messages; one that is frozen holds up every line in it."""
        if self._ping is None or self._ping.done():
            self._ping = asyncio.ensure_future(self._answers_ping())
        return await asyncio.shield(self._ping)

    async def _answers_ping(self) -> bool:
        try:
            await self._ask("ping", {}, key=f"ping-{next(self._ids)}", timeout_s=_PING_S)
        except (TimeoutError, WorkerDiedError, WorkerReplacedError):
            return False
        return True

    async def aggregate(
        self, inputs: Mapping[str, Sequence[Any]], aggregation_inputs: Mapping[str, Sequence[Any]], *, timeout_s: float
    ) -> tuple[Mapping[str, Any], LineError | None]:
        """Run the aggregation nodes over all lines; return the logged metrics and what they raised."""
        body = {"inputs": inputs, "aggregation_inputs": aggregation_inputs}
        answer = await self._ask("aggregate", body, key=f"aggregate-{next(self._ids)}", timeout_s=timeout_s)
        return answer["metrics"], self._line_error(answer["error"]) if answer["error"] else None

    async def resample(
        self,
        inputs: Mapping[str, Sequence[Any]],
        aggregation_inputs: Mapping[str, Sequence[Any]],
        *,
        samples: int,
        rows: int,
        lines_per_row: int,
        timeout_s: float,
    ) -> Mapping[str, Sequence[float | None]]:
        """Run the aggregation nodes over bootstrap samples of the rows; return the numbers that they logged."""
        body = {
            "inputs": inputs,
            "aggregation_inputs": aggregation_inputs,
            "samples": samples,
            "rows": rows,
            "lines_per_row": lines_per_row,
        }
        answer = await self._ask("resample", body, key=f"resample-{next(self._ids)}", timeout_s=timeout_s)
        metrics: Mapping[str, Sequence[float | None]] = answer["metrics"]
        return metrics

    async def stop(self) -> None:
        """End the process and everything that it started."""
        self._replaced = True
        if self._process is not None:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._pipes is not None:
            self._pipes.close()

    async def _ask(self, op: str, body: Mapping[str, Any], *, key: str, timeout_s: float) -> dict[str, Any]:
        if self._ended is not None:
            raise self._ended
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        data = json.dumps({"op": op, "id": key, **body}, ensure_ascii=False, default=str)
        assert self._pipes is not None
        try:
            self._pipes.stdin.write(data.encode("utf-8", "surrogatepass") + b"\n")
            await self._pipes.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # the reader of answers says how the process ended
        try:
            return await asyncio.wait_for(future, timeout_s)
        except asyncio.TimeoutError:
            raise TimeoutError from None
        finally:
            self._waiting.pop(key, None)

    async def _read_answers(self) -> None:
        assert self._pipes is not None
        while raw := await self._pipes.stdout.readline():
            answer = json.loads(raw)
            self.cpu_s = answer.get("cpu_s", self.cpu_s)
            future = self._waiting.get(answer.get("id", "load"))
            if future is not None and not future.done():
                future.set_result(answer)

    async def _watch(self, reading: Sequence[asyncio.Future[None]]) -> None:
        """Wait for the end of the process, not of its pipes: what a flow forked may hold those open for ever."""
        assert self._process is not None and self._pipes is not None
        code = await self._process.wait()
        _, unfinished = await asyncio.wait(reading, timeout=_REST_S)
        for task in unfinished:
            task.cancel()
        self._ended = WorkerReplacedError() if self._replaced else WorkerDiedError(_how_it_ended(code))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._ended)

    async def _read_log(self) -> None:
        assert self._pipes is not None
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            while chunk := await read_lines(self._pipes.stderr):
                self._append(log, chunk)

    def _append(self, log: BinaryIO, chunk: bytes) -> None:
        log.write(mask(chunk.decode("utf-8", "replace"), self.spec.secrets).encode())
        log.flush()

    def _line_error(self, error: Mapping[str, Any]) -> LineError:
        return LineError(
            type=error["type"],
            message=mask(error["message"], self.spec.secrets),
            node=error["node"],
            traceback=mask(error["traceback"], self.spec.secrets).replace(f"{self.spec.folder}{os.sep}", ""),
        )


def _environment(env: Mapping[str, str], withheld: Sequence[str]) -> dict[str, str]:
    """Leave out what is withheld, and keep a proxy out of the way to the model gateway, which is on this machine."""
    kept = env.get("no_proxy") or env.get("NO_PROXY")
    direct = f"{kept},127.0.0.1" if kept else "127.0.0.1"
    inherited = {name: value for name, value in env.items() if value not in withheld}
    return {**inherited, "NO_PROXY": direct, "no_proxy": direct}


def _how_it_ended(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the worker process was ended by {name}{hint}"
    return f"the worker process ended with exit code {code}"
