"""What was asked of the emulator, and what was refused to leave the machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmops.emulator.tokens import decode
from llmops.emulator.wire import Request, Response

_BODY_LIMIT = 20_000
_SECRET_QUERY = frozenset({"sig"})
_SECRET_HEADERS = frozenset({"authorization", "aml-user-token"})


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One request that was answered, or not.

    Attributes:
        service: which part of the emulator it reached.
        status: HTTP status; 0 when the connection was ended without an answer.
        fault: effect of the fault that was injected; empty when there was none.
        caller: client id that the token names; empty where there is none.
        body: text of the request's body, cut; empty for tokens and blobs.
    """

    number: int
    service: str
    method: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    caller: str
    body: str
    status: int = 0
    fault: str = ""
    duration_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RefusedHost:
    """An attempt to reach a host that is not on the list."""

    method: str
    target: str


class Journal:
    """The record; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._refused: list[RefusedHost] = []
        self._number = 0

    def next_number(self) -> int:
        """Number the next request, from 1."""
        with self._lock:
            self._number += 1
            return self._number

    def add(self, request: Request, service: str, response: Response | None, fault: str, duration_s: float) -> None:
        """Record a request with what became of it."""
        entry = Entry(
            number=request.number,
            service=service,
            method=request.method,
            host=request.host,
            path=request.path,
            query={name: "***" if name in _SECRET_QUERY else value for name, value in request.query.items()},
            caller=str(decode(request.headers.get("authorization", "")).get("appid", "")),
            headers={name: value for name, value in request.headers.items() if name not in _SECRET_HEADERS},
            body=_body(request, service),
            status=response.status if response else 0,
            fault=fault,
            duration_s=round(duration_s, 4),
        )
        with self._lock:
            self._entries.append(entry)

    def refuse(self, method: str, target: str) -> None:
        """Record an attempt to reach another host."""
        with self._lock:
            self._refused.append(RefusedHost(method=method, target=target))

    def entries(self, *, after: int = 0) -> Sequence[Entry]:
        """Return the requests with a higher number, ordered by number."""
        with self._lock:
            found = [entry for entry in self._entries if entry.number > after]
        return sorted(found, key=lambda entry: entry.number)

    def last_number(self) -> int:
        """Return the number of the last request that came in."""
        with self._lock:
            return self._number

    def refused(self) -> Sequence[RefusedHost]:
        """Return all attempts to reach another host."""
        with self._lock:
            return list(self._refused)


def _body(request: Request, service: str) -> str:
    if service in {"tokens", "blobs"}:
        return ""
    return request.body[:_BODY_LIMIT].decode("utf-8", "replace")
