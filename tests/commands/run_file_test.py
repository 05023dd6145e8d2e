"""Prompt flow's own run files, `llmops test` and `llmops runs`."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.projects import TinyProject, make_project

RUN = """\
$schema: https://azuremlschemas.azureedge.net/promptflow/latest/Run.schema.json
name: first
display_name: The first
tags: {a: b}
flow: ../flows/answer
data: ../rows.jsonl
column_mapping: {question: "${data.question}"}
environment_variables: {TONE: mild}
resources: {instance_type: large}
"""
EVALUATION = """\
flow: ../flows/score
data: ../rows.jsonl
column_mapping: {expected: "${data.expected}", answer: "${run.outputs.answer}"}
"""


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    project = make_project(tmp_path)
    project.rows("one", "two", "raise:x", expected={"one": "other"})
    project.write("files/run.yml", RUN)
    project.write("files/evaluation.yml", EVALUATION)
    return project


def test_a_run_file_runs_and_says_what_the_backend_cannot_honour(project: TinyProject) -> None:
    answer = project.run("run", "--file", "files/run.yml")
    assert answer.code == 0, answer.err
    assert "2 completed, 1 failed, 0 unmeasured" in answer.out
    assert "`resources` has no meaning for the backend 'local' and is not used." in answer.err


def test_an_evaluation_file_scores_a_run_by_its_name(project: TinyProject) -> None:
    project.run("run", "--file", "files/run.yml")
    answer = project.run("evaluate", "--file", "files/evaluation.yml", "--run", "first", "--json")
    assert answer.code == 0, answer.err
    (accuracy,) = (metric for metric in json.loads(answer.out)["metrics"] if metric["name"] == "accuracy")
    assert (accuracy["reported"], accuracy["failed"]) == (0.5, 1)


def test_an_evaluation_file_without_a_run_is_refused(project: TinyProject) -> None:
    answer = project.run("evaluate", "--file", "files/evaluation.yml")
    assert answer.code == 2
    assert "which run is evaluated?" in answer.err


def test_every_problem_of_a_run_file_is_said_at_once(project: TinyProject) -> None:
    project.write("files/run.yml", "flwo: x\ndata: wasbs:rows:1\ntags: [a]\n")
    answer = project.run("run", "--file", "files/run.yml")
    assert answer.code == 2
    for part in ("unknown key 'flwo'", "did you mean 'flow'?", "not a path", "not a mapping", "missing key 'flow'"):
        assert part in answer.err


def test_a_name_belongs_to_one_run(project: TinyProject) -> None:
    project.run("run", "--file", "files/run.yml")
    project.replace("files/run.yml", "TONE: mild", "TONE: harsh")
    answer = project.run("run", "--file", "files/run.yml")
    assert answer.code == 2
    assert "the name 'first' belongs to another run" in answer.err


def test_variables_and_init_may_stand_in_files(project: TinyProject) -> None:
    project.write(
        "talk.py",
        "import os\n\nclass Say:\n    def __init__(self, mark): self.mark = mark\n"
        "    def __call__(self, question): return os.environ['TONE'] + self.mark\n",
    )
    project.write("flows/say/flow.flex.yaml", "entry: say:Say\n")
    (project.root / "talk.py").rename(project.root / "flows/say/say.py")
    project.write("files/tone.env", "# a comment\nTONE='mild'\n")
    project.write("files/init.json", '{"mark": "!"}')
    project.write(
        "files/run.yml",
        "flow: ../flows/say\ndata: ../rows.jsonl\nenvironment_variables: tone.env\ninit: init.json\nname: say\n",
    )
    assert project.run("run", "--file", "files/run.yml").code == 0
    shown = json.loads(project.run("runs", "show", "say", "--json").out)
    assert shown["lines"][0]["outputs"] == {"output": "mild!"}


def test_neither_an_experiment_nor_a_file_is_refused(project: TinyProject) -> None:
    answer = project.run("run")
    assert answer.code == 2
    assert "give EXPERIMENT or --file" in answer.err


def test_one_input_shows_outputs_and_what_each_node_did(project: TinyProject) -> None:
    answer = project.run("test", "flows/answer", "--inputs", "question=print:hello", "--json")
    assert answer.code == 0, answer.err
    shown = json.loads(answer.out)
    assert shown["outputs"] == {"answer": "olleh:tnirp"}
    (node,) = shown["nodes"]
    assert (node["node"], node["status"], node["output"]) == ("answer", "Completed", "olleh:tnirp")
    assert re.fullmatch(r"answer: \[.*\] hello\n", shown["logs"])


def test_an_input_on_which_the_flow_fails_exits_10_and_shows_where(project: TinyProject) -> None:
    answer = project.run("test", "tiny", "--inputs", "question=raise:it")
    assert answer.code == 10
    assert "failed in node answer: ValueError: asked to raise it" in answer.out
    assert 'File "answer.py", line ' in answer.out


def test_a_missing_input_and_an_unknown_one_are_refused(project: TinyProject) -> None:
    missing = project.run("test", "flows/answer")
    assert (missing.code, "missing input 'question'" in missing.err) == (2, True)
    unknown = project.run("test", "flows/answer", "--inputs", "qestion=x")
    assert (unknown.code, "did you mean 'question'?" in unknown.err) == (2, True)


def test_the_first_row_of_a_file_is_an_input(project: TinyProject) -> None:
    answer = project.run("test", "flows/answer", "--inputs", "rows.jsonl", "--json")
    assert json.loads(answer.out)["outputs"] == {"answer": "eno"}


def test_an_interactive_test_answers_each_line_that_is_typed(project: TinyProject) -> None:
    process = project.start("test", "flows/answer", "--interactive", stdin=subprocess.PIPE)
    out, err = process.communicate("abc\nxyz\n", timeout=60)
    assert process.returncode == 0, err
    assert '"answer": "cba"' in out
    assert '"answer": "zyx"' in out


def test_runs_are_listed_newest_first_with_their_names(project: TinyProject) -> None:
    project.run("run", "--file", "files/run.yml")
    project.run("run", "tiny")
    listed = json.loads(project.run("runs", "list", "--json").out)
    assert [one["name"] for one in listed] == [None, "first"]
    assert "first" in project.run("runs", "list").out


def test_two_runs_are_compared_with_the_rows_that_flipped(project: TinyProject) -> None:
    before = json.loads(project.run("run", "tiny", "--json").out)["id"]
    project.replace("flows/answer/answer.py", 'raise ValueError(f"asked to raise {argument}")', 'return "calm"')
    after = json.loads(project.run("run", "tiny", "--json").out)["id"]
    compared = json.loads(project.run("runs", "compare", before, after, "--json").out)
    assert [(flip["row"], flip["change"]) for flip in compared["flips"]] == [(2, "failed → completed")]
    assert "1 rows differ" in project.run("runs", "compare", before, after).out


def test_logs_and_lines_of_a_run_can_be_read(project: TinyProject) -> None:
    project.rows("print:hello")
    identifier = json.loads(project.run("run", "tiny", "--json").out)["id"]
    assert re.fullmatch(r"answer: \[.*\] hello\n", project.run("runs", "logs", identifier).out)
    assert project.run("runs", "export", identifier, "--output", "lines.csv").code == 0
    text = (project.root / "lines.csv").read_text("utf-8")
    assert text.splitlines()[0] == "row,repeat,status,inputs.question,outputs.answer,error"
    assert json.loads(project.run("runs", "export", identifier).out)["outputs"] == {"answer": "olleh:tnirp"}


def test_a_run_that_is_not_there_is_said(project: TinyProject) -> None:
    answer = project.run("runs", "show", "nothing")
    assert (answer.code, "no such run" in answer.err) == (2, True)
