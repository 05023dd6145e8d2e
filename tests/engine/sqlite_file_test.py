"""The files of the caches: what becomes of them when they are damaged."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops.backends.local.serving import captured, request_log
from llmops.backends.local.serving.store import EndpointStore
from llmops.engine.cache import LineCache, StoredLine
from llmops.engine.gateway.store import CallStore, StoredAnswer
from llmops.engine.sqlite_file import SqliteFile
from llmops.errors import LlmopsError, UsageError

SCHEMA = ["CREATE TABLE IF NOT EXISTS thing (name TEXT PRIMARY KEY)"]
LINE = StoredLine(
    status="completed", outputs={"answer": "x" * 500}, error=None, duration_s=1.0, tokens={}, aggregation_inputs={}
)
FILES = 100
ANSWER = StoredAnswer(status=200, content_type="text/plain", body=b"yes", usage=None, model="m")


def test_what_was_stored_is_there_for_the_next_who_opens_the_file(tmp_path: Path) -> None:
    for _ in range(2):
        file = SqliteFile(tmp_path / "f.sqlite", what="file", kept="things", schema=SCHEMA)
        file.execute("INSERT OR IGNORE INTO thing VALUES (?)", ("a",))
        assert file.execute("SELECT name FROM thing") == [("a",)]
        file.close()


def _open_cache(path: Path) -> None:
    SqliteFile(path, what="file", kept="things", schema=SCHEMA).close()


def _open_endpoints(path: Path) -> None:
    EndpointStore(path).ensure("web", environment="dev", tags={})


def _open_captured(path: Path) -> None:
    captured.append(path, [], now=0.0)


def _open_requests(path: Path) -> None:
    request_log.append(path, [])


def _use_damaged_cache(path: Path) -> None:
    cache = LineCache(path)
    cache.store(f"key of {os.getpid()}", LINE)
    cache.close()


@pytest.mark.parametrize("open_file", [_open_cache, _open_endpoints, _open_captured, _open_requests])
def test_several_who_make_the_same_file_at_once_all_get_it(tmp_path: Path, open_file: Callable[[Path], None]) -> None:
    """SQLite waits for locks, but not for that of another who turns the new file into one with a log."""
    assert _problems_of_four(tmp_path, open_file) == []


def test_several_who_find_the_same_damage_at_once_share_the_new_file(tmp_path: Path) -> None:
    for number in range(FILES):
        (tmp_path / f"{number}.sqlite").write_bytes(b"no database " * 500)
    assert _problems_of_four(tmp_path, _use_damaged_cache) == []
    for number in range(FILES):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{number}.sqlite")) as db:
            assert db.execute("SELECT COUNT(*) FROM line").fetchall() == [(4,)]
        assert len(list(tmp_path.glob(f"{number}.sqlite.damaged-*[0-9]"))) == 1


def _problems_of_four(folder: Path, open_file: Callable[[Path], None]) -> list[str]:
    """Have four processes open the same files, one after the other; return what went wrong."""
    together = multiprocessing.get_context("spawn")
    barrier, problems = together.Barrier(4), together.Queue()
    for _ in range(4):
        together.Process(target=_open_files, args=(folder, open_file, barrier, problems), daemon=True).start()
    found = [problems.get(timeout=120) for _ in range(4)]
    return [problem for problem in found if problem]


def _open_files(
    folder: Path, open_file: Callable[[Path], None], barrier: threading.Barrier, problems: multiprocessing.Queue[str]
) -> None:
    problem = ""
    for number in range(FILES):
        barrier.wait()
        try:
            open_file(folder / f"{number}.sqlite")
        except (LlmopsError, sqlite3.Error, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
    problems.put(problem)


def test_damage_that_shows_only_later_moves_the_file_aside_with_its_log(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    said: list[str] = []
    another_driver = LineCache(path)
    for number in range(2000):
        another_driver.store(f"key {number}", LINE)
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 65536)
    cache = LineCache(path, said.append)
    assert cache.find(["key 1"]) == {}
    cache.store("key 1", LINE)
    assert cache.find(["key 1"]) == {"key 1": LINE}
    cache.close()
    (aside,) = tmp_path.glob("cache.sqlite.damaged-*[0-9]")
    assert aside.with_name(f"{aside.name}-wal").exists()
    another_driver.close()
    assert said == [f"The line cache was damaged; it was moved to {aside} and a new one was started."]


def test_a_value_that_is_damaged_counts_as_not_there(tmp_path: Path) -> None:
    lines, calls = LineCache(tmp_path / "lines.sqlite"), CallStore(tmp_path / "calls.sqlite")
    lines.store("key", LINE)
    calls.keep("key", ANSWER)
    for name, damage in (("lines", "UPDATE line SET value = x'00'"), ("calls", "UPDATE call SET value = x'00'")):
        other = sqlite3.connect(tmp_path / f"{name}.sqlite", isolation_level=None)
        other.execute(damage)
        other.close()
    assert (lines.find(["key"]), calls.find("key")) == ({}, None)
    lines.store("key", LINE)
    calls.keep("key", ANSWER)
    assert (lines.find(["key"]), calls.find("key")) == ({"key": LINE}, ANSWER)


def test_a_folder_that_may_not_be_written_to_is_an_error_and_moves_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache.sqlite").mkdir()
    with pytest.raises(UsageError, match="the line cache cannot be used\n  found unable to open database file"):
        LineCache(tmp_path / "cache.sqlite")
    assert [path.name for path in tmp_path.iterdir()] == ["cache.sqlite"]
