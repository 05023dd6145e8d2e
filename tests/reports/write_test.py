"""The files of a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmops.errors import UsageError
from llmops.records import VerdictRecord, read_record
from llmops.reports.write import write_reports
from tests.reports.verdicts import failed_verdict, hostile_verdict


def test_all_four_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    paths = write_reports(failed_verdict(), tmp_path / "new" / "folder")
    assert {name: path.name for name, path in paths.items()} == {
        "json": "verdict.json",
        "markdown": "report.md",
        "junit": "junit.xml",
        "html": "report.html",
    }
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(
        p.name for p in paths.values()
    )


def test_a_written_verdict_renders_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    paths = write_reports(failed_verdict(), tmp_path / "first")
    again = write_reports(read_record(paths["json"], VerdictRecord), tmp_path / "second")
    assert {name: path.read_bytes() for name, path in again.items()} == {n: p.read_bytes() for n, p in paths.items()}


def test_hostile_text_survives_writing_and_reading(tmp_path: Path) -> None:
    verdict = hostile_verdict()
    path = write_reports(verdict, tmp_path)["json"]
    assert read_record(path, VerdictRecord).notes == verdict.notes


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as caught:
        write_reports(failed_verdict(), tmp_path / "file")
    place = tmp_path / "file" / "verdict.json"
    assert str(caught.value) == f"{place}: cannot write the report\n  found File exists\n  Name another folder."
