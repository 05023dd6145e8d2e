"""Finished lines, kept for good: a line that was paid for is never paid for again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.errors import UsageError
from llmops.records import LineStatus

ENGINE_VERSION = "1"
"""Part of every key; raised when the same inputs would give another result."""

BUSY_TIMEOUT_S = 60.0
_LOOKUP_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class StoredLine:
    """What the cache keeps of a line; see `records.Line` for the fields' meaning."""

    status: LineStatus
    outputs: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    duration_s: float
    tokens: Mapping[str, int]
    aggregation_inputs: Mapping[str, Any]
    cost_usd: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether asking again would only roll the dice: true of everything that was measured."""
        return self.status != "unmeasured"


def line_key(flow_identity: str, inputs: Mapping[str, Any], repeat: int) -> str:
    """Name a measurement by its content.

    Args:
        flow_identity: digest over the flow's closure, variants, connections and environment variables.
        inputs: what the flow receives, after the column mapping.
        repeat: 0-based index of the measurement; other repeats are other measurements.
    """
    body = json.dumps([ENGINE_VERSION, flow_identity, inputs, repeat], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


class LineCache:
    """A content-addressed store in SQLite; several drivers may share one file.

    WAL with `synchronous=NORMAL`: a committed line survives the death of any process
    (https://www.sqlite.org/wal.html).
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.moved_aside: Path | None = None
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise _unusable(path, error) from error
            self.moved_aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
            path.replace(self.moved_aside)
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("CREATE TABLE IF NOT EXISTS line (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
            db.execute("CREATE TABLE IF NOT EXISTS aggregation (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def close(self) -> None:
        """Close the file; what was stored stays."""
        self._db.close()

    def find(self, keys: Sequence[str]) -> dict[str, StoredLine]:
        """Return the stored lines among `keys`."""
        found: dict[str, StoredLine] = {}
        for start in range(0, len(keys), _LOOKUP_BATCH):
            batch = keys[start : start + _LOOKUP_BATCH]
            marks = ",".join("?" * len(batch))
            with _translated(self.path):
                rows = self._db.execute(f"SELECT key, value FROM line WHERE key IN ({marks})", batch).fetchall()  # noqa: S608 only question marks
            found.update((key, _unpack(value)) for key, value in rows)
        return found

    def store(self, key: str, line: StoredLine) -> None:
        """Keep a line; durable when this returns. A final line is never replaced by one that is not."""
        with _translated(self.path):
            self._db.execute(
                "INSERT INTO line VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE ?",
                (key, _pack(line), line.is_final),
            )

    def find_aggregation(self, key: str) -> Mapping[str, Any] | None:
        """Return what `store_aggregation` kept under this key."""
        with _translated(self.path):
            row = self._db.execute("SELECT value FROM aggregation WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def store_aggregation(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep the result of an evaluation flow's aggregation nodes."""
        with _translated(self.path):
            self._db.execute("INSERT OR REPLACE INTO aggregation VALUES (?, ?)", (key, json.dumps(value)))


def _pack(line: StoredLine) -> bytes:
    body = [line.status, line.outputs, line.error, line.duration_s, line.tokens, line.aggregation_inputs, line.cost_usd]
    return zlib.compress(
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"), 1
    )


def _unpack(value: bytes) -> StoredLine:
    status, outputs, error, duration_s, tokens, aggregation_inputs, *more = json.loads(zlib.decompress(value))
    return StoredLine(
        status=status,
        outputs=outputs,
        error=error,
        duration_s=duration_s,
        tokens=tokens,
        aggregation_inputs=aggregation_inputs,
        cost_usd=more[0] if more else None,
    )


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: sqlite3.Error) -> UsageError:
    return UsageError.of(
        "the line cache cannot be used",
        where=str(path),
        found=str(error),
        expected="a writable file on a local disk with free space",
        fix="Free the disk or the lock and run the same command again; lines that are stored stay stored.",
    )
