"""Answers of models, kept by content."""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from llmops.engine.gateway.calls import Usage
from llmops.errors import UsageError

_BUSY_TIMEOUT_S = 60.0
_TABLE = "CREATE TABLE IF NOT EXISTS call (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"


@dataclass(frozen=True, kw_only=True)
class StoredAnswer:
    """A whole answer of a model; only those with a status of 200 to 299 are kept.

    Attributes:
        content_type: of the body; server-sent events are kept as they came and replayed as such.
        body: what the flow saw.
        usage: None when the answer did not say.
        model: that the answer names.
        stand_in: whether the stand-in model answered.
    """

    status: int
    content_type: str
    body: bytes
    usage: Usage | None
    model: str
    stand_in: bool = False


class CallStore:
    """Answers in SQLite (WAL, as the line cache); several gateways may share one file.

    Args:
        path: is created if need be; a damaged file is moved aside and kept.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.moved_aside: Path | None = None
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise self._unusable(error) from error
            self.moved_aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
            path.replace(self.moved_aside)
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(_TABLE)
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def find(self, key: str) -> StoredAnswer | None:
        """Return the answer that is kept under a key.

        Raises:
            UsageError: the file cannot be read; paying again instead is for a person to decide.
        """
        try:
            row = self._db.execute("SELECT value FROM call WHERE key = ?", (key,)).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error
        return unpack(row[0]) if row else None

    def keep(self, key: str, answer: StoredAnswer) -> None:
        """Keep an answer; durable when this returns. The first one stays.

        Raises:
            UsageError: the file cannot be written.
        """
        try:
            self._db.execute("INSERT OR IGNORE INTO call VALUES (?, ?)", (key, pack(answer)))
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _unusable(self, error: sqlite3.Error) -> UsageError:
        return UsageError.of(
            "the call cache cannot be used",
            where=str(self.path),
            found=str(error),
            expected="a writable file on a local disk with free space",
            fix="Free the disk or the lock and run the same command again; answers that are kept stay kept.",
        )


def pack(answer: StoredAnswer) -> bytes:
    """Turn an answer into bytes: a line of JSON and the body, compressed."""
    head = [answer.status, answer.content_type, answer.usage, answer.model, answer.stand_in]
    return zlib.compress(json.dumps(head).encode() + b"\n" + answer.body, 1)


def unpack(value: bytes) -> StoredAnswer:
    """Read what `pack` wrote."""
    head, _, body = zlib.decompress(value).partition(b"\n")
    status, content_type, usage, model, stand_in = json.loads(head)
    return StoredAnswer(
        status=status,
        content_type=content_type,
        body=body,
        usage=Usage(*usage) if usage else None,
        model=model,
        stand_in=stand_in,
    )
