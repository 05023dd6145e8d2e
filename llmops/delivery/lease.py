"""Hold the lease of an endpoint while a rollout goes on, and call the backend under it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import TypeVar

from llmops.backends.protocols import Clock, Endpoints
from llmops.core.endpoint import Lease
from llmops.errors import BackendError, TransientError

T = TypeVar("T")

_RETRIES_S = (1.0, 3.0)
"""Waits before a call that failed in passing is made again."""
_SLICES = 3
"""Renewals within the duration of a lease, so that one that fails costs nothing."""
_LONGEST_SLICE_S = 10.0


class LeaseKeeper:
    """The lease of one endpoint in one driver's hand.

    Every write asks the backend first whether the lease is still held; a driver that lost it writes nothing more.
    """

    def __init__(self, endpoints: Endpoints, clock: Clock, lease: Lease, duration_s: float) -> None:
        self._endpoints = endpoints
        self._clock = clock
        self._lease = lease
        self._duration_s = duration_s
        self._renewed_at = clock.now()

    def write(self, call: Callable[[], T]) -> T:
        """Make a call that changes something: only under the lease; one that fails in passing is made again.

        Raises:
            LeaseLostError: nothing was written.
        """

        def guarded() -> T:
            self._renew()
            return call()

        return retry(guarded, self._clock)

    def read(self, call: Callable[[], T]) -> T:
        """Make a call that changes nothing; one that fails in passing is made again."""
        return retry(call, self._clock)

    def confirm(self) -> None:
        """See that the lease is still held, before work that costs something.

        Raises:
            LeaseLostError: another driver has it.
        """
        retry(self._renew, self._clock)

    def keep(self) -> None:
        """Renew the lease if a good part of it has passed; to be called often during long work."""
        if self._clock.now() - self._renewed_at >= self._duration_s / _SLICES:
            self.confirm()

    def wait(self, seconds: float) -> Iterator[float]:
        """Sleep in slices and keep the lease; yields the seconds that are left, at last 0."""
        end = self._clock.now() + seconds
        while (left := end - self._clock.now()) > 0:
            self._clock.sleep(min(left, self._duration_s / _SLICES, _LONGEST_SLICE_S))
            self.keep()
            yield max(0.0, end - self._clock.now())

    def _renew(self) -> None:
        self._lease = self._endpoints.renew_lease(self._lease, duration_s=self._duration_s)
        self._renewed_at = self._clock.now()


@contextlib.contextmanager
def hold_lease(
    endpoints: Endpoints, clock: Clock, endpoint: str, *, owner: str, link: str, duration_s: float
) -> Iterator[LeaseKeeper]:
    """Take the lease for the length of a `with` block.

    Args:
        endpoints: the backend.
        clock: for retries and renewals.
        endpoint: need not exist.
        owner: who, for people.
        link: the run of the CI system; empty on a laptop.
        duration_s: seconds after which another driver may take over from one that fell silent.

    Raises:
        LeaseHeldError: someone else holds it.
    """
    token = uuid.uuid4().hex
    lease = retry(
        lambda: endpoints.acquire_lease(endpoint, token=token, owner=owner, link=link, duration_s=duration_s), clock
    )
    keeper = LeaseKeeper(endpoints, clock, lease, duration_s)
    try:
        yield keeper
    finally:
        # A lease that cannot be given back expires.
        with contextlib.suppress(BackendError):
            retry(lambda: endpoints.release_lease(lease), clock)


def retry(call: Callable[[], T], clock: Clock) -> T:
    """Make a call again when it failed in passing; every call of the protocols may be made twice.

    Raises:
        TransientError: it failed in passing every time.
    """
    for wait_s in _RETRIES_S:
        try:
            return call()
        except TransientError:
            clock.sleep(wait_s)
    return call()
