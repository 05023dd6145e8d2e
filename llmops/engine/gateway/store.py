"""Answers of models, kept by content."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmops.engine.gateway.calls import Usage
from llmops.engine.sqlite_file import SqliteFile, say_nothing

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
    """Answers by the key of their call; several gateways may share one file.

    Args:
        path: of the file, see `SqliteFile`.
        say: is told when it was damaged.

    Every method raises `UsageError` when the file cannot be used: paying again instead is for a person to decide.
    """

    def __init__(self, path: Path, say: Callable[[str], None] = say_nothing) -> None:
        self._file = SqliteFile(path, what="call cache", kept="answers that are kept", schema=[_TABLE], say=say)

    def find(self, key: str) -> StoredAnswer | None:
        """Return the answer that is kept under a key; one that is damaged goes."""
        rows = self._file.execute("SELECT value FROM call WHERE key = ?", (key,))
        try:
            return unpack(rows[0][0]) if rows else None
        except (zlib.error, ValueError):
            self._file.execute("DELETE FROM call WHERE key = ?", (key,))
            return None

    def keep(self, key: str, answer: StoredAnswer) -> None:
        """Keep an answer; durable when this returns. The first one stays."""
        self._file.execute("INSERT OR IGNORE INTO call VALUES (?, ?)", (key, pack(answer)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
