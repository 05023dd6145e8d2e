"""An event loop that outlives one call: what one call starts is there for the next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Loop:
    """Runs coroutines one after the other on one event loop, where `asyncio.run` would make one for each."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; one that an interruption cuts short is cancelled and awaited."""
        task = self._loop.create_task(coroutine)
        try:
            return self._loop.run_until_complete(task)
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    self._loop.run_until_complete(task)

    def close(self) -> None:
        """End the loop; nothing runs on it any more."""
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
