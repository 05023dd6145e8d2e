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
from tests.hosts.surroundings import build_context, read_outputs
from tests.reports.verdicts import build_verdict, failed_verdict


@pytest.fixture
def verdict(tmp_path: Path) -> Path:
    path = tmp_path / "verdict.json"
    write_record(path, failed_verdict())
    return path


def run(verdict: Path, *, output: Path | None = None, formats: tuple[str, ...] = (), json_output: bool = False) -> str:
    """Run the command, see that it is done, and give what it wrote."""
    lines: list[str] = []
    context = build_context(verdict.parent, lines)
    assert report(context=context, verdict=verdict, output=output, formats=formats, json_output=json_output) == 0
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


def test_the_checks_exit_code_is_returned_when_it_is_asked_for(verdict: Path) -> None:
    assert report(context=build_context(verdict.parent), verdict=verdict, exit_code=True) == 10


def test_an_expected_experiment_without_a_verdict_is_named_and_is_no_pass(tmp_path: Path) -> None:
    write_record(tmp_path / "results" / "a" / "verdict.json", build_verdict(experiment="a"))
    lines: list[str] = []
    code = report(
        context=build_context(tmp_path, lines), verdict=tmp_path / "results", expected=("a", "b"), exit_code=True
    )
    assert code == 11
    assert lines[-1] == "b: no verdict; see the log of its job"


def test_several_verdicts_below_a_folder_are_reported_together(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_record(tmp_path / name / "verdict.json", build_verdict(experiment=name))
    lines: list[str] = []
    assert report(context=build_context(tmp_path, lines), verdict=tmp_path, output=tmp_path / "out") == 0
    assert (tmp_path / "out" / "a" / "report.html").is_file()
    assert "experiment" in lines[0]


def test_a_verdict_whose_name_would_leave_the_folder_is_refused(tmp_path: Path) -> None:
    write_record(tmp_path / "a" / "verdict.json", build_verdict(experiment="../../outside"))
    with pytest.raises(UsageError, match="not an experiment's name"):
        report(context=build_context(tmp_path), verdict=tmp_path, output=tmp_path / "out")


def test_a_verdict_that_is_a_link_to_another_file_is_refused(verdict: Path, tmp_path: Path) -> None:
    (tmp_path / "results" / "a").mkdir(parents=True)
    (tmp_path / "results" / "a" / "verdict.json").symlink_to(verdict)
    with pytest.raises(UsageError, match="not a verdict to be read"):
        report(context=build_context(tmp_path), verdict=tmp_path / "results")


def test_on_github_the_summary_and_the_outputs_are_written(verdict: Path, tmp_path: Path) -> None:
    env = {name: str(tmp_path / name) for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    lines: list[str] = []
    context = build_context(tmp_path, lines, env={"GITHUB_ACTIONS": "true", **env})
    report(context=context, verdict=verdict)
    assert "web-classification: failed" in Path(env["GITHUB_STEP_SUMMARY"]).read_text()
    assert read_outputs(Path(env["GITHUB_OUTPUT"])) == {"outcome": "fail", "exit_code": "10"}
    assert [line.partition(" ")[0] for line in lines if line.startswith("::")] == ["::error"] * 4
