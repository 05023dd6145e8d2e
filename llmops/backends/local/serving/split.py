"""Share requests out by whole percents."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

TOTAL = 100


class Split:
    """Picks a name for each request: each block of requests is shared out exactly, in random order.

    A block is the fewest requests that can be: ten for 90 and 10 percent. Random, because clients ask in rhythms: were
    every second request to go to one deployment, so might all that a client sends as the second of two, and what is
    measured there would be another kind of request and not another version.

    Args:
        percents: name to whole percent, sum 0 or 100.
    """

    def __init__(self, percents: Mapping[str, int]) -> None:
        divisor = math.gcd(*percents.values()) or 1
        self._block = [name for name, percent in percents.items() for _ in range(percent // divisor)]
        self._left: list[str] = []

    def pick(self) -> str | None:
        """Return the next name; None when nothing has traffic."""
        if not self._block:
            return None
        if not self._left:
            self._left = random.sample(self._block, len(self._block))
        return self._left.pop()


class Sample:
    """Says yes to a percent of requests, as `Split` picks them."""

    def __init__(self, percent: int) -> None:
        self._split = Split({"taken": percent, "left": TOTAL - percent})

    def take(self) -> bool:
        """Say whether this request is one of them."""
        return self._split.pick() == "taken"
