"""`compute: job`: command jobs of the emulator that really run this driver."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import Requests, unique
from tests.azure.workbench import Workbench, make_workbench
from tests.backends.packages import llm_flow


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    del emulator
    bench = make_workbench(tmp_path / "project", unique("jobs"))
    bench.rows("one", "two", "three")
    bench.environment(runs="compute: job, instance_type: Standard_DS3_v2")
    return bench


def jobs(requests: Requests) -> list[dict[str, Any]]:
    """Return the jobs that were submitted, in order."""
    return [json.loads(entry.body)["properties"] for entry in requests.all("PUT", "/jobs/")]


def test_a_job_runs_this_driver_and_brings_the_same_record_back(bench: Workbench, requests: Requests) -> None:
    record = bench.json("run", "tiny", "--environment", "dev")
    here = bench.json("run", "tiny", "--environment", "local")
    same = ("completed", "failed", "unmeasured", "lines_digest", "flow", "dataset", "experiment")
    assert {key: record[key] for key in same} == {key: here[key] for key in same}
    (sent,) = jobs(requests)
    assert sent["resources"]["instanceType"] == "Standard_DS3_v2"
    assert sent["tags"]["llmops.digest"] == record["flow"]["digest"]


def test_many_lines_are_divided_among_jobs(bench: Workbench, requests: Requests) -> None:
    bench.rows(*(f"question {number}" for number in range(7)))
    bench.environment(runs="compute: job, jobs: {shard_lines: 3}")
    record = bench.json("run", "tiny", "--environment", "dev")
    lines = [json.loads(line) for line in bench.call("runs", "export", record["id"]).out.splitlines()]
    assert [(line["row"], line["outputs"]["answer"]) for line in lines] == [
        (number, f"question {number}"[::-1]) for number in range(7)
    ]
    assert [job["displayName"] for job in jobs(requests)] == [f"tiny shard {n} of 3" for n in (3, 2, 1)]


def test_a_check_with_jobs_finds_what_the_flow_does_wrong(bench: Workbench) -> None:
    bench.rows("one", "raise:it", "three")
    code, verdict = bench.check_on_azure("tiny")
    assert code == 10
    assert (verdict["candidate"]["run"]["failed"], verdict["outcome"]) == (1, "fail")
    (accuracy,) = [metric["value"] for metric in verdict["candidate"]["metrics"] if metric["name"] == "accuracy"]
    assert accuracy == pytest.approx(2 / 3)


def test_a_plain_python_flow_runs_in_a_job(bench: Workbench) -> None:
    bench.write(
        "plain/flow.py",
        "from plain.words import turn\n\n\ndef answer(question: str) -> dict:\n    return {'answer': turn(question)}\n",
    )
    bench.write("plain/words.py", "def turn(text: str) -> str:\n    return text[::-1]\n")
    bench.write("plain/__init__.py", "")
    bench.replace("config/experiments/tiny.yaml", "flow: flows/answer\n", "flow: plain.flow:answer\n")
    code, verdict = bench.check_on_azure("tiny")
    assert (code, verdict["outcome"]) == (0, "pass")


def test_a_function_that_is_named_by_its_file_runs_in_a_job(bench: Workbench) -> None:
    bench.write("flows/plain/main.py", "def answer(question: str) -> dict:\n    return {'answer': question[::-1]}\n")
    bench.replace("config/experiments/tiny.yaml", "flow: flows/answer\n", "flow: flows/plain/main.py:answer\n")
    code, verdict = bench.check_on_azure("tiny")
    assert (code, verdict["outcome"]) == (0, "pass")


def test_a_job_has_the_package_with_the_llm_tool_where_the_flow_needs_it(bench: Workbench, requests: Requests) -> None:
    llm_flow(bench.root)
    bench.write("run.yml", 'flow: flows/summary\ndata: rows.jsonl\ncolumn_mapping: {text: "${data.question}"}\n')
    bench.environment(runs="compute: job", more="connections: {model: {type: stand_in}}\n")
    for arguments in (("--file", "run.yml"), ("tiny",)):
        assert bench.call("run", *arguments, "--environment", "dev", "--detach").code == 0
    made = [one.body for one in requests.all("PUT", "/environments/") if one.body]
    assert sorted("promptflow-tools==" in body for body in made) == [False, True]


def test_prompt_flow_itself_does_not_run_plain_python(bench: Workbench) -> None:
    bench.write("plain.py", "def answer(question: str) -> dict:\n    return {'answer': question}\n")
    bench.replace("config/experiments/tiny.yaml", "flow: flows/answer\n", "flow: plain:answer\n")
    bench.environment()
    answer = bench.call("run", "tiny", "--environment", "dev")
    assert answer.code == 2
    assert "Set azure.runs.compute to job: a command job runs flows of every kind." in answer.err


def test_includes_and_shared_packages_go_with_the_flow(bench: Workbench) -> None:
    bench.write("shared/words.py", "def turn(text: str) -> str:\n    return text[::-1]\n")
    bench.write("shared/__init__.py", "")
    bench.write("texts/suffix.txt", "!")
    source = "from pathlib import Path\n\nfrom promptflow.core import tool\n\nfrom shared.words import turn\n\n\n@tool\ndef answer(question: str) -> str:\n    return turn(question) + Path('suffix.txt').read_text()\n"
    bench.write("flows/answer/answer.py", source)
    definition = (bench.root / "flows/answer/flow.dag.yaml").read_text()
    bench.write("flows/answer/flow.dag.yaml", definition + "additional_includes:\n- ../../texts/suffix.txt\n")
    digests = []
    for runs in ("compute: job", ""):
        bench.environment(runs=runs)
        digests.append(bench.json("run", "tiny", "--environment", "dev")["lines_digest"])
    assert digests == [bench.json("run", "tiny", "--environment", "local")["lines_digest"]] * 2


def test_a_flow_that_does_not_load_is_named(bench: Workbench) -> None:
    bench.write("flows/answer/answer.py", "import nothing_of_that_name\n")
    answer = bench.call("run", "tiny", "--environment", "dev")
    assert answer.code == 4
    assert "shard 1: flows/answer" in answer.err
    assert (
        "nothing_of_that_name"
        in bench.call("runs", "logs", answer.err.split(": the run failed")[0].split()[-1], "--environment", "dev").out
    )


def test_a_shard_that_was_lost_runs_again_alone(
    bench: Workbench, inject: Callable[..., None], requests: Requests
) -> None:
    bench.rows(*(f"question {number}" for number in range(4)))
    bench.environment(runs="compute: job, jobs: {shard_lines: 2}")
    inject(effect="fail_operation", path="/jobs/.*-s2$")
    assert bench.call("run", "tiny", "--environment", "dev").code == 4
    record = bench.json("run", "tiny", "--environment", "dev")
    assert (record["completed"], record["cached"]) == (4, 2)
    assert [job["displayName"] for job in jobs(requests)] == [
        "tiny shard 2 of 2",
        "tiny shard 1 of 2",
        "tiny shard 1 of 1",
    ]


def test_a_job_is_left_to_itself_and_attached_to_again(bench: Workbench, requests: Requests) -> None:
    started = bench.json("run", "tiny", "--environment", "dev", "--detach")
    assert started["status"] != "Completed"
    waited = bench.call("runs", "wait", started["id"])
    assert (waited.code, "3 completed" in waited.out) == (0, True)
    assert len(jobs(requests)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"path": "std_log.txt", "status": 503, "count": None},
        {"path": "std_log.txt", "status": 404, "count": None},
        {"path": "/discovery$", "status": 503, "count": None},
    ],
)
def test_a_log_that_cannot_be_read_stops_no_job(
    bench: Workbench, inject: Callable[..., None], requests: Requests, fault: dict[str, Any]
) -> None:
    bench.rows("sleep:1")
    inject(**fault)
    record = bench.json("run", "tiny", "--environment", "dev")
    assert record["completed"] == 1
    assert any(entry.fault for entry in requests.all("GET", fault["path"].strip("$")))


def test_a_job_is_canceled(bench: Workbench) -> None:
    bench.rows("sleep:60")
    started = bench.json("run", "tiny", "--environment", "dev", "--detach")
    assert bench.call("runs", "cancel", started["id"]).code == 0
    answer = bench.call("runs", "wait", started["id"])
    assert (answer.code, "the run was canceled" in answer.err) == (4, True)


def test_no_key_is_sent_along(bench: Workbench, requests: Requests) -> None:
    bench.environment(runs="compute: job", more="connections:\n  mine: {type: open_ai, api_key: '${env:MY_KEY}'}\n")
    experiment = (bench.root / "config/experiments/tiny.yaml").read_text()
    bench.write("config/experiments/tiny.yaml", experiment + "environment_variables: {KEY: '${mine.api_key}'}\n")
    answer = bench.call("run", "tiny", "--environment", "dev", env={"MY_KEY": "s3cr3t"})
    assert (answer.code, "a key would have to be sent along" in answer.err) == (2, True), answer.err
    assert jobs(requests) == []
