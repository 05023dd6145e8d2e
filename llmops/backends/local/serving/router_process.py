"""The driver's side of the router: find it, start it, tell it, stop it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llmops
from llmops.backends.local.serving.places import Places
from llmops.errors import BackendError, TransientError

START_TIMEOUT_S = 60.0
_CALL_TIMEOUT_S = 60.0
_OK = 200


@dataclass(frozen=True, kw_only=True)
class RunningRouter:
    """A router that answered when it was found.

    Attributes:
        token: opens what is below `/-/`.
        version: of llmops that started it; empty for one that is older than this field.
        door: address at which a successor takes over; empty when it cannot be relieved.
    """

    pid: int
    port: int
    token: str
    version: str = ""
    door: str = ""

    @property
    def address(self) -> str:
        """Where clients send requests."""
        return f"http://127.0.0.1:{self.port}"

    def call(self, action: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask the router for `status`, `reload`, `flush` or `stop`.

        Raises:
            TransientError: it does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_CALL_TIMEOUT_S)
        try:
            with contextlib.closing(connection):
                connection.request("POST", f"/-/{action}", json.dumps(body or {}), {"x-llmops-token": self.token})
                response = connection.getresponse()
                answer: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TransientError.of(
                "the router does not answer", where=self.address, found=str(error) or type(error).__name__
            ) from error
        if response.status != _OK:
            raise TransientError.of("the router refuses", where=self.address, found=f"{action}: HTTP {response.status}")
        return answer


def find_router(places: Places) -> RunningRouter | None:
    """Return the router that runs for an endpoint, None when there is none."""
    return _read(places.router) if _is_locked(places.lock) else None


def start_router(
    places: Places, *, private: Mapping[str, Any], latency_ms: float = 0.0, port: int = 0
) -> RunningRouter:
    """Start the router of an endpoint, or find the one that someone else is starting.

    It is in a session of its own and goes on when this process ends.

    Args:
        private: deployment to its connections and variables with the real values; they go through a pipe.
        latency_ms: of the stand-in model.
        port: 0 for the one that it had before, or any free one.

    Raises:
        BackendError: it does not start.
    """
    hello = _launch(places, {"private": private, "latency_ms": latency_ms, "port": port})
    return _wait_for_other(places) if hello is None else hello


def relieve_router(places: Places, router: RunningRouter, *, latency_ms: float = 0.0) -> RunningRouter:
    """Let a router of this version of llmops take over from one of another, without a request noticing.

    Args:
        router: that runs.
        latency_ms: of the stand-in model.

    Returns:
        The successor; the same router when it cannot be relieved, which then goes on serving as it is.
    """
    if router.version == llmops.__version__ or not router.door:
        return router
    try:
        return _launch(places, {"latency_ms": latency_ms, "door": router.door, "token": router.token}) or router
    except BackendError:
        return router


def _launch(places: Places, message: Mapping[str, Any]) -> RunningRouter | None:
    """Start a router process; None when another one runs already."""
    places.folder.mkdir(parents=True, exist_ok=True)
    with places.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "llmops.backends.local.serving", str(places.folder.parent), places.folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # `-m` looks in the working directory first: this one holds the llmops that is running.
            cwd=Path(llmops.__file__).parents[1],
            start_new_session=True,
        )
    assert process.stdin is not None and process.stdout is not None
    with process.stdout, contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        raw = process.stdout.readline()
    process.wait()
    hello = json.loads(raw) if raw.strip() else {"error": f"it ended; see {places.log}"}
    if hello.get("error") == "running":
        return None
    if "error" in hello:
        raise BackendError.of("the endpoint's router does not start", where=str(places.folder), found=hello["error"])
    return RunningRouter(**hello)


def stop_router(places: Places, router: RunningRouter) -> None:
    """Let the router answer what it has and end, with everything that it started.

    Raises:
        BackendError: it does not end.
    """
    router.call("stop")
    deadline = time.monotonic() + START_TIMEOUT_S * 3
    while _is_locked(places.lock):
        if time.monotonic() > deadline:
            raise BackendError.of("the router does not end", where=router.address, found=f"process {router.pid}")
        time.sleep(0.05)


def _wait_for_other(places: Places) -> RunningRouter:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        router = _read(places.router)
        if router is not None:
            with contextlib.suppress(TransientError):
                router.call("status")
                return router
        time.sleep(0.05)
    raise BackendError.of("the endpoint's router runs, but does not answer", where=str(places.folder))


def _read(path: Path) -> RunningRouter | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        known = {one.name for one in dataclasses.fields(RunningRouter)}
        return RunningRouter(**{name: value for name, value in document.items() if name in known})
    except (OSError, ValueError, TypeError):
        return None


def _is_locked(path: Path) -> bool:
    """Say whether a router lives: the system takes its lock away when it ends, however it ends."""
    if not path.exists():
        return False
    with path.open("r") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
