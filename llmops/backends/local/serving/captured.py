"""Live requests with their answers, of deployments that were made with consent: a file that only this user reads."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmops.backends.protocols import CapturedAnswer
from llmops.engine.sqlite_file import keep_log

_KEPT_S = 24 * 60 * 60.0
_KEPT = 10_000
_LARGEST = 256 * 1024
_SCHEMA = """
CREATE TABLE IF NOT EXISTS captured (
    at REAL, deployment TEXT, id TEXT, inputs TEXT, outputs TEXT, duration_s REAL
);
CREATE INDEX IF NOT EXISTS captured_by_time ON captured (at);
"""


class Captured(NamedTuple):
    """One answer as the file keeps it; inputs and outputs as JSON."""

    at: float
    deployment: str
    id: str
    inputs: str
    outputs: str
    duration_s: float


def capture(inputs: bytes, outputs: bytes) -> tuple[str, str] | None:
    """Return a request and its answer as they are kept; None unless both are JSON objects of a bearable size."""
    texts = [_object_text(body) for body in (inputs, outputs)]
    return (texts[0], texts[1]) if texts[0] is not None and texts[1] is not None else None


def append(path: Path, answers: Sequence[Captured], *, now: float) -> None:
    """Add answers; forget those of more than a day ago, and all but the newest ten thousand."""
    with _open(path) as db:
        db.executemany("INSERT INTO captured VALUES (?, ?, ?, ?, ?, ?)", answers)
        db.execute("DELETE FROM captured WHERE at < ?", (now - _KEPT_S,))
        db.execute("DELETE FROM captured WHERE rowid <= (SELECT MAX(rowid) FROM captured) - ?", (_KEPT,))


def forget(path: Path, deployment: str) -> None:
    """Forget what a deployment answered."""
    if path.exists():
        with _open(path) as db:
            db.execute("DELETE FROM captured WHERE deployment = ?", (deployment,))


def read(path: Path, *, start: float, end: float, limit: int) -> Mapping[str, Sequence[CapturedAnswer]]:
    """Return, by deployment, the newest answers to requests that came from `start` on and before `end`, in order."""
    if not path.exists():
        return {}
    found: dict[str, list[CapturedAnswer]] = {}
    query = "SELECT * FROM captured WHERE at >= ? AND at < ? ORDER BY at DESC"
    with _open(path) as db:
        for one in map(Captured._make, db.execute(query, (start, end))):
            kept = found.setdefault(one.deployment, [])
            if len(kept) < limit:
                kept.append(_answer(one))
    return {name: answers[::-1] for name, answers in found.items()}


def _answer(one: Captured) -> CapturedAnswer:
    return CapturedAnswer(
        at=one.at,
        inputs=json.loads(one.inputs),
        outputs=json.loads(one.outputs),
        request_id=one.id,
        duration_s=one.duration_s,
    )


def _object_text(body: bytes) -> str | None:
    if len(body) > _LARGEST:
        return None
    try:
        value: Any = json.loads(body)
    except ValueError:
        return None
    return json.dumps(value) if isinstance(value, dict) else None


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as db:
        keep_log(db)
        db.execute("PRAGMA secure_delete = ON")
        db.executescript(_SCHEMA)
        with db:
            yield db
