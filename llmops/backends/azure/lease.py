"""The lease of an endpoint: a small document in a blob that is only ever written over the very bytes that were read.

Azure's own leases of blobs last for 15 to 60 seconds or for ever; rollouts need the time between. A write under
`If-Match` is as atomic: of several callers one gets it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import NamedTuple

from llmops.backends.azure.blobs import Blobs
from llmops.core.endpoint import Lease
from llmops.errors import LeaseHeldError, LeaseLostError, TransientError

_FOLDER = "llmops/leases"
_ATTEMPTS = 20


class _Held(NamedTuple):
    lease: Lease | None
    etag: str
    now: float

    @property
    def is_free(self) -> bool:
        return self.lease is None or self.lease.expires_at <= self.now


@dataclass(frozen=True)
class Leases:
    """The leases of a workspace's endpoints, by the blob service's clock."""

    blobs: Blobs

    def acquire(self, endpoint: str, *, token: str, owner: str, link: str, duration_s: float) -> Lease:
        """See `Endpoints.acquire_lease`."""
        for _ in range(_ATTEMPTS):
            held = self._read(endpoint)
            if held.lease is not None and not held.is_free and held.lease.token != token:
                raise _held(held.lease)
            expires_at = held.now + duration_s
            lease = Lease(endpoint=endpoint, token=token, owner=owner, link=link, expires_at=expires_at)
            if self._write(lease, held.etag):
                return lease
        raise _contended(endpoint)

    def renew(self, lease: Lease, *, duration_s: float) -> Lease:
        """See `Endpoints.renew_lease`."""
        for _ in range(_ATTEMPTS):
            held = self._read(lease.endpoint)
            if held.lease is None or held.lease.token != lease.token:
                raise LeaseLostError.of(
                    "this driver no longer may change the endpoint",
                    where=lease.endpoint,
                    found=f"taken over by {held.lease.owner}" if held.lease else "the lease was given back",
                )
            renewed = replace(held.lease, expires_at=held.now + duration_s)
            if self._write(renewed, held.etag):
                return renewed
        raise _contended(lease.endpoint)

    def release(self, lease: Lease) -> None:
        """See `Endpoints.release_lease`."""
        for _ in range(_ATTEMPTS):
            held = self._read(lease.endpoint)
            if held.lease is None or held.lease.token != lease.token:
                return
            if self.blobs.delete(_name(lease.endpoint), f"give back the lease of '{lease.endpoint}'", etag=held.etag):
                return
        raise _contended(lease.endpoint)

    def read(self, endpoint: str) -> Lease | None:
        """See `Endpoints.read_lease`."""
        held = self._read(endpoint)
        return None if held.is_free else held.lease

    def _read(self, endpoint: str) -> _Held:
        blob = self.blobs.read(_name(endpoint), f"read the lease of '{endpoint}'")
        lease = Lease(**json.loads(blob.content)) if blob.content is not None else None
        return _Held(lease, blob.etag, blob.now)

    def _write(self, lease: Lease, etag: str) -> bool:
        content = json.dumps(asdict(lease)).encode()
        what = f"take the lease of '{lease.endpoint}'"
        return self.blobs.write(_name(lease.endpoint), content, what, etag=etag or None)


def _name(endpoint: str) -> str:
    return f"{_FOLDER}/{endpoint}.json"


def _held(lease: Lease) -> LeaseHeldError:
    until = datetime.fromtimestamp(lease.expires_at, timezone.utc).isoformat(timespec="seconds")
    return LeaseHeldError.of(
        "someone else is changing the endpoint",
        where=lease.endpoint,
        found=" ".join(filter(None, (lease.owner, lease.link, f"until {until}"))),
        fix="Wait until that rollout has ended, then run the same command again.",
    )


def _contended(endpoint: str) -> TransientError:
    return TransientError.of("the lease is changed by others all the time", where=endpoint)
