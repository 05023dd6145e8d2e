"""Built-in metrics and Python evaluators through `llmops check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.projects import TinyProject, findings, make_project

HEAD = """\
flow: flows/answer
datasets:
  rows: {path: rows.jsonl}
column_mapping:
  question: ${data.question}
evaluators:
"""


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    return make_project(tmp_path / "project")


def configure(project: TinyProject, evaluators: str, thresholds: str) -> None:
    project.write("config/experiments/tiny.yaml", f"{HEAD}{evaluators}gate:\n  thresholds: [{thresholds}]\n")


def metric(verdict: dict[str, Any], name: str) -> Any:
    return next(entry for entry in verdict["candidate"]["metrics"] if entry["name"] == name)


PAIR = 'column_mapping: {prediction: "${run.outputs.answer}", reference: "${data.expected}"}'


def test_a_built_in_metric_gates_like_an_evaluation_flow(project: TinyProject) -> None:
    project.rows(*(f"row {n}" for n in range(9)), "odd", expected={"odd": "other"})
    configure(project, f"  match: {{builtin: exact_match, {PAIR}}}\n", "{metric: exact_match, min: 0.95}")
    code, verdict = project.check()
    assert (code, findings(verdict)["exact_match min"]) == (10, "fail")
    assert (metric(verdict, "exact_match")["value"], metric(verdict, "exact_match")["kind"]) == (0.9, "proportion")


def test_rows_that_failed_count_as_wrong_in_a_built_in_metric(project: TinyProject) -> None:
    project.rows("raise:x", *(f"row {n}" for n in range(9)))
    configure(project, f"  match: {{builtin: exact_match, {PAIR}}}\n", "{metric: exact_match, min: 0.9}")
    code, verdict = project.check()
    assert (code, metric(verdict, "exact_match")["value"], metric(verdict, "exact_match")["n"]) == (10, 0.9, 10)


def test_classification_reports_its_aggregation_and_an_interval_for_accuracy(project: TinyProject) -> None:
    configure(project, f"  kind: {{builtin: classification, {PAIR}}}\n", "{metric: accuracy, min: 0.9}")
    code, verdict = project.check()
    assert (code, metric(verdict, "accuracy")["value"], metric(verdict, "f1.macro")["value"]) == (0, 1.0, 1.0)
    assert metric(verdict, "accuracy")["interval"] is not None


def test_latency_is_what_the_engine_measured(project: TinyProject) -> None:
    project.rows("sleep:0.3", "sleep:0.31")
    configure(project, "  speed: {builtin: latency}\n", "{metric: speed.seconds, max: 0.2}")
    code, verdict = project.check()
    assert (code, findings(verdict)["speed.seconds max"]) == (10, "fail")


def test_tokens_that_nobody_counted_leave_the_rows_unmeasured(project: TinyProject) -> None:
    configure(project, "  spent: {builtin: tokens}\n", "{metric: total, max: 10}")
    code, verdict = project.check()
    assert (code, verdict["candidate"]["unmeasured"]) == (11, 20)


def test_a_python_callable_is_an_evaluator(project: TinyProject) -> None:
    project.write("scoring/rules.py", "def shortness(answer: str) -> dict:\n    return {'short': len(answer) < 12}\n")
    evaluator = '  rules: {flow: "scoring/rules.py:shortness", column_mapping: {answer: "${run.outputs.answer}"}}\n'
    configure(project, evaluator, "{metric: short, min: 0.9}")
    code, verdict = project.check()
    assert (code, metric(verdict, "short")["value"]) == (0, 1.0)


def test_repeats_of_an_evaluator_are_averaged_within_the_row(project: TinyProject, tmp_path: Path) -> None:
    counter = tmp_path / "count"
    code = (
        "import os\n\n\ndef judge(answer: str) -> dict:\n"
        f"    descriptor = os.open({str(counter)!r}, os.O_CREAT | os.O_APPEND | os.O_WRONLY)\n"
        "    os.write(descriptor, b'x')\n    return {'score': os.fstat(descriptor).st_size % 2}\n"
    )
    project.write("scoring/judge.py", code)
    project.rows("one", "two")
    evaluator = (
        '  judge: {flow: "scoring/judge.py:judge", repeat: 2, column_mapping: {answer: "${run.outputs.answer}"}}\n'
    )
    configure(project, evaluator, "{metric: score, min: 0.4}")
    code_, verdict = project.check("--concurrency", "1")
    assert (code_, counter.read_text(encoding="utf-8")) == (0, "xxxx")
    assert metric(verdict, "score")["value"] == 0.5


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        ("{builtin: exact_mach}", "did you mean 'exact_match'?"),
        ("{column_mapping: {}}", "an evaluator is a flow or a built-in metric"),
        ("{builtin: exact_match, flow: flows/score}", "an evaluator is a flow or a built-in metric"),
        ("{builtin: exact_match}", "nothing maps to the required input 'prediction'"),
        ("{builtin: latency, column_mapping: {seconds: '${run.line.second}'}}", "of a line nobody measures 'second'"),
    ],
)
def test_a_wrong_evaluator_is_said_before_any_line_runs(project: TinyProject, evaluator: str, message: str) -> None:
    configure(project, f"  wrong: {evaluator}\n", "{metric: exact_match, min: 0.5}")
    answer = project.run("check")
    assert answer.code == 2
    assert message in answer.err


def test_options_that_a_built_in_metric_does_not_have_are_named(project: TinyProject) -> None:
    configure(
        project,
        f"  match: {{builtin: exact_match, options: {{fold: true}}, {PAIR}}}\n",
        "{metric: exact_match, min: 1}",
    )
    answer = project.run("check")
    assert answer.code == 2
    assert "unexpected keyword argument 'fold'" in answer.err
