"""Load one flow, say where it listens, and serve until the router's end of the pipe closes."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from typing import Any, BinaryIO

import uvicorn

LOAD_FAILED = 3
# The router keeps connections open; one that is closed while the router reuses it would be a spurious failure.
_KEEP_ALIVE_S = 86400


def serve(source: int, sink: int) -> None:
    """Serve; never returns, because a flow's threads may not end."""
    reader = os.fdopen(source, "rb")
    message = json.loads(reader.readline())
    app = _load(message, sink)
    # With the protocol named, asyncio sets TCP_NODELAY; without it each answer waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_keep_alive=_KEEP_ALIVE_S
    )
    server = _AnnouncingServer(config, sink)
    threading.Thread(target=_exit_with, args=[reader, server], daemon=True).start()
    server.run(sockets=[listener])
    sys.stdout.flush()
    os._exit(0)


def _load(message: dict[str, Any], sink: int) -> Any:
    from _llmops_worker import surroundings

    try:
        if message.get("environ") is not None:
            surroundings.inherit(message["environ"])
        if message["kind"] == "callable":
            from .python_app import load as load_python

            return load_python(message)
        from .promptflow_app import load

        return load(message)
    except BaseException as error:  # a flow may raise SystemExit while it is imported
        _send(sink, {"op": "load_failed", "error": _describe(error)})
        os._exit(LOAD_FAILED)


def _describe(error: BaseException) -> dict[str, Any]:
    from _llmops_worker import failures

    described: dict[str, Any] = failures.describe(error)
    return described


class _AnnouncingServer(uvicorn.Server):
    """Says where it listens as soon as it does."""

    def __init__(self, config: uvicorn.Config, sink: int) -> None:
        super().__init__(config)
        self._sink = sink

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        port = sockets[0].getsockname()[1] if sockets else 0
        _send(self._sink, {"op": "listening", "port": port, "pid": os.getpid()})


def _send(sink: int, message: dict[str, Any]) -> None:
    os.write(sink, json.dumps(message).encode("utf-8", "backslashreplace") + b"\n")


def _exit_with(reader: BinaryIO, server: uvicorn.Server) -> None:
    """End when the router closes its pipe: after the last answer, or because it was killed."""
    while reader.read(4096):
        pass
    server.should_exit = server.force_exit = True
