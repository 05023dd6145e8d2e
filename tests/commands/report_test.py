"""`llmops report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmops.commands.report import report
from llmops.core.documents import to_json
from llmops.errors import UsageError
from llmops.records import write_record
from tests.reports.verdicts import failed_verdict


@pytest.fixture
def verdict(tmp_path: Path) -> Path:
    path = tmp_path / "verdict.json"
    write_record(path, failed_verdict())
    return path


def run(verdict: Path, *, output: Path | None = None, formats: tuple[str, ...] = (), json_output: bool = False) -> str:
    """Run the command, see that it is done, and give what it wrote."""
    lines: list[str] = []
    code = report(verdict=verdict, output=output, formats=formats, json_output=json_output, write=lines.append)
    assert code == 0
    return "\n".join(lines)


def test_all_reports_are_rendered_beside_the_verdict_and_the_table_is_shown(verdict: Path) -> None:
    text = run(verdict)
    assert text.startswith("✗ web-classification in local: failed.")
    assert f"  html      {verdict.parent / 'report.html'}" in text
    assert {path.name for path in verdict.parent.iterdir()} == {"verdict.json", "report.md", "junit.xml", "report.html"}


def test_a_folder_stands_for_the_verdict_in_it(verdict: Path, tmp_path: Path) -> None:
    run(verdict.parent, output=tmp_path / "out", formats=("markdown",))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.md"]


def test_machines_get_the_outcome_and_the_paths(verdict: Path) -> None:
    assert json.loads(run(verdict, formats=("junit",), json_output=True)) == {
        "experiment": "web-classification",
        "outcome": "fail",
        "exit_code": 10,
        "reports": {"junit": str(verdict.parent / "junit.xml")},
    }


def test_an_unknown_format_is_named_with_a_near_match(verdict: Path) -> None:
    with pytest.raises(UsageError) as caught:
        run(verdict, formats=("htm", "junit"))
    assert str(caught.value) == (
        "--format: unknown report format\n  found 'htm'\n  expected json, markdown, junit, html\n  did you mean 'html'?"
    )
    assert [path.name for path in verdict.parent.iterdir()] == ["verdict.json"]


def test_no_verdict_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no verdict record"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("outcome", "passed"),
        ("regressed", "<script>"),
        ("findings", "abc"),
        ("findings", [{"metric": "a", "limit": "min 1", "outcome": "pass", "value": "0.9"}]),
        ("findings", [{"metric": "a", "limit": "min 1", "outcome": "pass", "interval": [0.1]}]),
        ("experiment", None),
        ("notes", [1]),
        ("notes", "abc"),
        ("candidate", {}),
    ],
)
def test_a_verdict_with_a_value_of_the_wrong_type_is_refused(verdict: Path, field: str, value: Any) -> None:
    verdict.write_text(json.dumps({**to_json(failed_verdict()), field: value}))
    with pytest.raises(UsageError, match="a damaged verdict record"):
        run(verdict)
    assert [path.name for path in verdict.parent.iterdir()] == ["verdict.json"]
