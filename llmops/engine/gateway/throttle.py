"""How many calls go to a service at once, and how fast: found out from what it refuses.

Concurrency rises by one for each round of answers and falls to 0.7 of itself on a refusal (additive increase,
multiplicative decrease; Chiu and Jain, 1989). Beside it, a refusal sets the pace to the rate at which the service
really took calls, which is its limit at that moment; without refusals the pace rises again, slowly first and then
faster. Until the first refusal neither limits anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable

DECREASE = 0.7
PACE_RISE, PACE_RISE_MORE = 0.05, 0.02
"""By how much the pace rises in a second, and in a second squared, without refusals."""
CALLS_TO_LEARN = 10
"""A service that takes fewer calls in a second has shown less in it, so its pace rises more slowly."""
SLOWEST = 0.1
"""Calls per second that are made at least, so that a service that comes back is noticed."""
SHORT_WAIT_S = 1.0
"""A service that asks for a longer pause than this is left alone by all calls, not only by the refused one."""
MADE_UP_S = 0.5
"""How late a call may start and the next ones still keep to the pace: on a busy machine all wake up late."""
_WINDOWS_S = (2.0, 5.0, 15.0, 60.0)
_ENOUGH = 10
_FEWEST = 3


class Throttle:
    """Lets the calls to one service through, in order.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limit: float | None = None
        self._pace: float | None = None
        self._pace_at = 0.0
        self._next_start = 0.0
        self._lowered_at = -1.0
        self._in_flight = 0
        self._taken: deque[float] = deque(maxlen=4096)
        self._started = clock()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def concurrency(self) -> int | None:
        """Calls at once that the service is found to take; None when it refused none."""
        return None if self._limit is None else math.ceil(self._limit)

    @property
    def calls_per_second(self) -> float | None:
        """Pace that the service is found to take; None when it refused none."""
        return None if self._pace is None else round(self._pace, 2)

    async def enter(self) -> float:
        """Wait for one's turn; returns when the call starts. Each `enter` needs a `leave`."""
        if self._waiting or self._blocked_for() > 0:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._wake()
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.leave()
                raise
        else:
            self._start()
        started = self._clock()
        self._taken.append(started)
        return started

    def leave(self) -> None:
        """Say that a call has ended, however it did."""
        self._in_flight -= 1
        self._wake()

    def answered(self) -> None:
        """Say that the service answered a call; comes before its `leave`."""
        if self._limit is not None and self._in_flight >= self._limit - 1:
            self._limit += 1 / self._limit

    def refused(self, started: float, retry_after_s: float = 0.0, *, is_rate: bool = True) -> None:
        """Say that the service had too much to do; comes before its `leave`.

        Args:
            started: what `enter` returned; calls that started before the last decrease cause no further one.
            retry_after_s: how long the service asks to be left alone.
            is_rate: whether it counts calls (429) or is out of breath (503).
        """
        now = self._clock()
        with contextlib.suppress(ValueError):
            self._taken.remove(started)
        if retry_after_s > SHORT_WAIT_S:
            self._next_start = max(self._next_start, now + retry_after_s)
        if started <= self._lowered_at:
            return
        self._lowered_at = now
        self._limit = max(1.0, DECREASE * min(self._limit or self._in_flight, self._in_flight))
        rate = self._measured_rate() if is_rate else None
        if rate is not None:
            self._pace, self._pace_at = max(rate, SLOWEST), now
            self._next_start = max(self._next_start, now)

    def _measured_rate(self) -> float | None:
        """Return calls per second that were not refused, over the shortest window that has enough of them.

        None: too few were taken to tell a limit from an outage, which backoff and concurrency deal with.
        """
        now, count, window = self._clock(), 0, _WINDOWS_S[0]
        for window in _WINDOWS_S:
            count = sum(1 for at in self._taken if at > now - window)
            if count >= _ENOUGH:
                break
        return count / min(window, max(now - self._started, 1.0)) if count >= _FEWEST else None

    def _interval(self) -> float:
        if self._pace is None:
            return 0.0
        calm = (self._clock() - self._pace_at) * min(1.0, max(self._pace, 0.5) / CALLS_TO_LEARN)
        rise = 1 + PACE_RISE * calm + PACE_RISE_MORE * calm**2
        return 1 / (self._pace * rise)

    def _blocked_for(self) -> float:
        """Return the seconds until the next call may start; infinite while as many as allowed are in flight."""
        if self._limit is not None and self._in_flight >= math.ceil(self._limit):
            return float("inf")
        return self._next_start - self._clock()

    def _start(self) -> None:
        self._in_flight += 1
        self._next_start = max(self._clock() - MADE_UP_S, self._next_start) + self._interval()

    def _wake(self) -> None:
        while self._waiting and (blocked := self._blocked_for()) <= 0:
            turn = self._waiting.popleft()
            if not turn.done():
                self._start()
                turn.set_result(None)
        if self._waiting and self._timer is None and 0 < (blocked := self._blocked_for()) < float("inf"):
            self._timer = asyncio.get_running_loop().call_later(blocked, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._wake()
