"""Entry of the router process: `python -m llmops.backends.local.serving FOLDER NAME`, told the rest on its input."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import uvicorn

from llmops.backends.local.serving.places import STATE, Places
from llmops.backends.local.serving.router import RouterApp
from llmops.backends.local.serving.runtime import Runtime, private_from_json
from llmops.backends.local.serving.store import EndpointStore

# A connection that the server closes while a client reuses it is a spurious failure: keep them open for long.
_KEEP_ALIVE_S = 3600
_DRAIN_S = 120
_LOCK_ATTEMPTS = 10


def main() -> None:
    """Serve one endpoint until told to stop; one line of JSON on standard output says where, or why not."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    message = json.loads(sys.stdin.readline())
    if os.fork():
        os._exit(0)  # the command that started this waits for its own child only, and never has to again
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    places = Places(folder / name)
    places.folder.mkdir(parents=True, exist_ok=True)
    with places.lock.open("w") as lock:
        if _take(lock):
            asyncio.run(_serve(name, places, EndpointStore(folder / STATE), message, sys.stdout))
        else:
            _say({"error": "running"})


def _take(lock: TextIO) -> bool:
    """Take the lock for this process's life; drivers that look whether a router lives hold it for a moment."""
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


async def _serve(name: str, places: Places, store: EndpointStore, message: Mapping[str, Any], out: TextIO) -> None:
    runtime = Runtime(name, places, store, private_from_json(message["private"]), message["latency_ms"])
    try:
        listener = _listen(message["port"] or runtime.endpoint.port)
    except OSError as error:
        return _say({"error": f"it cannot listen on 127.0.0.1:{runtime.endpoint.port}: {error}"})
    port = listener.getsockname()[1]
    store.set_port(name, port)
    token = secrets.token_urlsafe(32)
    server = _Server(runtime, token)
    await runtime.start()
    _write_private(places.router, {"pid": os.getpid(), "port": port, "token": token})
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    _say({"port": port, "pid": os.getpid(), "token": token})
    _let_go(out)
    try:
        await serving
    finally:
        places.router.unlink(missing_ok=True)
        await runtime.stop()


class _Server(uvicorn.Server):
    def __init__(self, runtime: Runtime, token: str) -> None:
        app = RouterApp(runtime, token, self._stop)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            backlog=4096,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        super().__init__(config)

    def _stop(self) -> None:
        self.should_exit = True


def _listen(port: int) -> socket.socket:
    # With the protocol named, asyncio sets TCP_NODELAY; without it each answer waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(4096)
    except OSError:
        listener.close()
        raise
    return listener


def _say(message: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def _let_go(out: TextIO) -> None:
    """Give up the pipe of the command that started this process: that command may end."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, out.fileno())
    os.dup2(null, sys.stdin.fileno())
    os.close(null)


def _write_private(path: Path, document: Mapping[str, Any]) -> None:
    """Write a file that only this user can read, whole or not at all."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        json.dump(document, handle)
    os.replace(new, path)


if __name__ == "__main__":
    main()
