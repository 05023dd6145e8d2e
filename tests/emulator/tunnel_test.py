"""Jobs get out of the emulator, and nothing else does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from llmops.emulator.emulator import Emulator
from llmops.emulator.tunnel import join, open_tunnel

Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(talk: Talk) -> Iterator[int]:
    """Serve one connection at a time on loopback; yields the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    talk(connection)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def echo(connection: socket.socket) -> None:
    while data := connection.recv(4096):
        connection.sendall(data.upper())


def read_head(connection: socket.socket) -> str:
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096)
    return head.decode()


def test_without_a_proxy_the_host_is_reached_directly() -> None:
    with listening(echo) as port, open_tunnel("127.0.0.1", port) as there:
        there.sendall(b"hello")
        assert there.recv(5) == b"HELLO"


def test_a_proxy_of_this_machine_is_asked_with_its_account(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[str] = []

    def proxy(connection: socket.socket) -> None:
        heads.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nVia: me\r\n\r\n")
        echo(connection)

    with listening(proxy) as port:
        monkeypatch.setenv("https_proxy", f"http://me:p%40ss@127.0.0.1:{port}")
        with open_tunnel("models.example", 443) as there:
            there.sendall(b"hello")
            assert there.recv(5) == b"HELLO"
    assert heads[0].startswith("CONNECT models.example:443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic bWU6cEBzcw==\r\n" in heads[0]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 403 Forbidden\r\n\r\n", b""])
def test_a_proxy_that_refuses_or_hangs_up_is_an_error(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    def proxy(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer)

    with listening(proxy) as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(ConnectionError):
            open_tunnel("models.example", 443)


def test_what_either_says_is_passed_on_until_both_have_said_all() -> None:
    (client, ours), (theirs, host) = socket.socketpair(), socket.socketpair()
    with client, ours, theirs, host:
        joining = threading.Thread(target=join, args=(ours, theirs))
        joining.start()
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert host.recv(100) == b"question"
        assert host.recv(100) == b""
        host.sendall(b"answer")
        host.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"answer"
        assert client.recv(100) == b""
        joining.join(60)
        assert not joining.is_alive()


def knock(emulator: Emulator, port: int, account: str) -> str:
    """Ask the emulator's proxy for a host on this machine and talk to it; return what came back."""
    with socket.create_connection(("127.0.0.1", emulator.port)) as connection:
        connection.sendall(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n{account}\r\n".encode())
        head = read_head(connection)
        if " 200 " not in head:
            return head
        connection.sendall(b"hello")
        return connection.recv(5).decode()


def test_a_job_is_let_out_and_nobody_else(emulator: Emulator) -> None:
    proxy = urlsplit(emulator.cloud.job_environment.variables(None)["HTTPS_PROXY"])
    authorization = httpx.BasicAuth(proxy.username or "", proxy.password or "")._auth_header
    with listening(echo) as port:
        assert knock(emulator, port, f"Proxy-Authorization: {authorization}\r\n") == "HELLO"
        assert " 403 " in knock(emulator, port, "")
        assert " 403 " in knock(emulator, port, "Proxy-Authorization: Basic am9iOmd1ZXNz\r\n")
    refused = [host.target for host in emulator.cloud.journal.refused()[-2:]]
    assert refused == [f"127.0.0.1:{port}"] * 2
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert " 502 " in knock(emulator, free, f"Proxy-Authorization: {authorization}\r\n")
