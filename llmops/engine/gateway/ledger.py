"""What every call used, from the gateway to the driver: lines of JSON in a file that has no name.

An entry is written before the answer's last byte goes to the worker. So when a worker says that a line is done, the
entries of all its calls can be read: no waiting, no message that comes too late. The file never blocks its writer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llmops.engine.gateway.calls import Usage

Origin = Literal["live", "cached", "replayed", "refused"]
"""live: a service answered; refused: the gateway did, or the service to the last; whatever the flow makes of that,
the line is not measured."""


@dataclass(frozen=True)
class Entry:
    """One call.

    Attributes:
        run: token of the run.
        line: id of the line; empty when the request did not say.
        usage: None when the answer did not say.
        usd: price of the answer, whether or not it was paid this time; None when it is not known.
        reason, message: why a call was refused: a class name and a sentence.
        stand_in: whether the stand-in model answered.
    """

    run: str
    line: str
    origin: Origin
    usage: Usage | None = None
    usd: float | None = None
    reason: str = ""
    message: str = ""
    stand_in: bool = False


class LedgerWriter:
    """The gateway's side."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, entry: Entry) -> None:
        """Append one entry."""
        fields = [
            entry.run,
            entry.line,
            entry.origin,
            entry.usage,
            entry.usd,
            entry.reason,
            entry.message,
            entry.stand_in,
        ]
        data = memoryview(json.dumps(fields).encode() + b"\n")
        while data:
            data = data[os.write(self._descriptor, data) :]


class LedgerReader:
    """The driver's side."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._offset = 0
        self._rest = b""

    def read(self) -> Iterator[Entry]:
        """Yield the entries that came since the last time."""
        while chunk := os.pread(self._descriptor, 1 << 20, self._offset):
            self._offset += len(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                run, line_id, origin, usage, *rest = json.loads(line)
                yield Entry(run, line_id, origin, Usage(*usage) if usage else None, *rest)
