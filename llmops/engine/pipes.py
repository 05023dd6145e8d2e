"""The three pipes between the driver and a process of its own."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import NamedTuple

_MESSAGE_LIMIT = 2**30


class Ends(NamedTuple):
    """File descriptors of the process's ends: its standard input, output and error."""

    stdin: int
    stdout: int
    stderr: int


@dataclass(frozen=True, kw_only=True)
class Pipes:
    """The driver's ends."""

    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader
    transports: tuple[asyncio.BaseTransport, ...]

    def close(self) -> None:
        """Close the driver's ends."""
        for transport in self.transports:
            transport.close()


async def open_pipes() -> tuple[Pipes, Ends]:
    """Open three pipes; the caller hands `Ends` to a process and then closes its own copies of them."""
    (in_read, in_write), (out_read, out_write), (error_read, error_write) = os.pipe(), os.pipe(), os.pipe()
    writer, writing = await _open_writer(in_write)
    stdout, reading = await _open_reader(out_read)
    stderr, logging = await _open_reader(error_read)
    pipes = Pipes(stdin=writer, stdout=stdout, stderr=stderr, transports=(writing, reading, logging))
    return pipes, Ends(in_read, out_write, error_write)


async def _open_reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader(limit=_MESSAGE_LIMIT)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    return reader, transport


async def _open_writer(descriptor: int) -> tuple[asyncio.StreamWriter, asyncio.BaseTransport]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(descriptor, "wb", buffering=0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop), transport


async def read_lines(stream: asyncio.StreamReader) -> bytes:
    """Return whole lines, so that a secret is never cut in two and missed."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.read(error.consumed)
