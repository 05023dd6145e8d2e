"""`llmops run`, `evaluate`, `runs` and `check` with their runs in a workspace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops.emulator.cloud import Workspace
from llmops.emulator.emulator import Emulator
from tests.azure.conftest import GROUP, SUBSCRIPTION, Requests, unique
from tests.azure.workbench import Workbench, make_workbench


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    del emulator
    bench = make_workbench(tmp_path / "project", unique("bench"))
    bench.rows("one", "two", "three")
    return bench


def submissions(requests: Requests) -> list[dict[str, Any]]:
    """Return what was submitted, as the service got it."""
    return [json.loads(entry.body) for entry in requests.all("POST", "BulkRuns/submit")]


def test_a_run_is_submitted_watched_and_fetched(bench: Workbench, requests: Requests) -> None:
    record = bench.json("run", "tiny", "--environment", "dev")
    assert (record["completed"], record["failed"], record["unmeasured"]) == (3, 0, 0)
    assert record["link"].startswith("https://ml.azure.com/")
    lines = bench.call("runs", "export", record["id"]).out.splitlines()
    assert [json.loads(line)["outputs"]["answer"] for line in lines] == ["eno", "owt", "eerht"]
    (sent,) = submissions(requests)
    assert sent["batchDataInput"] == {"dataUri": f"azureml:llmops-rows:{record['dataset']['digest'][7:23]}"}


def test_the_same_submission_is_the_run_that_exists(bench: Workbench, requests: Requests) -> None:
    first = bench.json("run", "tiny", "--environment", "dev")
    bench.forget()
    second = bench.json("run", "tiny", "--environment", "dev")
    assert len(submissions(requests)) == 1
    assert (second["id"], second["lines_digest"], second["cached"]) == (first["id"], first["lines_digest"], 3)


def test_a_run_that_is_recorded_asks_nobody(bench: Workbench, requests: Requests) -> None:
    bench.json("run", "tiny", "--environment", "dev")
    before = len(requests.all())
    assert bench.json("run", "tiny", "--environment", "dev")["cached"] == 3
    assert len(requests.all()) == before


def test_the_tags_say_what_was_run(bench: Workbench, requests: Requests) -> None:
    env = {"GITHUB_REF": "refs/pull/17/merge"}
    answer = bench.call("run", "tiny", "--environment", "dev", "--json", env=env)
    record = json.loads(answer.out)
    (sent,) = submissions(requests)
    assert sent["tags"] == {
        "llmops.run": record["id"],
        "llmops.experiment": "tiny",
        "llmops.environment": "dev",
        "llmops.flow": "flows/answer",
        "llmops.digest": record["flow"]["digest"],
        "llmops.commit": record["flow"]["commit"],
        "llmops.pull_request": "17",
        "llmops.data": "rows.jsonl",
        "llmops.data_digest": record["dataset"]["digest"],
        "llmops.lines": "rows",
    }


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ("instance_type: Standard_DS3_v2", {"vmSize": "Standard_DS3_v2"}),
        ("compute: my-instance", {"computeName": "my-instance"}),
    ],
)
def test_the_compute_reaches_the_service(
    bench: Workbench, requests: Requests, runs: str, expected: dict[str, str]
) -> None:
    """`PFClient.run(resources=...)` drops it."""
    bench.environment(runs=runs)
    bench.json("run", "tiny", "--environment", "dev")
    (sent,) = submissions(requests)
    assert {key: sent.get(key) for key in expected} == expected


def test_a_check_judges_failed_lines_of_a_run_that_completed(bench: Workbench) -> None:
    bench.rows("one", "raise:it", "three")
    code, verdict = bench.check_on_azure("tiny")
    assert code == 10
    run = verdict["candidate"]["run"]
    assert (run["completed"], run["failed"]) == (2, 1)
    assert verdict["outcome"] == "fail"


def test_a_check_runs_flow_and_evaluation_there_and_passes(bench: Workbench, requests: Requests) -> None:
    code, verdict = bench.check_on_azure("tiny")
    assert (code, verdict["outcome"]) == (0, "pass")
    metrics = {metric["name"]: metric["value"] for metric in verdict["candidate"]["metrics"]}
    assert metrics["accuracy"] == 1.0
    run, evaluation = submissions(requests)
    assert evaluation["variantRunId"] == run["runId"]
    assert evaluation["inputsMapping"] == {"expected": "${data.expected}", "answer": "${run.outputs.answer}"}


def test_a_check_compares_with_the_baseline_and_finds_what_got_worse(bench: Workbench) -> None:
    bench.commit("as it was")
    bench.replace("flows/answer/answer.py", "return question[::-1]", "return question")
    code, verdict = bench.check_on_azure("tiny", "--baseline", "main")
    assert code == 10
    assert (verdict["regressed"], verdict["baseline"]["metrics"][0]["value"]) == (3, 1.0)


def test_repeats_of_rows_are_lines_of_one_run(bench: Workbench, requests: Requests) -> None:
    record = bench.json("run", "tiny", "--environment", "dev", "--repeat", "2")
    assert record["completed"] == 6
    lines = [json.loads(line) for line in bench.call("runs", "export", record["id"]).out.splitlines()]
    assert [(line["row"], line["repeat"], line["outputs"]["answer"]) for line in lines[:3]] == [
        (0, 0, "eno"),
        (0, 1, "eno"),
        (1, 0, "owt"),
    ]
    assert len(submissions(requests)) == 1


def test_failed_lines_of_a_run_that_is_evaluated_keep_their_places(bench: Workbench) -> None:
    bench.rows("raise:it", "two", "three", expected={"two": "wrong"})
    _, verdict = bench.check_on_azure("tiny")
    assert [(row["row"], row["candidate"]["status"]) for row in verdict["worst"]][:1] == [(0, "failed")]
    evaluation = verdict["candidate"]["evaluation_runs"]["quality"]
    lines = [json.loads(line) for line in bench.call("runs", "export", evaluation).out.splitlines()]
    assert [(line["row"], line["outputs"]["correct"]) for line in lines] == [(1, 0), (2, 1)]


def test_a_built_in_metric_is_formed_on_this_machine(bench: Workbench, requests: Requests) -> None:
    evaluators = "evaluators:\n  same:\n    builtin: exact_match\n    column_mapping: {reference: '${data.expected}', prediction: '${run.outputs.answer}'}\ngate:\n  thresholds: [{metric: exact_match, min: 0.9}]\n"
    text = (bench.root / "config/experiments/tiny.yaml").read_text()
    bench.write("config/experiments/tiny.yaml", text.partition("evaluators:")[0] + evaluators)
    code, verdict = bench.check_on_azure("tiny")
    assert (code, verdict["outcome"]) == (0, "pass")
    assert len(submissions(requests)) == 1


def test_a_flow_that_does_not_load_is_named_with_its_reason(bench: Workbench) -> None:
    bench.write("flows/answer/answer.py", "import nothing_of_that_name\n")
    answer = bench.call("run", "tiny", "--environment", "dev")
    assert answer.code == 2
    assert "the run failed" in answer.err
    assert "nothing_of_that_name" in answer.err
    assert "https://ml.azure.com/" in answer.err


def test_a_run_is_left_to_itself_and_attached_to_again(bench: Workbench, requests: Requests) -> None:
    started = bench.json("run", "tiny", "--environment", "dev", "--detach")
    assert started["status"]
    waited = bench.call("runs", "wait", started["id"])
    assert (waited.code, "3 completed" in waited.out) == (0, True)
    assert bench.json("run", "tiny", "--environment", "dev")["cached"] == 3
    assert len(submissions(requests)) == 1


def test_a_run_that_takes_too_long_goes_on(bench: Workbench, inject: Callable[..., None]) -> None:
    inject(effect="stick_operation", path="BulkRuns/submit")
    bench.environment(runs="timeout_s: 0.3")
    answer = bench.call("run", "tiny", "--environment", "dev")
    assert answer.code == 5
    assert "the run has not ended within 0.3 s" in answer.err
    assert "it is Preparing" in answer.err


def test_a_run_is_canceled_and_started_again(bench: Workbench, inject: Callable[..., None], requests: Requests) -> None:
    inject(effect="stick_operation", path="BulkRuns/submit")
    started = bench.json("run", "tiny", "--environment", "dev", "--detach")
    assert bench.call("runs", "cancel", started["id"]).code == 0
    canceled = bench.call("runs", "wait", started["id"])
    assert (canceled.code, "the run was canceled" in canceled.err) == (4, True)
    record = bench.json("run", "tiny", "--environment", "dev")
    assert (record["completed"], record["remote"]) == (3, [started["id"], f"{started['id']}-2"])
    assert len(submissions(requests)) == 2


def test_runs_of_the_workspace_are_listed_and_shown_wherever_they_were_made(bench: Workbench, tmp_path: Path) -> None:
    made = bench.json("run", "tiny", "--environment", "dev")
    other = make_workbench(tmp_path / "other", bench.workspace)
    (listed,) = other.json("runs", "list", "--environment", "dev")
    assert (listed["id"], listed["experiment"], listed["completed"]) == (made["id"], "tiny", 3)
    shown = other.json("runs", "show", made["id"], "--environment", "dev")
    assert [line["outputs"]["answer"] for line in shown["lines"]] == ["eno", "owt", "eerht"]
    assert shown["run"]["flow"]["digest"] == made["flow"]["digest"]


def test_the_log_of_a_run_is_followed_to_its_end(bench: Workbench) -> None:
    bench.rows("print:it was here", "two")
    started = bench.json("run", "tiny", "--environment", "dev", "--detach")
    log = bench.call("runs", "logs", started["id"], "--follow", "--environment", "dev")
    assert (log.code, log.err) == (0, "")
    assert log.out.count("The run is Running.") == 1
    assert "it was here" in log.out
    assert "The run is Completed." in log.out


def test_two_runs_are_compared(bench: Workbench) -> None:
    first = bench.json("run", "tiny", "--environment", "dev")
    bench.replace("flows/answer/answer.py", "return question[::-1]", 'return question[::-1].replace("owt", "two")')
    second = bench.json("run", "tiny", "--environment", "dev")
    (flip,) = bench.json("runs", "compare", first["id"], second["id"], "--environment", "dev")["flips"]
    assert (flip["row"], [side["outputs"]["answer"] for side in flip["sides"]]) == (1, ["owt", "two"])


RUN_FILE = """\
name: my-run
display_name: My run
description: about it
flow: flows/answer
data: {data}
column_mapping: {{question: "${{data.question}}"}}
tags: {{team: blue}}
resources: {{instance_type: Standard_E4s_v3}}
environment_variables: {{GREETING: hello}}
"""
EVALUATION_FILE = """\
flow: flows/score
data: rows.jsonl
column_mapping: {expected: "${data.expected}", answer: "${run.outputs.answer}"}
"""


def test_run_files_of_prompt_flow_are_run_and_evaluated(bench: Workbench, requests: Requests) -> None:
    bench.write("run.yml", RUN_FILE.format(data="rows.jsonl"))
    bench.write("run_evaluation.yml", EVALUATION_FILE)
    record = bench.json("run", "--file", "run.yml", "--environment", "dev")
    evaluation = bench.json("evaluate", "--file", "run_evaluation.yml", "--run", "my-run", "--environment", "dev")
    assert evaluation["run"]["id"] == record["id"]
    assert [(m["name"], m["value"]) for m in evaluation["metrics"]][:1] == [("accuracy", 1.0)]
    sent, _ = submissions(requests)
    about = {key: sent[key] for key in ("runDisplayName", "description", "vmSize", "environmentVariables")}
    assert about == {
        "runDisplayName": "My run",
        "description": "about it",
        "vmSize": "Standard_E4s_v3",
        "environmentVariables": {"GREETING": "hello"},
    }
    assert sent["tags"]["team"] == "blue"


def test_registered_data_is_taken_as_it_is(bench: Workbench, requests: Requests) -> None:
    uploaded = bench.json("run", "tiny", "--environment", "dev")["dataset"]
    address = f"azureml:llmops-rows:{uploaded['digest'][7:23]}"
    bench.write("run.yml", RUN_FILE.format(data=address))
    record = bench.json("run", "--file", "run.yml", "--environment", "dev")
    assert (record["dataset"]["path"], record["dataset"]["digest"]) == (address, uploaded["digest"])
    assert record["completed"] == 3
    assert submissions(requests)[-1]["batchDataInput"] == {"dataUri": address}


def test_data_that_is_not_registered_is_named(bench: Workbench) -> None:
    bench.write("run.yml", RUN_FILE.format(data="azureml:nothing:1"))
    answer = bench.call("run", "--file", "run.yml", "--environment", "dev")
    assert (answer.code, "azureml:nothing:1: no such data asset" in answer.err) == (2, True)


def test_a_data_set_is_uploaded_once(bench: Workbench, requests: Requests) -> None:
    bench.json("run", "tiny", "--environment", "dev")
    bench.replace("flows/answer/answer.py", "return question[::-1]", "return question")
    bench.json("run", "tiny", "--environment", "dev")
    assert requests.statuses("PUT", "/data/llmops-rows/") == [201]


def test_what_an_interrupted_upload_left_is_written_over(bench: Workbench, emulator: Emulator) -> None:
    """The SDK looks at one file of a flow; where only others are there, it meets them with 409 and gives up."""
    expected = bench.json("run", "tiny", "--environment", "dev")["lines_digest"]
    blobs = emulator.cloud.blobs
    before = Workspace(subscription=SUBSCRIPTION, resource_group=GROUP, name=bench.workspace)
    (left,) = [name for name in blobs.names(before.container, "LocalUpload/") if name.endswith("flow.dag.yaml")]
    after = Workspace(subscription=SUBSCRIPTION, resource_group=GROUP, name=unique("half"))
    emulator.cloud.open_workspace(after)
    blobs.write(after.container, left, b"inp")
    bench.environment(workspace=after.name)
    bench.replace("config/environments/dev.yaml", "busy_s: 1", "busy_s: 0")
    bench.forget()
    assert bench.json("run", "tiny", "--environment", "dev")["lines_digest"] == expected


def test_a_secret_in_a_variable_does_not_leave_this_machine(bench: Workbench, requests: Requests) -> None:
    bench.environment(more="environment_variables: {API_KEY: '${env:MINE}'}\n")
    answer = bench.call("run", "tiny", "--environment", "dev", env={"MINE": "s3cr3t"})
    assert (answer.code, "a secret would be shown in the workspace" in answer.err) == (2, True)
    assert submissions(requests) == []


def test_recordings_are_of_this_machine(bench: Workbench) -> None:
    answer = bench.call("run", "tiny", "--environment", "dev", "--record", "calls.jsonl")
    assert (answer.code, "models are not called through this machine" in answer.err) == (2, True)


def opaque(bench: Workbench) -> None:
    """Ask for confidence about a number that only the evaluation flow can form."""
    path = "config/experiments/tiny.yaml"
    bench.replace(path, "accuracy: {score: correct, kind: proportion}", "accuracy: {kind: opaque}")
    limit = "{metric: quality.accuracy, min: 0.8, confidence: 0.95, method: approximate}"
    bench.replace(path, "{metric: accuracy, min: 0.8, max_regression: 0.1}", limit)


@pytest.mark.parametrize("runs", ["", "compute: job"])
def test_a_number_of_an_evaluation_flows_own_has_a_bootstrap(bench: Workbench, runs: str) -> None:
    bench.environment(runs=runs)
    opaque(bench)
    words = [f"question {number}" for number in range(40)]
    bench.rows(*words, expected={words[3]: "else", words[8]: "else"})
    code, verdict = bench.check_on_azure("tiny", "--baseline", "none")
    finding = verdict["findings"][-1]
    assert (code, finding["outcome"], finding["rule"], finding["value"]) == (0, "pass", "bootstrap", 0.95)
    assert bench.check_on_azure("tiny", "--baseline", "none")[1]["findings"] == verdict["findings"]


def test_an_evaluation_that_differs_on_this_machine_gives_no_confidence(bench: Workbench) -> None:
    opaque(bench)
    bench.rows(*(f"question {number}" for number in range(40)))
    bench.replace("flows/score/aggregate.py", "    log_metric(", '    log_metric("who", os.getpid())\n    log_metric(')
    bench.replace("flows/score/aggregate.py", "from typing", "import os\nfrom typing")
    answer = bench.call("check", "tiny", "--environment", "dev", "--baseline", "none")
    assert (answer.code, "this machine does not find the same" in answer.err) == (11, True), answer.err
