"""The driver's side of the fork servers: interpreters that have imported the framework, and fork into others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmops.engine.pipes import Ends

WORKER_FOLDER = Path(__file__).with_name("worker")
CAN_FORK = sys.platform == "linux"
"""Elsewhere a process that imported the system's frameworks may not fork, or cannot be asked for its threads."""


class NoForkError(Exception):
    """The server has ended or never came to be: start the process without it, which says what is wrong."""


@dataclass
class ForkedProcess:
    """A process that a fork server started; what we need of `asyncio.subprocess.Process`."""

    pid: int
    returncode: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> int:
        """Return the exit code, minus the signal's number for a process that one has ended."""
        await self.ended.wait()
        assert self.returncode is not None
        return self.returncode


class ForkServer:
    """One interpreter that forks.

    Args:
        python: the interpreter.
        env: its environment, without secrets: its forks' `/proc` shows it, whatever they are given later.
        modules: imported beside the framework.
    """

    def __init__(self, python: str, env: Mapping[str, str], modules: Sequence[str] = ()) -> None:
        self._asked: list[asyncio.Future[ForkedProcess]] = []
        self._forked: dict[int, ForkedProcess] = {}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [python, str(WORKER_FOLDER), "fork-server", *modules],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(env),
                start_new_session=True,
            )
        ours.setblocking(False)
        self._control = ours
        self._reading = asyncio.ensure_future(self._read())

    async def fork(self, ends: Ends, job: Sequence[str] = ()) -> ForkedProcess:
        """Start a process on pipes.

        Args:
            ends: of its pipes.
            job: arguments of `worker/__main__.py`; none for a worker.

        Raises:
            NoForkError: the server cannot.
        """
        answer: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        try:
            socket.send_fds(self._control, [json.dumps(list(job)).encode()], ends)
        except OSError as error:
            raise NoForkError from error
        self._asked.append(answer)
        return await answer

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while message := await loop.sock_recv(self._control, 4096):
                self._take(json.loads(message))
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(NoForkError())
        for process in self._forked.values():
            self._end(process, -signal.SIGKILL)

    def _take(self, message: Mapping[str, int]) -> None:
        pid = message["pid"]
        if "code" in message:
            self._end(self._forked.pop(pid), message["code"])
            return
        process = self._forked[pid] = ForkedProcess(pid)
        answer = self._asked.pop(0)
        if not answer.done():  # else nobody waits any more, and the pipes are closed, which ends the process
            answer.set_result(process)

    def _end(self, process: ForkedProcess, code: int) -> None:
        process.returncode = code
        process.ended.set()

    async def close(self) -> None:
        """End the server; its forks have ended before."""
        self._control.shutdown(socket.SHUT_RDWR)
        await self._reading
        self._control.close()
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class ForkServers:
    """One fork server for each interpreter, started when it is first needed.

    Args:
        secrets: values that no fork server's environment may hold.
        environ: of the servers; this process's own when None.
        modules: that all import beside the framework.
    """

    secrets: Collection[str]
    environ: Mapping[str, str] | None = None
    modules: Sequence[str] = ()
    _servers: dict[str, ForkServer] = field(default_factory=dict)

    def warm(self, python: str) -> ForkServer:
        """Return the server of an interpreter; it imports while the caller goes on.

        Raises:
            NoForkError: the interpreter does not start, or this system is not one to fork on.
        """
        if not CAN_FORK:
            raise NoForkError
        if python not in self._servers:
            environ = os.environ if self.environ is None else self.environ
            env = {name: value for name, value in environ.items() if value not in self.secrets}
            try:
                self._servers[python] = ForkServer(python, env, self.modules)
            except OSError as error:
                raise NoForkError from error
        return self._servers[python]

    async def close(self) -> None:
        """End all servers."""
        await asyncio.gather(*(server.close() for server in self._servers.values()))
