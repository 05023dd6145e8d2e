"""Deployments that really serve: one child process each."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llmops.emulator.azurite_process import free_port
from llmops.emulator.errors import RefusalError

CONTAINER = Path(__file__).with_name("container")
_POLL_S = 0.05
_FROM_HERE = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "SYSTEMROOT", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """What a deployment serves.

    Attributes:
        folder: of the flow, a copy that nobody else uses.
        connections_url: answers `/connections/NAME`.
        log: what the process prints.
        python: interpreter that serves.
        ready_s: how long it may take until it is healthy.
    """

    folder: Path
    connections_url: str
    environment_variables: Mapping[str, str]
    log: Path
    python: str = sys.executable
    ready_s: float = 120.0


@dataclass(eq=False)
class Container:
    """One running deployment.

    Attributes:
        pending: requests that are being answered.
    """

    port: int
    process: subprocess.Popen[bytes]
    pending: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Hand on one request.

        Returns:
            Status, headers and body.

        Raises:
            TimeoutError: no answer in time.
            OSError, http.client.HTTPException: the process is gone.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


def start_container(spec: ContainerSpec) -> Container:
    """Start a deployment and wait until it is healthy.

    Raises:
        RefusalError: its process ended, or it was not healthy in time; the message shows the end of its log.
    """
    port = free_port()
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    with spec.log.open("ab") as log:
        process = subprocess.Popen(
            [spec.python, str(CONTAINER)],
            cwd=spec.folder,
            env=_environment(spec, port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    container = Container(port=port, process=process)
    try:
        _wait_until_ready(container, spec)
    except BaseException:
        container.close()
        raise
    return container


def _environment(spec: ContainerSpec, port: int) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _FROM_HERE if name in os.environ}
    return {
        **inherited,
        "PF_DISABLE_TRACING": "true",
        "PROMPTFLOW_PROJECT_PATH": str(spec.folder),
        "PF_HTTP_CONNECTION_PROVIDER_ENDPOINT": spec.connections_url,
        "NO_PROXY": "127.0.0.1,localhost",
        **spec.environment_variables,
        "LLMOPS_CONTAINER_PORT": str(port),
    }


def _wait_until_ready(container: Container, spec: ContainerSpec) -> None:
    deadline = time.monotonic() + spec.ready_s
    while time.monotonic() < deadline:
        if container.process.poll() is not None:
            raise _not_ready("The container ended before it was ready", spec)
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, _, _ = container.send("GET", "/health", b"", {}, 5.0)
            if status == http.client.OK:
                return
        time.sleep(_POLL_S)
    raise _not_ready(f"The container was not ready after {spec.ready_s:g} s", spec)


def _not_ready(what: str, spec: ContainerSpec) -> RefusalError:
    text = spec.log.read_text("utf-8", "replace").strip()
    last = text.splitlines()[-1] if text else "nothing was printed"
    return RefusalError(200, "ResourceNotReady", f"User container has crashed or terminated. {what}: {last}")
