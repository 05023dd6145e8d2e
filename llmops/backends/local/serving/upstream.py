"""A small HTTP/1.1 client for one loopback server, on asyncio alone.

The router speaks to serving processes that it started itself, so this reads what uvicorn writes: a head, then a body
by content-length, in chunks, or until the end. Measured by `benchmarks/router.py`: httpx costs the router several
times as much per request.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

Headers = Sequence[tuple[bytes, bytes]]

_PIECE = 65536
_HEAD_LIMIT = 1 << 20
_CONTINUE = 200


class UpstreamError(Exception):
    """The server could not be reached, or went away before its answer was complete."""


class NotListeningError(UpstreamError):
    """Nobody listens: the request was not sent."""


@dataclass(eq=False)
class UpstreamAnswer:
    """The head of an answer; the body is read once, with `read` or `pieces`."""

    status: int
    headers: Headers
    _connection: _Connection
    _owner: Upstream
    _length: int | None
    _is_chunked: bool

    @property
    def is_whole(self) -> bool:
        """Whether the body's length is known, so that it is no stream."""
        return self._length is not None

    async def read(self) -> bytes:
        """Return the whole body.

        Raises:
            UpstreamError: the server went away before its end.
        """
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises:
            UpstreamError: the server went away before its end.
        """
        try:
            async for piece in self._connection.body(self._length, is_chunked=self._is_chunked):
                yield piece
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.abort()
            raise UpstreamError(f"the answer broke off: {error}") from error
        except BaseException:
            self.abort()
            raise
        if self._length is None and not self._is_chunked:
            self.abort()
        else:
            self._owner.give_back(self._connection)

    def abort(self) -> None:
        """Close the connection; the rest of the answer is not wanted."""
        self._connection.close()


@dataclass(eq=False)
class Upstream:
    """Keeps connections to one server; use it from one event loop."""

    port: int
    _idle: list[_Connection] = field(default_factory=list)

    async def send(
        self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> UpstreamAnswer:
        """Send one request and return the head of its answer.

        Cancelling it closes the connection, which tells the server that nobody waits any more.

        Raises:
            NotListeningError: no connection.
            UpstreamError: no answer; whether the request was read is not known.
        """
        connection = self._take() or await self._open()
        try:
            connection.write(method, target, headers, body)
            return await self._read_head(connection)
        except (OSError, EOFError, asyncio.LimitOverrunError, ValueError) as error:
            connection.close()
            raise UpstreamError(f"no answer: {str(error) or type(error).__name__}") from error
        except BaseException:
            connection.close()
            raise

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection whose answer was read to its end."""
        self._idle.append(connection)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
            connection.close()
        return None

    async def _open(self) -> _Connection:
        try:
            return await _Connection.open(self.port)
        except OSError as error:
            raise NotListeningError(f"no connection: {error}") from error

    async def _read_head(self, connection: _Connection) -> UpstreamAnswer:
        status, headers = await connection.head()
        while status < _CONTINUE:
            status, headers = await connection.head()
        found = {name.lower(): value for name, value in headers}
        length = found.get(b"content-length")
        return UpstreamAnswer(
            status=status,
            headers=headers,
            _connection=connection,
            _owner=self,
            _length=int(length) if length is not None else None,
            _is_chunked=b"chunked" in found.get(b"transfer-encoding", b"").lower(),
        )


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._poller = select.poll()
        self._poller.register(writer.get_extra_info("socket"), select.POLLIN)

    @classmethod
    async def open(cls, port: int) -> _Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=_HEAD_LIMIT))

    @property
    def is_open(self) -> bool:
        """Whether an unused connection can be used: the event loop may not have heard yet that it was closed."""
        return not (self._reader.at_eof() or self._writer.is_closing() or self._poller.poll(0))

    def write(self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        lines = [b"%s %s HTTP/1.1\r\nhost: 127.0.0.1\r\n" % (method.encode(), target)]
        lines += [b"%s: %s\r\n" % header for header in headers]
        lines += [b"content-length: %d\r\n\r\n" % len(body), body]
        self._writer.write(b"".join(lines))

    async def head(self) -> tuple[int, Headers]:
        raw = await self._reader.readuntil(b"\r\n\r\n")
        first, *rest = raw[:-4].split(b"\r\n")
        pairs = (line.partition(b":") for line in rest)
        return int(first.split(b" ", 2)[1]), [(name, value.strip()) for name, _, value in pairs]

    async def body(self, length: int | None, *, is_chunked: bool) -> AsyncIterator[bytes]:
        if is_chunked:
            async for piece in self._chunks():
                yield piece
            return
        remaining = length
        while remaining is None or remaining > 0:
            piece = await self._reader.read(_PIECE if remaining is None else min(remaining, _PIECE))
            if not piece:
                if remaining is None:
                    return
                raise asyncio.IncompleteReadError(b"", remaining)
            remaining = None if remaining is None else remaining - len(piece)
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass

    def close(self) -> None:
        self._writer.close()
