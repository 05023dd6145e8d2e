"""Recordings and the call cache on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmops.engine.gateway.calls import Usage, read_call
from llmops.engine.gateway.recording import Recording, read_recording
from llmops.engine.gateway.store import CallStore, StoredAnswer
from llmops.errors import UsageError

CALL = read_call(
    "POST", "/chat/completions?api-version=1", {"authorization": "Bearer k"}, b'{"model": "m", "messages": []}'
)
ANSWER = StoredAnswer(status=200, content_type="application/json", body=b'{"a": 1}', usage=Usage(1, 2), model="m")
BINARY = StoredAnswer(status=200, content_type="audio/mp3", body=b"\xff\x00", usage=None, model="")


def keep(text: bytes) -> bytes:
    return text


def test_a_recording_gives_back_what_it_was_given(tmp_path: Path) -> None:
    tape = Recording(tmp_path / "new" / "tape.jsonl", keep)
    tape.add("one", CALL, ANSWER)
    tape.add("two", CALL, BINARY)
    tape.close()
    assert read_recording(tmp_path / "new" / "tape.jsonl") == {"one": ANSWER, "two": BINARY}


def test_a_recording_grows_and_has_each_call_once(tmp_path: Path) -> None:
    for key in ("one", "two", "one"):
        tape = Recording(tmp_path / "tape.jsonl", keep)
        tape.add(key, CALL, ANSWER)
        tape.close()
    assert len((tmp_path / "tape.jsonl").read_text(encoding="utf-8").splitlines()) == 3


def test_no_header_of_a_request_is_in_a_recording(tmp_path: Path) -> None:
    tape = Recording(tmp_path / "tape.jsonl", keep)
    tape.add("one", CALL, ANSWER)
    tape.close()
    entry = json.loads((tmp_path / "tape.jsonl").read_text(encoding="utf-8").splitlines()[1])
    assert entry["request"] == {"method": "POST", "path": "/chat/completions", "body": {"model": "m", "messages": []}}


def test_a_line_that_a_crash_cut_off_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    tape = Recording(path, keep)
    tape.add("one", CALL, ANSWER)
    tape.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key": "two", "requ')
    assert read_recording(path) == {"one": ANSWER}
    Recording(path, keep).close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "text", ["", "hello\n", '{"kind": "run"}\n', '{"kind": "recording", "schema_version": 1}\n{}\n']
)
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tape.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="not a recording of this version"):
        read_recording(path)


def test_a_recording_that_is_missing_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Make one with `--record FILE`"):
        read_recording(tmp_path / "none.jsonl")


def test_the_cache_keeps_the_first_answer(tmp_path: Path) -> None:
    store = CallStore(tmp_path / "calls.sqlite")
    store.keep("key", ANSWER)
    store.keep("key", BINARY)
    assert (store.find("key"), store.find("other")) == (ANSWER, None)
    store.close()


def test_a_damaged_cache_is_moved_aside_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    path.write_text("this is no database, and it is longer than a header would be" * 20, encoding="utf-8")
    said: list[str] = []
    store = CallStore(path, said.append)
    store.keep("key", BINARY)
    assert store.find("key") == BINARY
    (aside,) = tmp_path.glob("calls.sqlite.damaged-*")
    assert said == [f"The call cache was damaged; it was moved to {aside} and a new one was started."]
    assert aside.read_text(encoding="utf-8").startswith("this is no database")
    store.close()
