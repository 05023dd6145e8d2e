"""A history in a folder."""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor, TimeoutError  # noqa: A004 Python 3.10 has a TimeoutError of its own
from pathlib import Path

import pytest

from llmops.errors import UsageError
from llmops.history.folder import FolderStore


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "history")
    assert store.read() == {}
    assert store.append({"tiny/dev.jsonl": ["one", "two"], "tiny/prod.jsonl": ["three"]}) == 3
    assert store.read() == {"tiny/dev.jsonl": "one\ntwo\n", "tiny/prod.jsonl": "three\n"}


def test_a_line_that_is_there_is_not_appended_again(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.append({"tiny/dev.jsonl": ["one"]})
    assert store.append({"tiny/dev.jsonl": ["one", "two", "two"]}) == 1
    assert store.read() == {"tiny/dev.jsonl": "one\ntwo\n"}


def test_a_line_that_a_crash_has_cut_does_not_swallow_the_next(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/dev.jsonl").write_text('one\n{"cut', encoding="utf-8")
    FolderStore(tmp_path).append({"tiny/dev.jsonl": ["two"]})
    assert FolderStore(tmp_path).read() == {"tiny/dev.jsonl": 'one\n{"cut\ntwo\n'}


def test_many_at_once_lose_no_line(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        wanted = [f"line {number}" for number in range(64)]
        list(pool.map(lambda line: FolderStore(tmp_path).append({"tiny/dev.jsonl": [line]}), wanted))
    assert sorted(FolderStore(tmp_path).read()["tiny/dev.jsonl"].splitlines()) == sorted(wanted)


def test_an_append_waits_for_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "tiny/dev.jsonl"
    path.parent.mkdir()
    with ThreadPoolExecutor(1) as pool, path.open("a", encoding="utf-8") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        job = pool.submit(FolderStore(tmp_path).append, {"tiny/dev.jsonl": ["one"]})
        with pytest.raises(TimeoutError):
            job.result(timeout=0.5)
        other.write("one\n")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_UN)
        assert job.result() == 0
    assert path.read_text(encoding="utf-8") == "one\n"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="the history cannot be written"):
        FolderStore(tmp_path / "file").append({"tiny/dev.jsonl": ["one"]})
