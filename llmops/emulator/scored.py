"""What endpoints answered, for their metrics."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

_KEPT = 100_000


class Scored(NamedTuple):
    """One request to a deployment, mirrored or live; `at` is seconds since the epoch, when it came."""

    deployment: str
    status: int
    at: float
    duration_s: float


class ScoredRequests:
    """The last requests of each endpoint."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str], deque[Scored]] = {}

    def add(self, endpoint: tuple[str, str], deployment: str, status: int, at: float, duration_s: float) -> None:
        """Remember one request to an endpoint: the workspace's id and its name."""
        with self._lock:
            requests = self._requests.setdefault(endpoint, deque(maxlen=_KEPT))
            requests.append(Scored(deployment, status, at, duration_s))

    def between(self, endpoint: tuple[str, str], start: float, end: float) -> Sequence[Scored]:
        """Return the requests that came from `start` on and before `end`."""
        with self._lock:
            return [one for one in self._requests.get(endpoint, ()) if start <= one.at < end]
