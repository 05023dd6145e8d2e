"""Hand a running endpoint from one router to its successor, so that no request notices.

A router that was started by another version of llmops goes on serving with the code that it has. The first command
that changes something starts a successor beside it. That one is given the listening socket, the lock and the secrets
over a Unix socket, starts its own serving processes, and takes over once they are as healthy as the old ones. Until it
says so the old router serves as if nothing had happened; from then on it only answers what it has accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import socket
import struct
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.errors import BackendError

TAKEOVER_S = 300.0
"""Seconds in which a successor must be ready; then the old router goes on."""
_TOKEN_LIMIT = 256
_HEAD = struct.Struct(">Q")
_GO = b"G"


@dataclass(frozen=True, kw_only=True)
class Estate:
    """What a router leaves to its successor.

    Attributes:
        listener: where requests come in; both routers may accept from it.
        lock: descriptor that holds the endpoint's lock, for as long as either router has it open.
        private: deployment to its connections and variables, as JSON values.
        healthy: deployments that answer now.
    """

    listener: socket.socket
    lock: int
    private: Mapping[str, Any]
    healthy: list[str]


@contextlib.contextmanager
def open_door() -> Iterator[socket.socket]:
    """Open the socket at which successors knock; only this user can reach it."""
    with tempfile.TemporaryDirectory(prefix="llmops-") as folder, socket.socket(socket.AF_UNIX) as door:
        door.bind(str(Path(folder) / "door"))
        door.listen()
        door.setblocking(False)
        yield door


async def await_successor(
    door: socket.socket, token: bytes, describe: Callable[[], Awaitable[Estate]], give_way: Callable[[], None]
) -> None:
    """Return once a successor has taken over; one that gives up is forgotten.

    Args:
        door: see `open_door`.
        token: that a successor must bring.
        describe: tells what there is to be handed over.
        give_way: stops accepting; the successor hears of it.
    """
    loop = asyncio.get_running_loop()
    while True:
        visitor, _ = await loop.sock_accept(door)
        with visitor:
            visitor.settimeout(TAKEOVER_S)
            with contextlib.suppress(OSError):
                if not await asyncio.to_thread(_brings, visitor, token):
                    continue
                await asyncio.to_thread(_give, visitor, await describe())
                if await asyncio.to_thread(visitor.recv, 1) == _GO:
                    give_way()
                    return


class Takeover:
    """The successor's side; `finish` makes it final, leaving the context without it changes nothing.

    Args:
        address: of the old router's door.
        token: of the old router.

    Raises:
        BackendError: the old router does not hand over.
    """

    def __init__(self, address: str, token: str) -> None:
        self._door = socket.socket(socket.AF_UNIX)
        self._door.settimeout(TAKEOVER_S)
        try:
            self._door.connect(address)
            self._door.sendall(token.encode() + b"\n")
            self.estate = _receive(self._door)
        except (OSError, ValueError) as error:
            self._door.close()
            raise BackendError.of("the old router does not hand over", where=address, found=str(error)) from error

    def __enter__(self) -> Takeover:
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()

    def finish(self) -> None:
        """Tell the old router that it is relieved, and wait until it accepts nothing more."""
        with contextlib.suppress(OSError):  # it may have ended
            self._door.sendall(_GO)
            self._door.recv(1)


def _brings(visitor: socket.socket, token: bytes) -> bool:
    said = b""
    while not said.endswith(b"\n") and len(said) < _TOKEN_LIMIT:
        piece = visitor.recv(_TOKEN_LIMIT)
        if not piece:
            break
        said += piece
    return hmac.compare_digest(said, token + b"\n")


def _give(visitor: socket.socket, estate: Estate) -> None:
    body = json.dumps({"private": estate.private, "healthy": estate.healthy}).encode()
    socket.send_fds(visitor, [_HEAD.pack(len(body))], [estate.listener.fileno(), estate.lock])
    visitor.sendall(body)


def _receive(door: socket.socket) -> Estate:
    head, descriptors, _, _ = socket.recv_fds(door, _HEAD.size, 2)
    if len(head) < _HEAD.size or len(descriptors) != 2:
        for descriptor in descriptors:
            os.close(descriptor)
        raise ValueError("it refused")
    left, parts = _HEAD.unpack(head)[0], []
    while left:
        parts.append(door.recv(min(left, 1 << 16)))
        if not parts[-1]:
            raise ValueError("it broke off")
        left -= len(parts[-1])
    said = json.loads(b"".join(parts))
    listener = socket.socket(fileno=descriptors[0])
    return Estate(listener=listener, lock=descriptors[1], private=said["private"], healthy=said["healthy"])
