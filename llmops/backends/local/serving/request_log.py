"""What an endpoint did with each request: one SQLite file beside the router, and windows read from it."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from llmops.core.endpoint import Window
from llmops.engine.sqlite_file import keep_log

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


def measure(
    path: Path, *, start: float, end: float, pending: Mapping[str, Sequence[float]], now: float
) -> Mapping[str, Window]:
    """Summarise the live requests and mirrored copies that came from `start` on and before `end`, by deployment.

    Args:
        path: of the file.
        start, end: seconds since the epoch.
        pending: deployment to when each request came that has no answer yet.
        now: seconds since the epoch.
    """
    query = (
        "SELECT deployment, status >= ? OR status = ? OR flow_failed, duration_s FROM requests "
        "WHERE ended_at >= ? AND ended_at - duration_s >= ? AND ended_at - duration_s < ? AND kind <> 'addressed'"
    )
    answered: dict[str, list[tuple[bool, float]]] = {}
    if path.exists():
        with _open(path) as db:
            for deployment, is_error, duration_s in db.execute(query, (_FIRST_ERROR, NO_ANSWER, start, start, end)):
                answered.setdefault(deployment, []).append((is_error, duration_s))
    waiting = {name: [now - came for came in moments if start <= came < end] for name, moments in pending.items()}
    names = [name for name in answered.keys() | waiting.keys() if answered.get(name) or waiting.get(name)]
    return {name: _summarise(answered.get(name, []), waiting.get(name, [])) for name in names}


def tail(path: Path, *, count: int) -> Sequence[LoggedRequest]:
    """Return the newest requests, oldest first."""
    if not path.exists():
        return []
    with _open(path) as db:
        rows = db.execute("SELECT * FROM requests ORDER BY rowid DESC LIMIT ?", (count,)).fetchall()
    return [LoggedRequest(*row) for row in reversed(rows)]


def _summarise(requests: Sequence[tuple[bool, float]], waiting_s: Sequence[float]) -> Window:
    """Summarise requests; one that waits takes at least as long as it has waited, so it can only add to latency."""
    durations = [duration_s for _, duration_s in requests]
    answered, all_known = _percentiles(durations), _percentiles([*durations, *waiting_s])
    return Window(
        requests=len(requests),
        errors=sum(is_error for is_error, _ in requests),
        latency_s={percent: max(value, answered.get(percent, 0.0)) for percent, value in all_known.items()},
        waiting_s=sorted(waiting_s),
    )


def _percentiles(durations: Sequence[float]) -> Mapping[int, float]:
    """Return percent to the duration of the nearest rank; nothing of nothing."""
    ordered = sorted(durations)
    ranks = {percent: max(1, math.ceil(percent / 100 * len(ordered))) for percent in PERCENTILES}
    return {percent: ordered[rank - 1] for percent, rank in ranks.items()} if ordered else {}


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as db:
        keep_log(db)
        db.executescript(_SCHEMA)
        with db:
            yield db
