"""An SQLite file that several processes share, and that is moved aside when it is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llmops.engine.locks import exclusive
from llmops.errors import UsageError

BUSY_TIMEOUT_S = 60.0
_LOOK_AGAIN_S = 0.01


def say_nothing(_: str) -> None:
    """Take a sentence that nobody is there to read."""


def keep_log(db: sqlite3.Connection) -> None:
    """Have a file keep a write-ahead log (https://www.sqlite.org/wal.html), so that readers and the writer do not wait.

    SQLite waits for locks, but gives up at once where another connection does the same to the same new file. That is
    waited for here, for as long as the connection waits for locks.
    """
    ((timeout_ms,),) = db.execute("PRAGMA busy_timeout")
    deadline = time.monotonic() + timeout_ms / 1000
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_AGAIN_S)
        else:
            return


class SqliteFile:
    """A connection to a file of our own making.

    With a log and `synchronous=NORMAL`, what is committed survives the death of any process. A damaged file, found at
    once or later, is kept under another name, and a new one takes its place.

    Args:
        path: is created if need be.
        what: name for people, for instance `line cache`.
        kept: what is in it, for people: `lines that are stored`.
        schema: statements that make the tables where they are not there.
        say: takes a sentence for people.

    Raises:
        UsageError: the file cannot be used: no space, no right, a lock that is held for more than a minute.
    """

    def __init__(
        self, path: Path, *, what: str, kept: str, schema: Sequence[str], say: Callable[[str], None] = say_nothing
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._what = what
        self._kept = kept
        self._schema = schema
        self._say = say
        self._identity: tuple[int, int] | None = None
        try:
            with self._alone():
                self._db = self._open()
        except sqlite3.DatabaseError as error:
            self._renew(error)
        except OSError as error:
            raise self._unusable(error) from error

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows; a change is durable when this returns.

        Raises:
            UsageError: see `SqliteFile`.
        """
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._db.close()
            self._renew(error)
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the file; what was stored stays."""
        self._db.close()

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        """Keep other drivers from opening the file, so that none does while it is moved aside and made anew."""
        return exclusive(self.path.parent)

    def _is_ours(self) -> bool:
        """Whether the file that we opened is still there, and not another that took its place."""
        return self._identity == _identity(self.path)

    def _open(self) -> sqlite3.Connection:
        self._identity = _identity(self.path)
        db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            keep_log(db)
            for statement in ("PRAGMA synchronous=NORMAL", *self._schema):
                db.execute(statement)
        except sqlite3.DatabaseError:
            db.close()
            raise
        self._identity = _identity(self.path)
        return db

    def _renew(self, error: sqlite3.DatabaseError) -> None:
        """Open the file that took the place of a damaged one, which is moved aside; any other error is the caller's.

        Damage is a `DatabaseError` and none of its subclasses, which stand for locks, full disks and our own mistakes.
        """
        if type(error) is not sqlite3.DatabaseError and self._is_ours():
            raise self._unusable(error) from error
        try:
            with self._alone():
                if self._is_ours():
                    self._move_aside()
                self._db = self._open()
        except (sqlite3.DatabaseError, OSError) as again:
            raise self._unusable(again) from again

    def _move_aside(self) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns() // 1_000_000}")
        self.path.replace(aside)
        for suffix in ("-wal", "-shm"):  # SQLite would delete the log of a driver that still has the old file open
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).replace(aside.with_name(aside.name + suffix))
        self._say(f"The {self._what} was damaged; it was moved to {aside} and a new one was started.")

    def _unusable(self, error: sqlite3.Error | OSError) -> UsageError:
        return UsageError.of(
            f"the {self._what} cannot be used",
            where=str(self.path),
            found=str(error),
            expected="a writable file on a local disk with free space",
            fix=f"Free the disk or the lock and run the same command again; {self._kept} stay stored.",
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
