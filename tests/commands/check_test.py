"""`llmops check` from end to end, on small real projects."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.projects import TinyProject, findings, make_project


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    return make_project(tmp_path / "project")


def test_a_good_flow_passes_and_leaves_four_reports(project: TinyProject) -> None:
    answer = project.run("check", "--output", "reports")
    assert answer.code == 0, answer.err
    assert "tiny in local: passed" in answer.out
    names = {path.name for path in (project.root / "reports").iterdir()}
    assert names == {"verdict.json", "report.md", "junit.xml", "report.html"}


def test_a_second_check_answers_with_the_recorded_verdict_and_starts_no_worker(project: TinyProject) -> None:
    first = project.check()
    logs = {path: path.stat().st_mtime_ns for path in (project.root / ".llmops/logs").iterdir()}
    second = project.check()
    assert second == first
    assert {path: path.stat().st_mtime_ns for path in (project.root / ".llmops/logs").iterdir()} == logs


def test_twelve_failed_rows_of_twenty_never_pass_whatever_the_others_score(project: TinyProject) -> None:
    project.rows(*(f"raise:{n}" for n in range(12)), *(f"good {n}" for n in range(8)))
    code, verdict = project.check()
    assert code == 10
    assert findings(verdict)["max_failed max_failed"] == "fail"
    accuracy = next(metric for metric in verdict["candidate"]["metrics"] if metric["name"] == "accuracy")
    assert (accuracy["value"], accuracy["reported"], accuracy["failed"]) == (0.4, 1.0, 12)


def test_an_evaluator_without_its_log_metric_line_never_passes(project: TinyProject) -> None:
    project.replace("flows/score/aggregate.py", 'log_metric("accuracy", sum(grades) / len(grades))', "pass")
    answer = project.run("check")
    assert answer.code == 2
    assert "no such metric" in answer.err
    assert "found 'accuracy'" in answer.err


def test_a_metric_that_the_source_promises_and_the_run_does_not_report_is_inconclusive(project: TinyProject) -> None:
    line = 'log_metric("accuracy", sum(grades) / len(grades))'
    project.replace("flows/score/aggregate.py", line, f"if not grades:\n        {line}")
    code, verdict = project.check()
    assert code == 11
    assert findings(verdict)["accuracy min"] == "inconclusive"


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "'high'", "None"])
def test_a_metric_that_is_no_finite_number_is_inconclusive(project: TinyProject, value: str) -> None:
    project.replace("flows/score/aggregate.py", "sum(grades) / len(grades)", value)
    code, verdict = project.check()
    assert (code, findings(verdict)["accuracy min"]) == (11, "inconclusive")


def test_a_logged_value_that_its_own_rows_contradict_is_inconclusive(project: TinyProject) -> None:
    project.replace("flows/score/aggregate.py", "sum(grades) / len(grades)", "1.0")
    project.rows("a b", "wrong", expected={"wrong": "something else"})
    code, verdict = project.check()
    assert code == 11
    message = next(found["message"] for found in verdict["findings"] if found["metric"] == "accuracy")
    assert message == "the evaluator logged 1, but the mean of 'correct' over its rows is 0.5"


def test_rows_that_the_evaluator_could_not_score_are_unmeasured_not_wrong(project: TinyProject) -> None:
    project.rows(*(f"row {n}" for n in range(19)), "odd", expected={"odd": "crash"})
    code, verdict = project.check()
    assert code == 11
    assert (verdict["candidate"]["unmeasured"], verdict["candidate"]["failed"]) == (1, 0)
    assert findings(verdict) == {
        "max_failed max_failed": "inconclusive",
        "max_unmeasured max_unmeasured": "inconclusive",
        "accuracy min": "pass",
        "accuracy max_regression": "skipped",
    }


def test_an_evaluator_that_fails_on_every_row_is_inconclusive(project: TinyProject) -> None:
    project.replace("flows/score/grade.py", 'if expected == "crash":', "if True:")
    code, verdict = project.check()
    assert (code, verdict["candidate"]["unmeasured"]) == (11, 20)


def test_a_regression_against_head_fails_and_names_the_rows_that_flipped(project: TinyProject) -> None:
    project.replace(
        "flows/answer/answer.py", "return question[::-1]", 'return question[::-1] if "1" in question else ""'
    )
    code, verdict = project.check("--baseline", "HEAD")
    assert code == 10
    assert findings(verdict)["accuracy max_regression"] == "fail"
    assert verdict["regressed"] == 9
    flip = verdict["flipped"][0]
    assert (flip["change"], flip["candidate"]["outputs"], flip["baseline"]["outputs"]) == (
        "regressed",
        {"answer": ""},
        {"answer": "0 noitseuq"},
    )


def test_a_check_leaves_checkout_index_and_worktrees_as_they_were(project: TinyProject) -> None:
    project.replace("flows/answer/answer.py", "question[::-1]", "question[::-1] + ''")

    def state() -> list[object]:
        commands = (["status", "--porcelain"], ["worktree", "list"], ["stash", "list"])
        texts = [subprocess.check_output(["git", *command], cwd=project.root) for command in commands]
        return [*texts, (project.root / ".git/index").read_bytes(), sorted(project.root.glob("flows/**/*"))]

    before = state()
    assert project.check("--baseline", "HEAD")[0] == 0
    assert state() == before


def test_a_flow_that_did_not_exist_at_the_baseline_is_judged_by_its_absolute_limits(project: TinyProject) -> None:
    subprocess.run(["git", "mv", "flows/answer", "flows/reply"], cwd=project.root, check=True)
    project.replace("config/experiments/tiny.yaml", "flow: flows/answer", "flow: flows/reply")
    code, verdict = project.check("--baseline", "HEAD")
    assert code == 0
    assert verdict["baseline"] is None
    assert verdict["baseline_reason"].startswith("the flow does not exist at ")
    assert findings(verdict)["accuracy max_regression"] == "skipped"


def test_a_baseline_that_does_not_load_leaves_the_regression_undecided(project: TinyProject) -> None:
    project.replace("flows/answer/answer.py", "import os", "import a_module_that_nobody_has\nimport os")
    project.commit("broken")
    project.replace("flows/answer/answer.py", "import a_module_that_nobody_has\n", "")
    code, verdict = project.check("--baseline", "HEAD")
    assert code == 11
    assert findings(verdict)["accuracy max_regression"] == "inconclusive"
    assert "a_module_that_nobody_has" in verdict["baseline_reason"]


def test_the_target_branch_of_a_pull_request_is_the_default_baseline(project: TinyProject) -> None:
    subprocess.run(["git", "update-ref", "refs/remotes/origin/main", "HEAD"], cwd=project.root, check=True)
    answer = project.run("check", "--json", env={"GITHUB_BASE_REF": "main"})
    (result,) = json.loads(answer.out)["experiments"]
    verdict = json.loads(Path(result["reports"]["json"]).read_text(encoding="utf-8"))
    assert verdict["baseline_reason"] == "the target branch of this pull request (GITHUB_BASE_REF)"


BAD_INPUT = {
    "unknown experiment": (
        ("check", "tinny"),
        None,
        "error: no experiment 'tinny'\n  expected 'tiny'\n  did you mean 'tiny'?\n",
    ),
    "misspelt key": (
        ("check",),
        ("config/experiments/tiny.yaml", "column_mapping:\n  question", "colum_mapping:\n  question"),
        "error: config/experiments/tiny.yaml:4: colum_mapping: unknown key\n",
    ),
    "missing data file": (
        ("check",),
        ("config/experiments/tiny.yaml", "rows.jsonl", "rowz.jsonl"),
        "config/experiments/tiny.yaml:3: datasets.rows.path: ",
    ),
    "malformed line": (
        ("check",),
        ("rows.jsonl", '"expected": "1 noitseuq"}', '"expected": "1 noitseuq"'),
        "rows.jsonl:2",
    ),
    "column that does not exist": (
        ("check",),
        ("config/experiments/tiny.yaml", "${data.question}", "${data.query}"),
        "error: config/experiments/tiny.yaml:5: column_mapping.question: the data has no column 'query'\n",
    ),
    "required input that nothing maps to": (
        ("check",),
        ("flows/answer/flow.dag.yaml", "question: {type: string}", "question: {type: string}\n  tone: {type: string}"),
        "nothing maps to the required input 'tone'",
    ),
    "flow that does not load": (
        ("check",),
        ("flows/answer/answer.py", "import os", "import a_module_that_nobody_has"),
        "tiny: flows/answer (node answer): the flow does not load\n  found ModuleNotFoundError",
    ),
    "metric that nobody reports": (
        ("check",),
        ("config/experiments/tiny.yaml", "metric: accuracy, min", "metric: acuracy, min"),
        "did you mean 'accuracy'?",
    ),
    "unknown ref": (("check", "--baseline", "mian"), None, "did you mean 'main'?"),
    "unknown environment": (("check", "--environment", "lokal"), None, "did you mean 'local'?"),
    "unknown data set": (("check", "--dataset", "row"), None, "did you mean 'rows'?"),
    "unknown option": (("check", "--enviroment", "local"), None, "did you mean '--environment'?"),
    "no number": (("check", "--concurrency", "many"), None, "--concurrency"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_says_where_and_what_to_do_without_a_traceback(project: TinyProject, case: str) -> None:
    arguments, change, message = BAD_INPUT[case]
    if change:
        project.replace(*change)
    answer = project.run(*arguments)
    assert answer.code == 2, answer.err
    assert message in answer.err
    assert "Traceback (most recent call last)" not in answer.err
    assert not (project.root / ".llmops/verdicts").exists()


def test_an_empty_data_set_is_an_error_before_any_line_runs(project: TinyProject) -> None:
    project.write("rows.jsonl", "")
    answer = project.run("check")
    assert answer.code == 2
    assert "rows.jsonl" in answer.err
    assert not (project.root / ".llmops/runs").exists()


def test_all_problems_are_reported_in_one_go(project: TinyProject) -> None:
    project.replace("config/experiments/tiny.yaml", "metric: accuracy, min", "metric: acuracy, min")
    project.replace("config/experiments/tiny.yaml", "${data.question}", "${data.query}")
    answer = project.run("check")
    assert answer.code == 2
    assert "no such metric" in answer.err
    assert "the data has no column 'query'" in answer.err


def test_two_experiments_end_with_the_worse_exit_code(project: TinyProject) -> None:
    text = (project.root / "config/experiments/tiny.yaml").read_text(encoding="utf-8")
    project.write("config/experiments/strict.yaml", text.replace("min: 0.8", "min: 1.5"))
    answer = project.run("check", "--json")
    results = json.loads(answer.out)["experiments"]
    assert answer.code == 10
    assert [(result["experiment"], result["exit_code"]) for result in results] == [("strict", 10), ("tiny", 0)]


def test_options_have_a_variable_and_a_flag_wins_over_it(project: TinyProject) -> None:
    assert project.run("check", env={"LLMOPS_BASELINE": "no-such-ref"}).code == 2
    assert project.run("check", "--baseline", "none", env={"LLMOPS_BASELINE": "no-such-ref"}).code == 0
    assert json.loads(project.run("check", env={"LLMOPS_JSON": "true", "LLMOPS_REPEAT": "2"}).out)["experiments"]
