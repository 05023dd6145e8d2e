"""Finished lines, kept for good: a line that was paid for is never paid for again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops.engine.sqlite_file import SqliteFile, say_nothing
from llmops.records import LineStatus

ENGINE_VERSION = "1"
"""Part of every key; raised when the same inputs would give another result."""

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS line (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS aggregation (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
)
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
    stand_in: bool = False

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
    """A content-addressed store; several drivers may share one file.

    Args:
        path: of the file, see `SqliteFile`.
        say: is told when it was damaged.

    Every method raises `UsageError` when the file cannot be used.
    """

    def __init__(self, path: Path, say: Callable[[str], None] = say_nothing) -> None:
        self._file = SqliteFile(path, what="line cache", kept="lines that are stored", schema=_SCHEMA, say=say)

    def close(self) -> None:
        """Close the file; what was stored stays."""
        self._file.close()

    def find(self, keys: Sequence[str]) -> dict[str, StoredLine]:
        """Return the stored lines among `keys`; one that is damaged counts as not there."""
        found: dict[str, StoredLine] = {}
        for start in range(0, len(keys), _LOOKUP_BATCH):
            batch = keys[start : start + _LOOKUP_BATCH]
            marks = ",".join("?" * len(batch))
            rows = self._file.execute(f"SELECT key, value FROM line WHERE key IN ({marks})", batch)  # noqa: S608 only question marks
            for key, value in rows:
                with contextlib.suppress(zlib.error, ValueError):
                    found[key] = _unpack(value)
        return found

    def store(self, key: str, line: StoredLine) -> None:
        """Keep a line; durable when this returns. A final line is never replaced by one that is not."""
        self._file.execute(
            "INSERT INTO line VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE ?",
            (key, _pack(line), line.is_final),
        )

    def find_aggregation(self, key: str) -> Mapping[str, Any] | None:
        """Return what `store_aggregation` kept under this key."""
        rows = self._file.execute("SELECT value FROM aggregation WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def store_aggregation(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep the result of an evaluation flow's aggregation nodes."""
        self._file.execute("INSERT OR REPLACE INTO aggregation VALUES (?, ?)", (key, json.dumps(value)))


def _pack(line: StoredLine) -> bytes:
    body = [line.status, line.outputs, line.error, line.duration_s, line.tokens, line.aggregation_inputs]
    body += [line.cost_usd, line.stand_in]
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
        stand_in=more[1] if more[1:] else False,
    )
