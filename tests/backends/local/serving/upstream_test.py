"""The router's own HTTP client, against a server that the test plays itself on a socket."""

from __future__ import annotations

import asyncio
import socket

from llmops.backends.local.serving.upstream import Upstream

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


def answer_next(server: socket.socket) -> socket.socket:
    """Accept a connection, read its request and answer it; return the connection, which stays open."""
    connection, _ = server.accept()
    connection.recv(65536)
    connection.sendall(ANSWER)
    return connection


async def ask(upstream: Upstream) -> bytes:
    answer = await upstream.send("POST", b"/score", [], b"{}")
    return await answer.read()


async def ask_twice(server: socket.socket) -> list[bytes]:
    """Ask twice, and close in between the connection that the client keeps, before its event loop has a turn."""
    upstream, loop = Upstream(server.getsockname()[1]), asyncio.get_running_loop()
    answers = []
    for _ in range(2):
        answered = loop.run_in_executor(None, answer_next, server)
        answers.append(await ask(upstream))
        (await answered).close()
    upstream.close()
    return answers


def test_a_connection_that_the_server_has_just_closed_is_not_used_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        assert asyncio.run(asyncio.wait_for(ask_twice(server), 30)) == [b"hi", b"hi"]
