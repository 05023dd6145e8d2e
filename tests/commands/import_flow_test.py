from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from llmops.commands.lint import lint_project
from llmops.config.load import load_project
from tests.flows.repository import DAG
from tests.projects import TinyProject

FILES = {
    "flow.dag.yaml": DAG.replace("{type: string}\n", "{type: string, default: Why?}\n", 1).replace("\n", "\r\n"),
    "answer.py": "from promptflow.core import tool\r\n\r\n\r\n@tool\r\ndef answer(question):\r\n    return question\r\n",
    ".gitignore": "*.log\n",
    "noise.log": "x",
    ".promptflow/flow.tools.json": "{}",
}


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    root = tmp_path / "repository"
    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    with zipfile.ZipFile(tmp_path / "My Flow.zip", "w") as target:
        for name, text in FILES.items():
            target.writestr(name, text)
    return TinyProject(root)


def flow_files(project: TinyProject, name: str = "My-Flow") -> dict[str, bytes]:
    folder = project.root / "flows" / name
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_downloaded_flow_becomes_a_folder_an_experiment_and_what_to_type(project: TinyProject) -> None:
    answer = project.run("import", "../My Flow.zip")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [
        "dropped: .promptflow/flow.tools.json",
        "left out by an ignore file: noise.log",
        "written: flows/My-Flow (3 files)",
        "written: data/My-Flow.jsonl (one row, from the flow's defaults; replace it by rows of your own)",
        "written: config/experiments/My-Flow.yaml (a draft)",
        "written: config/environments/local.yaml",
        "Look through it, then: git add flows/My-Flow config/experiments/My-Flow.yaml data/My-Flow.jsonl config/environments/local.yaml"
        " && git commit -m 'Import My-Flow'",
        "Next: llmops lint flows/My-Flow",
    ]
    assert all(b"\r" not in content for content in flow_files(project).values())


def test_the_draft_loads_and_init_completes_it(project: TinyProject) -> None:
    project.run("import", "../My Flow.zip", "--name", "qa")
    assert project.run("init", "--yes").code == 0
    assert load_project(project.root).experiments["qa"].flow == "flows/qa"
    assert lint_project(project.root) == []


def test_import_export_import_gives_the_same_bytes(project: TinyProject) -> None:
    project.run("import", "../My Flow.zip", "--name", "one")
    assert project.run("export", "flows/one", "--output", "../two.zip").code == 0
    project.run("import", "../two.zip")
    assert flow_files(project, "one") == flow_files(project, "two")
    project.run("export", "flows/two", "--output", "../again.zip")
    assert (project.root / "../two.zip").read_bytes() == (project.root / "../again.zip").read_bytes()


def test_a_flow_that_is_there_stays_unless_force_is_given(project: TinyProject) -> None:
    project.run("import", "../My Flow.zip", "--name", "qa")
    assert project.run("import", "../My Flow.zip", "--name", "qa").code == 0
    project.write("flows/qa/answer.py", "mine = 1\n")
    refused = project.run("import", "../My Flow.zip", "--name", "qa")
    assert (refused.code, refused.err.splitlines()[0]) == (2, "error: flows/qa: another flow is there")
    assert flow_files(project, "qa")["answer.py"] == b"mine = 1\n"
    project.write("flows/qa/old.py", "")
    assert project.run("import", "../My Flow.zip", "--name", "qa", "--force").code == 0
    assert set(flow_files(project, "qa")) == {"flow.dag.yaml", "answer.py", ".gitignore"}


def test_a_name_may_not_lead_out_of_flows(project: TinyProject) -> None:
    answer = project.run("import", "../My Flow.zip", "--name", "../../x")
    assert (answer.code, answer.err.splitlines()[0]) == (2, "error: --name: not a valid name")


def test_drift_tells_what_differs_and_nothing_but_line_ends_is_no_drift(project: TinyProject) -> None:
    project.run("import", "../My Flow.zip", "--name", "qa")
    same = project.run("drift", "../My Flow.zip", "--flow", "flows/qa")
    assert (same.code, same.out) == (0, "flows/qa: no drift.\n")
    project.replace("flows/qa/answer.py", "return question", "return question.upper()")
    answer = project.run("drift", "../My Flow.zip", "--flow", "flows/qa")
    assert answer.code == 2
    assert answer.out.startswith("differs: answer.py\n")
    assert "  -    return question.upper()" in answer.out
    assert "  node answer: tool answer.py changed (+1 -1 lines)" in answer.out


def test_export_puts_includes_and_imported_packages_beside_the_flow(project: TinyProject) -> None:
    project.write("flows/qa/flow.dag.yaml", DAG + "additional_includes: [../../texts/more.txt]\n")
    project.write("flows/qa/answer.py", "import shared\n")
    project.write("shared.py", "x = 1\n")
    project.write("texts/more.txt", "more\n")
    answer = project.run("export", "flows/qa")
    assert "note: additional_includes stand beside the flow in the ZIP" in answer.out
    with zipfile.ZipFile(project.root / "qa.zip") as archive:
        assert archive.namelist() == ["answer.py", "flow.dag.yaml", "more.txt", "shared.py"]
