"""Share requests out by whole percents."""

from __future__ import annotations

from collections.abc import Mapping

TOTAL = 100


class Split:
    """Picks a name for each request, so that any hundred requests in a row are shared out exactly.

    Each name gains its percent with every pick; the richest is picked and pays 100.

    Args:
        percents: name to whole percent, sum 0 or 100.
    """

    def __init__(self, percents: Mapping[str, int]) -> None:
        self._percents = {name: percent for name, percent in percents.items() if percent > 0}
        self._credit = dict.fromkeys(self._percents, 0)

    def pick(self) -> str | None:
        """Return the next name; None when nothing has traffic."""
        if not self._percents:
            return None
        for name, percent in self._percents.items():
            self._credit[name] += percent
        chosen = max(self._credit, key=self._credit.__getitem__)
        self._credit[chosen] -= TOTAL
        return chosen


class Sample:
    """Says yes to a percent of requests, evenly spread."""

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._credit = 0

    def take(self) -> bool:
        """Say whether this request is one of them."""
        self._credit += self._percent
        if self._credit < TOTAL:
            return False
        self._credit -= TOTAL
        return True
