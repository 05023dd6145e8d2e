"""Lines that have just finished, for whoever wants them before the run is over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from llmops.records import Line


class FinishedLine(NamedTuple):
    """A line with the row of the data set that it is of."""

    data: Mapping[str, Any]
    line: Line


class FinishedLines:
    """Keeps a few lines for takers who are slower than the run; what is beyond is left to the time after the run.

    Args:
        most: lines that are kept.
        takers: how many take lines at once.
    """

    def __init__(self, *, most: int, takers: int) -> None:
        self._queue: asyncio.Queue[FinishedLine | None] = asyncio.Queue()
        self._most = most
        self._takers = takers

    def offer(self, line: FinishedLine) -> None:
        """Keep a line, unless there are many."""
        if self._queue.qsize() < self._most:
            self._queue.put_nowait(line)

    def end(self) -> None:
        """Say that no line follows."""
        for _ in range(self._takers):
            self._queue.put_nowait(None)

    async def take(self) -> FinishedLine | None:
        """Return the next line; None when no line follows."""
        return await self._queue.get()
