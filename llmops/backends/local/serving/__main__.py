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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import uvicorn

import llmops
from llmops.backends.local.serving.handover import TAKEOVER_S, Estate, Takeover, await_successor, open_door
from llmops.backends.local.serving.places import STATE, Places
from llmops.backends.local.serving.router import RouterApp
from llmops.backends.local.serving.runtime import Runtime, private_from_json
from llmops.backends.local.serving.store import EndpointStore
from llmops.errors import BackendError

# A connection that the server closes while a client reuses it is a spurious failure: keep them open for long.
_KEEP_ALIVE_S = 3600
_DRAIN_S = 120
_FAREWELL_S = 5.0
"""Seconds in which idle connections get one more answer, which says that they end."""
_LOCK_ATTEMPTS = 10
_ATTEMPTS = 2
"""Restarts of a serving process after which a successor gives up."""


def main() -> None:
    """Serve one endpoint until told to stop; one line of JSON on standard output says where, or why not.

    The line on standard input holds `private`, `latency_ms` and `port`, or, to take over from a router that runs,
    `latency_ms` and the `door` and `token` of that one.
    """
    folder, name = Path(sys.argv[1]), sys.argv[2]
    message = json.loads(sys.stdin.readline())
    if os.fork():
        os._exit(0)  # the command that started this waits for its own child only, and never has to again
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    places = Places(folder / name)
    places.folder.mkdir(parents=True, exist_ok=True)
    store = EndpointStore(folder / STATE)
    if "door" in message:
        _succeed(name, places, store, message)
    else:
        _begin(name, places, store, message)


def _begin(name: str, places: Places, store: EndpointStore, message: Mapping[str, Any]) -> None:
    """Serve unless another router does."""
    with places.lock.open("w") as lock:
        if not _take(lock):
            _say({"error": "running"})
            return
        port = message["port"] or store.port_of(name)
        try:
            listener = _listen(port)
        except OSError as error:
            _say({"error": f"it cannot listen on 127.0.0.1:{port}: {error}"})
            return
        store.set_port(name, listener.getsockname()[1])
        runtime = Runtime(name, places, store, private_from_json(message["private"]), message["latency_ms"])
        asyncio.run(_serve(runtime, listener, lock.fileno()))


def _succeed(name: str, places: Places, store: EndpointStore, message: Mapping[str, Any]) -> None:
    """Take over from the router that runs."""
    try:
        takeover = Takeover(message["door"], message["token"])
    except BackendError as error:
        _say({"error": str(error)})
        return
    with takeover:
        estate = takeover.estate
        runtime = Runtime(name, places, store, private_from_json(estate.private), message["latency_ms"])
        asyncio.run(_serve(runtime, estate.listener, estate.lock, takeover))


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


async def _serve(runtime: Runtime, listener: socket.socket, lock: int, takeover: Takeover | None = None) -> None:
    token = secrets.token_urlsafe(32)
    with open_door() as door:
        hello = {
            "pid": os.getpid(),
            "port": listener.getsockname()[1],
            "token": token,
            "version": llmops.__version__,
            "door": door.getsockname(),
        }

        def announce() -> None:
            if takeover:
                takeover.finish()
            _write_private(runtime.places.router, hello)
            _say(hello)
            _let_go(sys.stdout)

        server = _Server(runtime, token, announce)
        await runtime.start()
        try:
            if takeover and not await _is_as_healthy(runtime, takeover.estate.healthy):
                _say({"error": "its deployments do not become as healthy as they are"})
                return
            heir = asyncio.ensure_future(_retire_for_successor(server, runtime, door, listener, lock, token))
            await server.serve(sockets=[listener])
            heir.cancel()
        finally:
            _remove_own(runtime.places.router)
            await runtime.stop()


async def _is_as_healthy(runtime: Runtime, names: Sequence[str]) -> bool:
    """Wait until these deployments answer, as they do in the router that is to be relieved."""
    deadline = time.monotonic() + TAKEOVER_S
    while time.monotonic() < deadline:
        described = [await runtime.describe(name) for name in names]
        lacking = [one for one in described if one["status"] != "healthy"]
        if not lacking:
            return True
        if any(one.get("restarts", 0) >= _ATTEMPTS or one["status"] == "failed" for one in lacking):
            return False
        await asyncio.sleep(0.1)
    return False


async def _retire_for_successor(
    server: _Server, runtime: Runtime, door: socket.socket, listener: socket.socket, lock: int, token: str
) -> None:
    async def describe() -> Estate:
        statuses = {name: (await runtime.describe(name))["status"] for name in runtime.deployments}
        healthy = [name for name, status in statuses.items() if status == "healthy"]
        return Estate(listener=listener, lock=lock, private=runtime.private_values(), healthy=healthy)

    await await_successor(door, token.encode(), describe, server.stop_accepting)
    await server.retire()


def _remove_own(path: Path) -> None:
    """Remove the file that says where this router is, unless it is a successor's by now."""
    with contextlib.suppress(OSError, ValueError):
        if json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid():
            path.unlink()


class _Server(uvicorn.Server):
    def __init__(self, runtime: Runtime, token: str, announce: Callable[[], None]) -> None:
        self._announce = announce
        self._app = app = RouterApp(runtime, token, self._stop)
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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._announce()

    def stop_accepting(self) -> None:
        """Accept nothing more; `close` would break off who has been accepted in this very turn of the event loop."""
        self._app.is_retiring = True
        for server in self.servers:
            for listener in server.sockets:
                asyncio.get_running_loop().remove_reader(listener)

    async def retire(self) -> None:
        """Let clients see their connections end with an answer, then end."""
        await asyncio.sleep(_FAREWELL_S)
        self._stop()

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
