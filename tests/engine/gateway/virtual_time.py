"""An event loop whose clock jumps instead of waiting, so that what takes minutes is tried in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Jump(selectors.DefaultSelector):
    """Does not wait: moves the clock by the time that it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += max(timeout or 0.0, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time` starts at 0."""

    def __init__(self) -> None:
        self.jump = _Jump()
        super().__init__(self.jump)

    def time(self) -> float:
        return self.jump.now


def run(work: Coroutine[Any, Any, Any]) -> float:
    """Run a coroutine to its end; return the virtual seconds that it took."""
    loop = VirtualLoop()
    try:
        loop.run_until_complete(work)
        return loop.time()
    finally:
        loop.close()
