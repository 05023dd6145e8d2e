"""Start the processes that run flows: by a fork where that can be, else as an interpreter that starts anew."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llmops.engine.fork_server import WORKER_FOLDER, ForkedProcess, ForkServers, NoForkError
from llmops.engine.pipes import Ends


class ChildProcess(NamedTuple):
    """A process in a group of its own.

    Attributes:
        is_forked: it has the environment and the working directory of its fork server until it takes over its own.
    """

    process: asyncio.subprocess.Process | ForkedProcess
    is_forked: bool


async def start_child(
    python: str,
    ends: Ends,
    *,
    folder: Path,
    environ: Mapping[str, str],
    job: Sequence[str] = (),
    code: Path = WORKER_FOLDER,
    forks: ForkServers | None = None,
) -> ChildProcess:
    """Start a process.

    Args:
        python: the interpreter.
        ends: of its pipes; the caller closes its own copies.
        folder: working directory.
        environ: the process's environment.
        job: arguments of `worker/__main__.py`; none for a worker.
        code: folder of that file.
        forks: start it faster where they can.

    Raises:
        OSError: the interpreter does not start.
    """
    if forks is not None:
        with contextlib.suppress(NoForkError):
            return ChildProcess(await forks.warm(python).fork(ends, job), is_forked=True)
    process = await asyncio.create_subprocess_exec(
        python,
        str(code),
        *job,
        stdin=ends.stdin,
        stdout=ends.stdout,
        stderr=ends.stderr,
        cwd=folder,
        env=dict(environ),
        start_new_session=True,
    )
    return ChildProcess(process, is_forked=False)
