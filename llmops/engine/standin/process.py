"""Run the stand-in model as a child process that cannot outlive its parent. Standard library only."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast, final

import llmops
from llmops.engine.children import end_child
from llmops.errors import BackendError, DeadlineError

_SHUTDOWN_S = 5.0
_ANSWER_S = 10.0


@dataclass(frozen=True, kw_only=True)
class StandInStats:
    """What the stand-in answered since it started or was reset.

    Attributes:
        calls: model calls that were accepted; refused requests do not count.
        by_path: the same, by path without the query.
        prompt_tokens, completion_tokens: sums over these calls.
        in_flight_max: largest number of calls that were being answered at once.
    """

    calls: int
    by_path: Mapping[str, int]
    prompt_tokens: int
    completion_tokens: int
    in_flight_max: int


@final
class StandInProcess:
    """The stand-in model in a child process; use it as a context manager or call `close`.

    The child ends when its standard input does, so it goes even if this process is killed. It is in a session of its
    own, so that Ctrl-C reaches the driver alone and lines in flight still get their answers.

    Args:
        latency_ms: added to every answer.
        calls_per_second: calls beyond it get 429; None for no limit.
        port: 0 picks a free one.
        deadline_s: how long the server may take until it listens.

    Raises:
        DeadlineError: it did not listen in time.
        BackendError: it ended before it listened.
    """

    def __init__(
        self,
        *,
        latency_ms: float = 0.0,
        calls_per_second: float | None = None,
        port: int = 0,
        deadline_s: float = 30.0,
    ) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (`close` closes it)
        self._child = _start_child(
            ["--latency-ms", str(latency_ms), "--port", str(port), *_limit(calls_per_second)], self._log
        )
        try:
            self.port = _read_port(self._child, self._log, deadline_s)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    @property
    def azure_endpoint(self) -> str:
        """Address for an Azure OpenAI client, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """Address for an OpenAI client."""
        return f"{self.azure_endpoint}/v1"

    def stats(self) -> StandInStats:
        """Ask the server for its counters."""
        return StandInStats(**self._ask("GET", "/stats"))

    def reset_stats(self) -> None:
        """Set the server's counters to zero."""
        self._ask("POST", "/stats/reset")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_S)) as connection:
            connection.request(method, path)
            answer: dict[str, Any] = json.load(connection.getresponse())
            return answer

    def close(self) -> None:
        """End the child; closing twice is fine."""
        end_child(self._child, _SHUTDOWN_S)
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._log.close()

    def __enter__(self) -> StandInProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: types.TracebackType | None
    ) -> None:
        self.close()


def _limit(calls_per_second: float | None) -> list[str]:
    return [] if calls_per_second is None else ["--calls-per-second", str(calls_per_second)]


def _start_child(arguments: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "llmops.engine.standin", "--exit-with-stdin", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        # `-m` looks in the working directory first: this one holds the llmops that is running, and no user's modules.
        cwd=Path(llmops.__file__).parents[1],
        start_new_session=True,
    )


def _read_port(child: subprocess.Popen[bytes], log: IO[bytes], deadline_s: float) -> int:
    lines: list[bytes] = []
    stdout = cast("IO[bytes]", child.stdout)
    reader = threading.Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
    reader.start()
    reader.join(deadline_s)
    if reader.is_alive():
        child.kill()
        raise DeadlineError.of("the stand-in model does not listen", expected=f"it to listen within {deadline_s:g} s")
    if not lines or not lines[0].strip():
        child.wait()
        log.seek(0)
        message = log.read().decode("utf-8", "replace").strip()
        raise BackendError.of("the stand-in model did not start", found=message or f"exit code {child.returncode}")
    hello: dict[str, Any] = json.loads(lines[0])
    return int(hello["port"])
