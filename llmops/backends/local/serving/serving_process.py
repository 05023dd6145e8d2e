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

from llmops.engine.child_process import ChildProcess, start_child
from llmops.engine.fork_server import WORKER_FOLDER, ForkedProcess, ForkServers
from llmops.engine.pipes import Pipes, open_pipes, read_lines
from llmops.engine.worker_process import mask

LOAD_TIMEOUT_S = 300.0
_STOP_S = 10.0


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
        environ: environment that the process inherits; this process's own when None.
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
    environ: Mapping[str, str] | None = None
    code: ServingCode = INSTALLED


def copy_code(into: Path) -> ServingCode:
    """Copy the code of serving processes, so that it stays what this process understands when llmops is upgraded.

    Args:
        into: a folder that does not exist.
    """
    for name, source in INSTALLED._asdict().items():
        shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__"))
    return ServingCode(child=into / "child", worker=into / "worker")


class _Child(NamedTuple):
    """The process and our ends of its pipes."""

    process: asyncio.subprocess.Process | ForkedProcess
    pipes: Pipes
    pump: asyncio.Future[None]

    def kill(self) -> None:
        """End the process, and what the flow started: it is a group of its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """End the process by closing its input; one that goes on is killed, and so is what it left behind."""
        self.pipes.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), _STOP_S)
        except asyncio.TimeoutError:
            pass
        finally:
            self.kill()  # what the flow started goes too, also when the process itself ended first
            await self.process.wait()
        await asyncio.wait({self.pump}, timeout=_STOP_S)
        self.pump.cancel()
        self.pipes.close()


class ServingProcess:
    """A process that serves one flow on a loopback port; it ends when this process does."""

    def __init__(self, child: _Child, port: int) -> None:
        self._child = child
        self.port = port
        self.pid = child.process.pid

    @classmethod
    async def start(cls, spec: ServingSpec, log: Path, forks: ForkServers | None = None) -> ServingProcess:
        """Start a process and return when it listens.

        Args:
            spec: what it serves.
            log: file that takes what it prints.
            forks: start it faster where they can; without them the interpreter starts anew.

        Raises:
            FlowRefusedError: the interpreter does not start, or the flow does not load; says what it raised.
            ProcessDiedError: it ended or hung before it listened.
        """
        environ = dict(os.environ if spec.environ is None else spec.environ)
        pipes, started = await _start(spec, environ, forks)
        child = _Child(started.process, pipes, asyncio.ensure_future(_pump_log(pipes, log, spec.secrets)))
        message = _message(spec, environ if started.is_forked else None)
        try:
            hello = await asyncio.wait_for(_greet(pipes, message), LOAD_TIMEOUT_S)
        except asyncio.TimeoutError as error:
            child.kill()
            await child.end()
            raise ProcessDiedError(f"it did not listen within {LOAD_TIMEOUT_S:g} s") from error
        except BaseException:
            child.kill()  # it answers nobody yet, and one that hangs while it loads does not see its pipe end
            await child.end()
            raise
        if hello.get("op") == "listening":
            return cls(child, hello["port"])
        await child.end()
        if "error" in hello:
            raise FlowRefusedError(_say(hello["error"], spec))
        raise ProcessDiedError(f"it {_how_it_ended(child.process.returncode)} while it loaded the flow")

    async def wait(self) -> str:
        """Return how the process ended, once it has."""
        code = await self._child.process.wait()
        return _how_it_ended(code)

    def kill(self) -> None:
        """End the process at once; `wait` returns soon."""
        self._child.kill()

    async def stop(self) -> None:
        """End the process; what it is answering is broken off, so drain it first."""
        await self._child.end()


async def _start(
    spec: ServingSpec, environ: Mapping[str, str], forks: ForkServers | None
) -> tuple[Pipes, ChildProcess]:
    pipes, ends = await open_pipes()
    try:
        return pipes, await start_child(
            spec.python,
            ends,
            folder=spec.folder,
            environ=environ,
            job=["_llmops_serving", str(spec.code.child)],
            code=spec.code.worker,
            forks=None if spec.kind == "callable" else forks,
        )
    except OSError as error:
        pipes.close()
        raise FlowRefusedError(f"the interpreter does not start: {spec.python}: {error}") from error
    finally:
        for descriptor in ends:
            os.close(descriptor)


def _message(spec: ServingSpec, environ: Mapping[str, str] | None) -> dict[str, Any]:
    return {
        "environ": environ,
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


async def _greet(pipes: Pipes, message: Mapping[str, Any]) -> dict[str, Any]:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipes.stdin.write(json.dumps(message).encode() + b"\n")
        await pipes.stdin.drain()
    raw = await pipes.stdout.readline()
    hello: dict[str, Any] = json.loads(raw) if raw.strip() else {}
    return hello


async def _pump_log(pipes: Pipes, log: Path, secrets: Sequence[str]) -> None:
    """Copy what the process writes to its log, whole lines at a time, without secrets."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as handle:
        while chunk := await read_lines(pipes.stderr):
            handle.write(mask(chunk.decode("utf-8", "replace"), secrets).encode("utf-8", "replace"))
            handle.flush()


def _say(error: Mapping[str, Any], spec: ServingSpec) -> str:
    place = f" (node {error['node']})" if error.get("node") else ""
    return mask(f"{error['type']}{place}: {error['message']}", spec.secrets)


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
