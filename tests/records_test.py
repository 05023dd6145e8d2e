from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmops.errors import UsageError
from llmops.records import DatasetRef, FlowRef, RunRecord, read_record, write_record, write_stream

RUN = RunRecord(
    id="qa-1",
    experiment="qa",
    flow=FlowRef(path="flows/qa", digest="sha256:00"),
    dataset=DatasetRef(name="rows", path="rows.jsonl", digest="sha256:11", rows=3),
    column_mapping={"question": "${data.question}"},
    environment="local",
    connections={},
    repeats=1,
    completed=2,
    failed=1,
    unmeasured=0,
    cached=0,
    started_at="2026-01-01T00:00:00Z",
    ended_at="2026-01-01T00:00:01Z",
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path / "run.json", RUN)
    assert read_record(tmp_path / "run.json", RunRecord) == RUN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "not a run record of this version"),
        ({"kind": "verdict"}, "not a run record of this version"),
        ({"rows": None, "completed": "many"}, "a damaged run record"),
        ({"flow": 3}, "a damaged run record"),
    ],
)
def test_another_version_kind_or_form_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_record(tmp_path / "run.json", RUN)
    document = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run.json").write_text(json.dumps({**document, **change}), encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_record(tmp_path / "run.json", RunRecord)


def test_a_missing_and_a_broken_file_are_the_users_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run record"):
        read_record(tmp_path / "none.json", RunRecord)
    (tmp_path / "half.json").write_text('{"kind": ', encoding="utf-8")
    with pytest.raises(UsageError, match="not a readable run record"):
        read_record(tmp_path / "half.json", RunRecord)


def test_a_writer_that_dies_half_way_leaves_the_old_document_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_stream(path, ["old"])

    def broken() -> object:
        yield "new"
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_stream(path, broken())  # type: ignore[arg-type]
    assert path.read_text(encoding="utf-8") == "old\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


def test_text_that_is_no_unicode_is_written_as_escapes(tmp_path: Path) -> None:
    write_stream(tmp_path / "rows.jsonl", ["lone \ud800"])
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8") == "lone \\ud800\n"
