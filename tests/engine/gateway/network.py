"""A TLS server and a CONNECT proxy on loopback, both real: bytes in, bytes out, each connection on threads of its own."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

REFUSAL = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"


@dataclass
class Seen:
    """What a server saw: for each connection its first line and its headers.

    Attributes:
        port: where it listens.
    """

    port: int
    heads: list[bytes] = field(default_factory=list)


@contextlib.contextmanager
def tls_server(context: ssl.SSLContext, backend: int, *, host: str = "127.0.0.1") -> Iterator[Seen]:
    """End TLS and pass what is in it to a port on loopback."""

    def serve(client: socket.socket, seen: Seen) -> None:
        secure = context.wrap_socket(client, server_side=True)
        seen.heads.append(b"")
        _relay(secure, socket.create_connection(("127.0.0.1", backend)))

    with _listening(serve, host) as seen:
        yield seen


@contextlib.contextmanager
def proxy(backend: int, *, refuses: bool = False) -> Iterator[Seen]:
    """Take CONNECT and absolute requests for any host and pass them to a port on loopback."""

    def serve(client: socket.socket, seen: Seen) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        seen.heads.append(head)
        if refuses:
            client.sendall(REFUSAL)
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", backend))
        if head.startswith(b"CONNECT "):
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            server.sendall(re.sub(rb" http://[^/]+", b" ", head, count=1))
        _relay(client, server)

    with _listening(serve) as seen:
        yield seen


@contextlib.contextmanager
def _listening(serve: Callable[[socket.socket, Seen], None], host: str = "127.0.0.1") -> Iterator[Seen]:
    listener = socket.create_server((host, 0))
    seen = Seen(listener.getsockname()[1])

    def answer(client: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a client that goes, or that does not trust us
            serve(client, seen)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=answer, args=[client], daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _relay(one: socket.socket, other: socket.socket) -> None:
    back = threading.Thread(target=_pump, args=[other, one], daemon=True)
    back.start()
    _pump(one, other)
    back.join()
    one.close()
    other.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
