"""One serving process: started with its secrets on a pipe, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from llmops.engine.fork_server import WORKER_FOLDER
from llmops.engine.worker_process import mask

LOAD_TIMEOUT_S = 300.0
_STOP_S = 10.0
_LINE_LIMIT = 2**24


class FlowRefusedError(Exception):
    """The flow does not load; trying again will not help unless something around it changes."""


class ProcessDiedError(Exception):
    """The process ended, or did not come to listen."""


class ServingCode(NamedTuple):
    """Folders of the program that serves, and of the worker whose way to load flows it shares."""

    child: Path
    worker: Path


INSTALLED = ServingCode(child=Path(__file__).with_name("child"), worker=WORKER_FOLDER)


@dataclass(frozen=True, kw_only=True)
class ServingSpec:
    """What a serving process needs.

    Attributes:
        kind: as the flow says; `callable` needs no prompt flow in the interpreter.
        folder: the flow's folder, working directory of the process.
        flow_file: name of the definition in it.
        entry: `module:name` of a callable.
        init: arguments of the class that the flow is.
        nodes: node to the settings that overlay it.
        threads: calls of a callable that may be in progress at once.
        paths: import roots, the folder first.
        connections: name to `{type, configs, secrets}` with the real values; they travel through the pipe only.
        code: that the process runs.
    """

    kind: str
    folder: Path
    flow_file: str
    paths: Sequence[Path]
    python: str
    entry: str = ""
    init: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 64
    variants: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    code: ServingCode = INSTALLED


def copy_code(into: Path) -> ServingCode:
    """Copy the code of serving processes, so that it stays what this process understands when llmops is upgraded.

    Args:
        into: a folder that does not exist.
    """
    for name, source in INSTALLED._asdict().items():
        shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__"))
    return ServingCode(child=into / "child", worker=into / "worker")


class ServingProcess:
    """A process that serves one flow on a loopback port; it ends when this process does."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, pump: asyncio.Future[None]) -> None:
        self._process = process
        self._pump = pump
        self.port = port
        self.pid = process.pid

    @classmethod
    async def start(cls, spec: ServingSpec, log: Path) -> ServingProcess:
        """Start a process and return when it listens.

        Raises:
            FlowRefusedError: the interpreter does not start, or the flow does not load; says what it raised.
            ProcessDiedError: it ended or hung before it listened.
        """
        process = await _spawn(spec)
        pump = asyncio.ensure_future(_pump_log(process, log, spec.secrets))
        try:
            hello = await asyncio.wait_for(_greet(process, spec), LOAD_TIMEOUT_S)
        except asyncio.TimeoutError as error:
            _kill_session(process)
            await _end(process, pump)
            raise ProcessDiedError(f"it did not listen within {LOAD_TIMEOUT_S:g} s") from error
        except BaseException:
            _kill_session(process)  # it answers nobody yet, and one that hangs while it loads does not see its pipe end
            await _end(process, pump)
            raise
        if hello.get("op") == "listening":
            return cls(process, hello["port"], pump)
        await _end(process, pump)
        if "error" in hello:
            raise FlowRefusedError(_say(hello["error"], spec))
        raise ProcessDiedError(f"it {_how_it_ended(process.returncode)} while it loaded the flow")

    async def wait(self) -> str:
        """Return how the process ended, once it has."""
        code = await self._process.wait()
        return _how_it_ended(code)

    def kill(self) -> None:
        """End the process at once; `wait` returns soon."""
        _kill_session(self._process)

    async def stop(self) -> None:
        """End the process; what it is answering is broken off, so drain it first."""
        await _end(self._process, self._pump)


async def _spawn(spec: ServingSpec) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            spec.python,
            str(spec.code.worker),
            "_llmops_serving",
            str(spec.code.child),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=spec.folder,
            limit=_LINE_LIMIT,
            start_new_session=True,
        )
    except OSError as error:
        raise FlowRefusedError(f"the interpreter does not start: {spec.python}: {error}") from error


async def _greet(process: asyncio.subprocess.Process, spec: ServingSpec) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    message = {
        "kind": spec.kind,
        "folder": str(spec.folder),
        "flow_file": spec.flow_file,
        "entry": spec.entry,
        "init": dict(spec.init),
        "threads": spec.threads,
        "paths": list(map(str, spec.paths)),
        "variants": dict(spec.variants),
        "nodes": {name: dict(settings) for name, settings in spec.nodes.items()},
        "connections": {name: dict(value) for name, value in spec.connections.items()},
        "environment_variables": dict(spec.environment_variables),
    }
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(json.dumps(message).encode() + b"\n")
        await process.stdin.drain()
    raw = await process.stdout.readline()
    hello: dict[str, Any] = json.loads(raw) if raw.strip() else {}
    return hello


async def _end(process: asyncio.subprocess.Process, pump: asyncio.Future[None]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), _STOP_S)
    except asyncio.TimeoutError:
        pass
    finally:
        # Its own session: what the flow started goes too, also when the process itself ended first.
        _kill_session(process)
        await process.wait()
    await asyncio.wait({pump}, timeout=_STOP_S)
    pump.cancel()


def _kill_session(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def _pump_log(process: asyncio.subprocess.Process, log: Path, secrets: Sequence[str]) -> None:
    """Copy what the process writes to its log, whole lines at a time, without secrets."""
    assert process.stderr is not None
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as handle:
        while chunk := await _read_lines(process.stderr):
            handle.write(mask(chunk.decode("utf-8", "replace"), secrets).encode("utf-8", "replace"))
            handle.flush()


async def _read_lines(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.read(error.consumed)


def _say(error: Mapping[str, Any], spec: ServingSpec) -> str:
    place = f" (node {error['node']})" if error.get("node") else ""
    return mask(f"{error['type']}{place}: {error['message']}", spec.secrets)


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
