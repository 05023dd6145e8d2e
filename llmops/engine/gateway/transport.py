"""Send a request to a model service: over a pooled connection, through a proxy, or to the stand-in in this process.

A client of our own over h11 and asyncio takes 0.3 ms CPU for a call where httpx takes 1.4 (`benchmarks/gateway.py`);
httpx is used where a proxy is set, because it knows how to speak to one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import urllib.request
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import SplitResult, urlsplit

import h11

if TYPE_CHECKING:
    import httpx

    from llmops.engine.standin.server import StandInApp

RawHeaders = Sequence[tuple[bytes, bytes]]

CONNECT_S = 30.0
SILENCE_S = 600.0
"""How long a service may take for its next byte."""
_CHUNK = 65536
_FAREWELL_S = 0.2


class TransportError(Exception):
    """The service could not be reached, or the connection broke before the answer was whole."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is sent; `path` holds the query, `headers` neither `host` nor `content-length`."""

    method: str
    path: str
    headers: RawHeaders
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What came back. `body` is read once and to its end, or closed; it raises `TransportError` when it breaks."""

    status: int
    headers: RawHeaders
    body: AsyncIterator[bytes]

    async def read(self) -> bytes:
        """Read the whole body."""
        return b"".join([part async for part in self.body])


class Transport(Protocol):
    """A way to one service."""

    async def send(self, request: Request) -> Answer:
        """Send a request and return the beginning of the answer.

        Raises:
            TransportError: there is none.
        """

    async def close(self) -> None:
        """Close what is open."""


def open_transport(address: str) -> Transport:
    """Return the transport for an address, by the proxy variables of the environment."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    is_near = host == "localhost" or host.startswith("127.")
    proxied = not is_near and parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)
    return ProxyTransport(address) if proxied else DirectTransport(parts)


class DirectTransport:
    """HTTP/1.1 over connections that are kept open and used again."""

    def __init__(self, address: SplitResult) -> None:
        self._host = address.hostname or ""
        self._port = address.port or (443 if address.scheme == "https" else 80)
        self._host_header = address.netloc.rpartition("@")[2].encode("ascii", "ignore")
        self._prefix = address.path.rstrip("/")
        self._tls = _tls_context() if address.scheme == "https" else None
        self._idle: list[_Connection] = []

    async def send(self, request: Request) -> Answer:
        """See `Transport.send`. A kept connection that the service has closed meanwhile is replaced without a word."""
        head = h11.Request(
            method=request.method,
            target=f"{self._prefix}{request.path}",
            headers=[(b"host", self._host_header), *request.headers, (b"content-length", b"%d" % len(request.body))],
        )
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._ask(connection, head, request.body)
            except _NeverHeard:
                continue
        return await self._ask(await self._connect(), head, request.body)

    async def _connect(self) -> _Connection:
        try:
            opening = asyncio.open_connection(self._host, self._port, ssl=self._tls)
            reader, writer = await asyncio.wait_for(opening, CONNECT_S)
        except (OSError, asyncio.TimeoutError) as error:
            raise TransportError(f"cannot connect: {str(error) or 'timed out'}") from error
        return _Connection(reader, writer)

    async def _ask(self, connection: _Connection, head: h11.Request, body: bytes) -> Answer:
        try:
            response = await connection.ask(head, body)
        except BaseException:
            connection.close()
            raise
        return Answer(response.status_code, list(response.headers), self._body(connection))

    async def _body(self, connection: _Connection) -> AsyncIterator[bytes]:
        try:
            async for part in connection.read_body():
                yield part
            if connection.reset():
                self._idle.append(connection)
                return
        except BaseException:
            connection.close()
            raise
        connection.close()

    async def close(self) -> None:
        """See `Transport.close`."""
        closing, self._idle = self._idle, []
        for connection in closing:
            connection.close()
        await asyncio.gather(*(connection.wait_closed() for connection in closing))


class _NeverHeard(TransportError):
    """The connection had been closed before the request reached the service."""


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._state = h11.Connection(h11.CLIENT)
        self._used = False

    async def ask(self, head: h11.Request, body: bytes) -> h11.Response:
        was_used, self._used = self._used, True
        parts = (self._state.send(head), self._state.send(h11.Data(data=body)), self._state.send(h11.EndOfMessage()))
        self._writer.write(b"".join(part for part in parts if part))
        try:
            while True:
                event = await self._next_event()
                if isinstance(event, h11.Response):
                    return event
        except _Closed as error:
            kind = _NeverHeard if was_used else TransportError
            raise kind("the service closed the connection without an answer") from error

    async def read_body(self) -> AsyncIterator[bytes]:
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return

    async def _next_event(self) -> Any:
        while True:
            try:
                event = self._state.next_event()
                if event is not h11.NEED_DATA:
                    return event
                data = await self._read()
                if not data and self._state.their_state is h11.SEND_RESPONSE:
                    raise _Closed("the service closed the connection")
                self._state.receive_data(data)
            except h11.RemoteProtocolError as error:
                raise TransportError(f"the answer is not whole: {error}") from error
            except ConnectionError as error:
                raise _Closed(str(error)) from error
            except OSError as error:
                raise TransportError(f"the connection broke: {error}") from error

    async def _read(self) -> bytes:
        timer = asyncio.get_running_loop().call_later(SILENCE_S, self._writer.transport.abort)
        try:
            return await self._reader.read(_CHUNK)
        finally:
            timer.cancel()

    def reset(self) -> bool:
        """Prepare for the next request; False when the service wants the connection closed."""
        try:
            self._state.start_next_cycle()
        except h11.LocalProtocolError:
            return False
        return not self._reader.at_eof()

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._writer.close()

    async def wait_closed(self) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), _FAREWELL_S)


class _Closed(TransportError):
    """The service ended the connection."""


def _tls_context() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()


class ProxyTransport:
    """Through the proxy that the environment names."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._client: httpx.AsyncClient | None = None

    def _opened(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
            timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
            self._client = httpx.AsyncClient(limits=limits, timeout=timeout)
        return self._client

    async def send(self, request: Request) -> Answer:
        """See `Transport.send`."""
        import httpx

        client = self._opened()
        try:
            ready = client.build_request(
                request.method,
                f"{self._address}{request.path}",
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers],
                content=request.body,
            )
            response = await client.send(ready, stream=True)
        except httpx.HTTPError as error:
            raise TransportError(f"{type(error).__name__}: {error}") from error
        return Answer(response.status_code, response.headers.raw, _httpx_body(response))

    async def close(self) -> None:
        """See `Transport.close`."""
        if self._client is not None:
            await self._client.aclose()


async def _httpx_body(response: httpx.Response) -> AsyncIterator[bytes]:
    import httpx

    try:
        async for part in response.aiter_raw():
            yield part
    except httpx.HTTPError as error:
        raise TransportError(f"{type(error).__name__}: {error}") from error
    finally:
        await response.aclose()


class StandInTransport:
    """The stand-in model, called as the application that it is, which saves a process and a hop."""

    def __init__(self, app: StandInApp) -> None:
        self.app = app

    async def send(self, request: Request) -> Answer:
        """See `Transport.send`."""
        started: dict[str, Any] = {}
        parts: list[bytes] = []
        path, _, query = request.path.partition("?")
        scope = {"type": "http", "method": request.method, "path": path, "query_string": query.encode()}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                parts.append(message.get("body", b""))

        await self.app({**scope, "headers": list(request.headers)}, receive, send)
        return Answer(started["status"], started["headers"], _each(parts))

    async def close(self) -> None:
        """See `Transport.close`."""


async def _each(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        if part:
            yield part
