"""An event loop whose clock jumps instead of waiting, so that what takes minutes is tried in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Jump(selectors.DefaultSelector):
    """Does not wait: moves the clock by the time that it was asked to, and by how late it is each time."""

    def __init__(self, late_s: float) -> None:
        super().__init__()
        self.now = 0.0
        self._late_s = late_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout and timeout > 0:
            self.now += timeout + self._late_s
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time` starts at 0."""

    def __init__(self, late_s: float) -> None:
        self.jump = _Jump(late_s)
        super().__init__(self.jump)

    def time(self) -> float:
        return self.jump.now


def run(work: Coroutine[Any, Any, Any], late_s: float = 0.0) -> float:
    """Run a coroutine to its end; return the virtual seconds that it took.

    Args:
        late_s: how much longer than asked for each wait takes, as on a busy machine.
    """
    loop = VirtualLoop(late_s)
    try:
        loop.run_until_complete(work)
        return loop.time()
    finally:
        loop.close()
