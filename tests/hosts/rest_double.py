"""A loopback service: scripted trouble first, then answers of a subclass; what is wrong with a request fails the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Reply:
    """What the service answers."""

    status: int
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    raw: bytes = b""
    hangs_up: bool = False
    """Carry the request out, then close the connection without an answer."""


@dataclass(frozen=True)
class Call:
    """One request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass
class Service:
    """State of one service.

    Attributes:
        trouble: replies given before anything else, in order; None lets a request through.
        calls: method and path of each request, in order.
        mistakes: what was wrong with requests.
    """

    trouble: list[Reply | None] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, call: Call) -> Reply:
        raise NotImplementedError

    def expect(self, condition: object, mistake: str) -> None:
        """Note a mistake of the client."""
        if not condition:
            self.mistakes.append(mistake)

    def handle(self, call: Call) -> Reply:
        """Answer with trouble, as long as there is some."""
        self.calls.append(f"{call.method} {call.path}")
        reply = self.trouble.pop(0) if self.trouble else None
        if reply is None:
            return self.answer(call)
        if reply.hangs_up:
            self.answer(call)
        return reply


@contextmanager
def serve(service: Service) -> Iterator[Service]:
    """Serve on a free port of this machine; at the end, every mistake of the client is an error."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            split = urlsplit(self.path)
            call = Call(
                self.command,
                split.path,
                dict(parse_qsl(split.query)),
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(raw) if raw else None,
            )
            reply = service.handle(call)
            if reply.hangs_up:
                self.close_connection = True
                self.connection.close()
                return
            document = b"" if reply.document is None else json.dumps(reply.document).encode()
            content = reply.raw or reply.text.encode() or document
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json; charset=utf-8", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _reply  # noqa: N815 the names are the server's

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert service.mistakes == []
