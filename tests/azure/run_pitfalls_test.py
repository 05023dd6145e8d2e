"""What bites with the SDKs' runs (contract, sections 4 and 7): what the naive call does, beside what llmops does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from azure.identity import DefaultAzureCredential
from promptflow._sdk._errors import InvalidRunStatusError
from promptflow.azure import PFClient
from promptflow.azure._restclient.flow_service_caller import FlowRequestException
from promptflow.azure.operations._run_operations import RunRequestException
from promptflow.entities import Run

from llmops.backends.azure.run_service import RunService, Submission
from llmops.backends.azure.session import open_session
from llmops.config.load import load_project
from tests.azure.conftest import FLOWS, GROUP, SUBSCRIPTION, Requests, environment, unique, wait
from tests.azure.workbench import Workbench, make_workbench
from tests.projects import wait_for


@pytest.fixture
def bench(credential: DefaultAzureCredential, tmp_path: Path) -> Workbench:
    del credential
    return make_workbench(tmp_path / "project", unique("bites"))


@pytest.fixture
def service(credential: DefaultAzureCredential, tmp_path: Path) -> RunService:
    """The runs of an empty workspace."""
    del credential
    return RunService(open_session(environment("bites"), tmp_path, dict(os.environ)))


def naive(bench: Workbench) -> PFClient:
    return PFClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, bench.workspace)


def mine(bench: Workbench) -> RunService:
    found = load_project(bench.root).environments["dev"]
    return RunService(open_session(found, bench.root / ".llmops", dict(os.environ)))


def test_an_evaluation_whose_first_lines_are_missing_is_read_to_its_end(bench: Workbench) -> None:
    """Pages hold 25 lines by their numbers; the SDK takes the first empty one for the last."""
    bench.rows(*(f"raise:{number}" for number in range(25)), "one", "two")
    _, verdict = bench.check_on_azure("tiny")
    evaluation = verdict["candidate"]["evaluation_runs"]["quality"]
    lines = [json.loads(line) for line in bench.call("runs", "export", evaluation).out.splitlines()]
    assert [line["row"] for line in lines] == [25, 26]
    with pytest.raises(IndexError):
        naive(bench).runs.get_details(evaluation)


def test_the_finished_lines_of_a_run_that_was_canceled_are_not_lost(bench: Workbench) -> None:
    bench.rows("one", "sleep:8")
    run = bench.json("run", "tiny", "--environment", "dev", "--detach")["id"]
    wait_for(lambda: list(mine(bench).read_lines(run, 2)) != [])
    bench.call("runs", "cancel", run)
    wait(naive(bench), run)
    done = {line["index"]: line["output"]["answer"] for line in mine(bench).read_lines(run, 2)}
    assert done[0] == "eno"
    with pytest.raises(InvalidRunStatusError):
        naive(bench).runs.get_details(run)


def test_a_submission_whose_answer_was_lost_is_no_conflict(
    service: RunService, inject: Callable[..., None], rows: Path
) -> None:
    inject(effect="stick_operation", path="BulkRuns/submit", count=None)
    ours, theirs = unique("ours"), unique("theirs")
    flow = FLOWS / "shout"
    inject(effect="lose_answer", path="BulkRuns/submit")
    service.submit(Submission(name=ours, folder=flow, data=str(rows), column_mapping={"text": "${data.text}"}))
    inject(effect="lose_answer", path="BulkRuns/submit")
    with pytest.raises(FlowRequestException, match="409"):
        service.session.pf.runs.create_or_update(run=Run(name=theirs, flow=str(flow), data=str(rows)))
    assert [run.name for run in service.list_newest()] == [theirs, ours]


@pytest.mark.parametrize(
    ("fault", "hangs_s", "answered"),
    [({"effect": "hang"}, 10, [404]), ({}, 0, [503, 404]), ({"status": 429}, 0, [429, 404])],
)
def test_history_that_does_not_answer_is_asked_again(
    service: RunService,
    inject: Callable[..., None],
    requests: Requests,
    fault: dict[str, object],
    hangs_s: float,
    answered: list[int],
) -> None:
    """The SDK asks once, and waits for as long as it takes; a call of ours that hangs is given up before its end."""
    pf = service.session.pf
    inject(path="rundata", delay_s=hangs_s, **fault)
    assert replace(service, call_timeout_s=2.0).find("nobody") is None
    assert requests.statuses("POST", "rundata") == answered
    inject(path="rundata", delay_s=hangs_s / 10, **fault)
    with pytest.raises((RunRequestException, ConnectionError, OSError)):
        pf.runs.get("nobody")


def test_a_metric_that_the_service_takes_for_its_own_never_passes_a_gate(bench: Workbench) -> None:
    bench.rows("one")
    bench.replace("flows/score/aggregate.py", "accuracy", "accuracy.completed")
    old, new = "accuracy: {score: correct, kind: proportion}", "accuracy.completed: {kind: opaque}"
    bench.replace("config/experiments/tiny.yaml", old, new)
    bench.replace(
        "config/experiments/tiny.yaml", "metric: accuracy, min: 0.8", "metric: quality.accuracy.completed, min: 0.0"
    )
    code, verdict = bench.check_on_azure("tiny")
    assert (code, verdict["outcome"]) == (11, "inconclusive")
    assert bench.call("check", "tiny", "--environment", "local").code == 0
