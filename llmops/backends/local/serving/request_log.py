"""What an endpoint did with each request: one SQLite file beside the router, and windows read from it."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from llmops.core.endpoint import Window

RequestKind = Literal["live", "addressed", "mirror"]
"""live: went where the split said; addressed: to the deployment that the caller named; mirror: a copy of a live one."""

NO_ANSWER = 0
"""Status of a request that was given up: the caller went away before the answer came."""

PERCENTILES = (50, 95, 99)
_KEPT = 1_000_000
_FIRST_ERROR = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    ended_at REAL, id TEXT, deployment TEXT, kind TEXT, status INTEGER, duration_s REAL, flow_failed INTEGER
);
CREATE INDEX IF NOT EXISTS requests_by_end ON requests (ended_at);
"""


class LoggedRequest(NamedTuple):
    """One request, after its end.

    Attributes:
        ended_at: seconds since the epoch.
        status: of the answer; 0 when nobody waited for one.
        flow_failed: whether the flow itself failed, which prompt flow answers 400 as it does wrong inputs.
    """

    ended_at: float
    id: str
    deployment: str
    kind: RequestKind
    status: int
    duration_s: float
    flow_failed: bool = False


def append(path: Path, requests: Sequence[LoggedRequest]) -> None:
    """Add requests and forget all but the newest million."""
    with _open(path) as db:
        db.executemany("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)", requests)
        db.execute("DELETE FROM requests WHERE rowid <= (SELECT MAX(rowid) FROM requests) - ?", (_KEPT,))


def measure(path: Path, *, start: float, end: float) -> Mapping[str, Window]:
    """Summarise the live requests that ended from `start` on and before `end`, by deployment."""
    if not path.exists():
        return {}
    query = (
        "SELECT deployment, status >= ? OR status = ? OR flow_failed, duration_s FROM requests "
        "WHERE ended_at >= ? AND ended_at < ? AND kind = 'live' ORDER BY duration_s"
    )
    by_deployment: dict[str, list[tuple[bool, float]]] = {}
    with _open(path) as db:
        for deployment, is_error, duration_s in db.execute(query, (_FIRST_ERROR, NO_ANSWER, start, end)):
            by_deployment.setdefault(deployment, []).append((is_error, duration_s))
    return {name: _summarise(requests) for name, requests in by_deployment.items()}


def tail(path: Path, *, count: int) -> Sequence[LoggedRequest]:
    """Return the newest requests, oldest first."""
    if not path.exists():
        return []
    with _open(path) as db:
        rows = db.execute("SELECT * FROM requests ORDER BY rowid DESC LIMIT ?", (count,)).fetchall()
    return [LoggedRequest(*row) for row in reversed(rows)]


def _summarise(requests: Sequence[tuple[bool, float]]) -> Window:
    """Summarise requests sorted by duration; percentiles are nearest rank."""
    durations = [duration_s for _, duration_s in requests]
    ranks = {percent: max(1, math.ceil(percent / 100 * len(durations))) for percent in PERCENTILES}
    return Window(
        requests=len(requests),
        errors=sum(is_error for is_error, _ in requests),
        latency_s={percent: durations[rank - 1] for percent, rank in ranks.items()},
    )


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(_SCHEMA)
        with db:
            yield db
