"""Faults on demand, between the gateway and the service, so that tests see what a bad day looks like.

A rule says which calls it is for and what happens to them:

    {"match": "classify", "times": 2, "status": 429, "headers": {"retry-after": "1"}}

`match` is text that the path or the body contains (all calls without it), `skip` how many calls go by first, `times`
how many are hit (all of them without it), `delay_ms` comes on top of anything. What happens: `status` with `headers`
and `body` instead of an answer; `reset` breaks the connection; `truncate` cuts the real answer after that many bytes
and breaks the connection; `malformed` replaces a real answer's body by text that is no JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmops.core.documents import from_json
from llmops.engine.gateway.transport import Answer, Request, Transport, TransportError
from llmops.errors import UsageError, near_match

MALFORMED = b'{"id": "chatcmpl-broken", "choices": [{"index": 0, "mess'


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One rule; see the module."""

    match: str = ""
    skip: int = 0
    times: int | None = None
    delay_ms: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = '{"error": {"message": "a fault that was asked for"}}'
    reset: bool = False
    truncate: int | None = None
    malformed: bool = False


def read_faults(rules: Sequence[Mapping[str, Any]]) -> list[Fault]:
    """Read rules.

    Raises:
        UsageError: a rule has a key that there is not, or a value of the wrong type.
    """
    known = list(Fault.__dataclass_fields__)
    faults = []
    for index, rule in enumerate(rules):
        where = f"faults[{index}]"
        unknown = next((key for key in rule if key not in known), None)
        if unknown is not None:
            fix = near_match(unknown, known)
            raise UsageError.of(f"unknown key '{unknown}'", where=where, expected=", ".join(known), fix=fix)
        try:
            faults.append(from_json(Fault, rule))
        except (TypeError, ValueError, KeyError) as error:
            raise UsageError.of("not a fault", where=where, found=str(error)) from error
    return faults


class FaultyTransport:
    """A transport on which rules are tried in order; the first that fits decides."""

    def __init__(self, inner: Transport, faults: Sequence[Fault]) -> None:
        self._inner = inner
        self._faults = faults
        self._seen = [0] * len(faults)

    async def send(self, request: Request) -> Answer:
        """See `Transport.send`."""
        fault = self._pick(request)
        if fault is None:
            return await self._inner.send(request)
        await asyncio.sleep(fault.delay_ms / 1000)
        if fault.reset:
            raise TransportError("the connection was reset (a fault that was asked for)")
        if fault.status is not None:
            headers = {"content-type": "application/json", **fault.headers}
            raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            return Answer(fault.status, raw, _whole(fault.body.encode()))
        answer = await self._inner.send(request)
        if fault.malformed:
            await answer.read()
            return Answer(answer.status, answer.headers, _whole(MALFORMED))
        if fault.truncate is not None:
            return Answer(answer.status, answer.headers, _cut(answer.body, fault.truncate))
        return answer

    def _pick(self, request: Request) -> Fault | None:
        text = request.path.encode() + b"\n" + request.body
        for index, fault in enumerate(self._faults):
            if fault.match.encode() not in text:
                continue
            self._seen[index] += 1
            nth = self._seen[index] - fault.skip
            if nth >= 1 and (fault.times is None or nth <= fault.times):
                return fault
        return None

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._inner.close()


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _cut(body: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    left = size
    async for part in body:
        yield part[:left]
        left -= len(part)
        if left <= 0:
            break
    raise TransportError("the answer was cut (a fault that was asked for)")
