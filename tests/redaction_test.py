"""`redact: true`: what rows, answers and errors say is in no medium that leaves the machine; numbers are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.projects import EXPERIMENT, TinyProject, make_project

ASKED, ANSWERED = "patient-4711", "1174-tneitap"


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """A project whose rows must stay private: one is answered wrongly, one breaks the flow with its own text."""
    project = make_project(tmp_path_factory.mktemp("private"))
    project.write("config/experiments/tiny.yaml", f"{EXPERIMENT}redact: true\n")
    answer = "flows/answer/answer.py"
    broken = 'if "broken" in question: raise ValueError(question)\n    return question[::-1]'
    project.replace(answer, "return question[::-1]", broken)
    asked = [f"{ASKED} {number}" for number in range(8)]
    project.rows(*asked, f"{ASKED} broken", expected={asked[0]: "something else"})
    project.commit("private rows")
    return project


def said_by(project: TinyProject, *command: str, env: dict[str, str] | None = None) -> str:
    answer = project.run(*command, env=env)
    assert answer.code in (0, 10, 11), answer.err
    return f"{answer.out}\n{answer.err}"


def written_in(*places: Path) -> str:
    files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file()]
    assert files
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def is_private(text: str) -> bool:
    return ASKED not in text and ANSWERED not in text


def test_no_output_report_or_summary_of_a_check_holds_what_rows_say(private: TinyProject, tmp_path: Path) -> None:
    summary, outputs = tmp_path / "summary.md", tmp_path / "outputs"
    env = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(outputs)}
    said = said_by(private, "check", "--baseline", "none", "--output", str(tmp_path / "reports"), env=env)
    machine = said_by(private, "check", "--baseline", "none", "--json")
    assert is_private(said)
    assert is_private(machine)
    assert is_private(written_in(tmp_path / "reports", summary, outputs))
    assert "0.7778" in written_in(tmp_path / "reports" / "report.md")


def test_no_comment_and_no_report_of_a_verdict_that_was_not_redacted_holds_it(
    private: TinyProject, tmp_path: Path
) -> None:
    said_by(private, "check", "--baseline", "none")
    (record,) = (private.root / ".llmops/verdicts").glob("*.json")
    assert not is_private(record.read_text(encoding="utf-8"))
    assert is_private(said_by(private, "comment", str(record), "--dry-run"))
    assert is_private(said_by(private, "report", str(record), "--output", str(tmp_path / "reports")))
    assert is_private(written_in(tmp_path / "reports"))


def test_no_verdict_of_the_gate_holds_it(private: TinyProject, tmp_path: Path) -> None:
    run = json.loads(private.run("run", "tiny", "--json").out)["id"]
    evaluation = json.loads(private.run("evaluate", run, "--json").out)["id"]
    said = said_by(private, "gate", evaluation, "--output", str(tmp_path / "verdict.json"))
    assert is_private(said)
    assert is_private(said_by(private, "gate", evaluation, "--json"))
    assert is_private(written_in(tmp_path / "verdict.json"))


def test_no_scheduled_evaluation_holds_it(private: TinyProject, tmp_path: Path) -> None:
    said = said_by(private, "evaluate", "--scheduled", "--output", str(tmp_path / "reports"))
    assert is_private(said)
    assert is_private(written_in(tmp_path / "reports", private.root / ".llmops/history"))
