"""The one port of the emulator: a proxy with an allow list, TLS behind it, and the control page.

A connection that begins with a TLS handshake is served at once (a client that was pointed here directly); `CONNECT`
to a host on the list is answered and then served likewise, with no second connection in between; any other host is
refused and recorded, unless it is a job that asks for it. Plain requests go to the control page.
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import struct
import threading
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from llmops.emulator.journal import Journal
from llmops.emulator.tunnel import join, open_tunnel
from llmops.emulator.wire import DropConnectionError, Request, Response

_TLS_HANDSHAKE = 22
_IDLE_S = 3600.0
_HANDSHAKE_S = 30.0
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)

Answer = Callable[[Request], Response]


class EmulatorServer(http.server.ThreadingHTTPServer):
    """Listens on 127.0.0.1.

    Args:
        port: 0 picks a free one.
        context: TLS of the emulated hosts.
        is_known: tells whether a host is on the allow list.
        may_leave: tells by the value of `Proxy-Authorization` whether who asks may reach other hosts too.
        answer: the emulated services.
        control: the control page.
        journal: numbers the requests and records what is refused.
    """

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        *,
        port: int,
        context: ssl.SSLContext,
        is_known: Callable[[str], bool],
        may_leave: Callable[[str], bool],
        answer: Answer,
        control: Answer,
        journal: Journal,
    ) -> None:
        super().__init__(("127.0.0.1", port), _PlainHandler)
        self.context = context
        self.is_known = is_known
        self.may_leave = may_leave
        self.answer = answer
        self.control = control
        self.journal = journal
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve on threads of its own."""
        self._thread.start()

    def close(self) -> None:
        """Stop; connections that are open end with the process."""
        self.shutdown()
        self.server_close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection, in the thread that it has."""
        first = request.recv(1, socket.MSG_PEEK)
        if first and first[0] == _TLS_HANDSHAKE:
            serve_tls(request, client_address, self)
        elif first:
            _PlainHandler(request, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that go away; anything else is a bug and shown."""
        import sys

        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError, ssl.SSLError)):
            super().handle_error(request, client_address)


def serve_tls(connection: socket.socket, client_address: Any, server: EmulatorServer) -> None:
    """Serve HTTP over TLS on an open connection until it ends."""
    connection.settimeout(_HANDSHAKE_S)
    secure = server.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    try:
        secure.do_handshake()
        secure.settimeout(_IDLE_S)
        _ServiceHandler(secure, client_address, server)
    finally:
        with contextlib.suppress(OSError):
            secure.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: EmulatorServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        """Write nothing; the journal has it."""

    def read_request(self, *, host: str | None = None) -> Request:
        """Read the request whose head was parsed."""
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self._read_chunks()
        else:
            body = self.rfile.read(length) if length else b""
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
        return Request(
            number=self.server.journal.next_number() if host is None else 0,
            method=self.command,
            host=(host or self.headers.get("Host") or "").lower(),
            path=urllib.parse.unquote(parts.path),
            target=self.path,
            query={name.lower(): value for name, value in query},
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
        )

    def _read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def send(self, response: Response) -> None:
        """Send head and body in one piece."""
        has_length = any(name.lower() == "content-length" for name in response.headers)
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if not has_length and response.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(response.body)))
        if self.command != "HEAD":
            self._headers_buffer.append(b"\r\n" + response.body)  # type: ignore[attr-defined]
            self.flush_headers()
        else:
            self.end_headers()

    def drop(self) -> None:
        """End the connection with a reset."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            # Closing the descriptor itself: a TLS socket would say goodbye first.
            socket.socket(fileno=self.connection.detach()).close()


class _ServiceHandler(_Handler):
    """One connection to an emulated host."""

    def handle_one_request(self) -> None:
        """Answer one request of any method."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if not self.parse_request():
            return
        try:
            response = self.server.answer(self.read_request())
        except DropConnectionError:
            self.drop()
            return
        self.send(response)


class _PlainHandler(_Handler):
    """One connection that begins without TLS: the proxy and the control page."""

    def handle_one_request(self) -> None:
        """Answer one request of any method."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if not self.parse_request():
            return
        if self.command == "CONNECT":
            self._connect()
        elif self.path.startswith("/"):
            self.send(self.server.control(self.read_request(host="control")))
        else:
            self._refuse()

    def _connect(self) -> None:
        host, _, port = self.path.lower().rpartition(":")
        if self.server.is_known(host):
            self.close_connection = True
            self.wfile.write(_ESTABLISHED)
            serve_tls(self.connection, self.client_address, self.server)
        elif self.server.may_leave(self.headers.get("Proxy-Authorization") or ""):
            self._leave(host, int(port))
        else:
            self._refuse()

    def _leave(self, host: str, port: int) -> None:
        self.close_connection = True
        try:
            there = open_tunnel(host, port)
        except OSError as error:
            self.send(Response(status=502, headers={"Connection": "close"}, body=f"{error}\n".encode()))
            return
        with there:
            self.wfile.write(_ESTABLISHED)
            join(self.connection, there)

    def _refuse(self) -> None:
        self.server.journal.refuse(self.command, self.path)
        self.close_connection = True
        self.send(Response(status=403, headers={"Connection": "close"}, body=b"The emulator lets nothing out.\n"))
