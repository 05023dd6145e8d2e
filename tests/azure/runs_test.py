"""Runs and evaluation runs: `promptflow-azure` against flows that are really executed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml.entities import Data
from azure.identity import ClientSecretCredential, DefaultAzureCredential
from promptflow._sdk._errors import InvalidRunStatusError, RunNotFoundError
from promptflow.azure import PFClient
from promptflow.azure._restclient.flow_service_caller import FlowRequestException
from promptflow.azure.operations._run_operations import RunRequestException
from promptflow.entities import Run
from promptflow.exceptions import UserErrorException

from tests.azure.conftest import FLOWS, GROUP, SUBSCRIPTION, Requests, make_ml, submit, unique, wait

ROWS = '{"text": "hello", "expected": "HELLO"}\n{"text": "quiet", "expected": ""}\n{"text": "bye", "expected": "bye"}\n'


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rows, of which the second makes the flow fail and the third is expected to be wrong."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(ROWS)
    return path


@pytest.fixture(scope="module")
def finished(shared: PFClient, rows: Path) -> str:
    """A run that ended."""
    shared.ml_client.data.create_or_update(Data(name="rows", path=str(rows), type="uri_file"))
    run = submit(shared, data="azureml:rows:1", tags={"digest": "d1"}, description="about", display_name="shown")
    wait(shared, run.name)
    return str(run.name)


@pytest.fixture(scope="module")
def evaluated(shared: PFClient, rows: Path, finished: str) -> str:
    """An evaluation of that run that ended."""
    mapping = {"loud": "${run.outputs.loud}", "expected": "${data.expected}"}
    run = submit(shared, flow=str(FLOWS / "match"), data=str(rows), run=finished, column_mapping=mapping)
    wait(shared, run.name)
    return str(run.name)


@pytest.fixture
def held(inject: Callable[..., None]) -> None:
    """Runs of this test are accepted and never get further than `Preparing`."""
    inject(effect="stick_operation", path="BulkRuns/submit", count=None)


def body_of(requests: Requests) -> dict[str, Any]:
    """Return what the last submission sent."""
    return dict(json.loads(requests.all("POST", "BulkRuns/submit")[-1].body))


def test_a_run_with_failed_lines_completes(shared: PFClient, finished: str) -> None:
    """So a gate looks at the lines and never at the status alone."""
    run = shared.runs.get(finished)
    assert (run.status, run.display_name, run.description, run.tags) == (
        "Completed",
        "shown",
        "about",
        {"digest": "d1"},
    )
    counts = json.loads(run._error["error"]["messageFormat"])
    assert (counts["totalChildRuns"], counts["userErrorChildRuns"]) == (3, 1)


def test_the_details_hold_what_the_flow_returned(shared: PFClient, finished: str) -> None:
    details = shared.runs.get_details(finished)
    assert list(details["inputs.text"]) == ["hello", "quiet", "bye"]
    assert list(details["outputs.loud"]) == ["HELLO", None, "BYE"]


def test_an_evaluation_scores_the_lines_that_completed(shared: PFClient, evaluated: str) -> None:
    details = shared.runs.get_details(evaluated)
    assert list(details["inputs.line_number"]) == [0, 2]
    assert list(details["outputs.is_right"]) == [True, False]


def test_a_metric_whose_name_looks_like_a_systems_own_disappears(
    shared: PFClient, evaluated: str, requests: Requests
) -> None:
    assert shared.runs.get_metrics(evaluated) == {"accuracy": 0.5}
    assert requests.statuses("POST", "lastvalues") == [200]


def test_the_log_holds_what_the_flow_printed(shared: PFClient, finished: str) -> None:
    log = shared.runs._get_log(finished)
    assert "The run is Running." in log
    assert "Line 1 failed: there is nothing to shout" in log
    assert "shouting hello" in log


def test_a_finished_run_is_streamed(shared: PFClient, finished: str) -> None:
    assert shared.runs.stream(finished).status == "Completed"


def test_a_run_is_downloaded_with_its_snapshot(shared: PFClient, finished: str, tmp_path: Path) -> None:
    shared.runs.download(finished, output=tmp_path)
    outputs = (tmp_path / finished / "flow_outputs" / "output.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in outputs] == [
        {"line_number": 0, "loud": "HELLO"},
        {"line_number": 2, "loud": "BYE"},
    ]
    snapshot = tmp_path / finished / "snapshot"
    assert (snapshot / "shout.py").read_bytes() == (FLOWS / "shout" / "shout.py").read_bytes()


def test_runs_are_listed_newest_first(shared: PFClient, finished: str, evaluated: str, requests: Requests) -> None:
    assert [run.name for run in shared.runs.list()] == [evaluated, finished]
    shared.runs.list(max_results=500)
    assert json.loads(requests.all("POST", "/entities")[-1].body)["pageSize"] == 100


def test_a_run_is_renamed_archived_and_restored(pf: PFClient, rows: Path, held: None) -> None:
    del held
    run = submit(pf, data=str(rows), tags={"a": "1"})
    assert pf.runs.update(run.name, display_name="other", tags={"b": "2"}).tags == {"a": "1", "b": "2"}
    pf.runs.archive(run.name)
    assert pf.runs.list() == []
    pf.runs.restore(run.name)
    assert [found.display_name for found in pf.runs.list()] == ["other"]


def test_a_run_is_canceled(pf: PFClient, rows: Path, held: None) -> None:
    del held
    run = submit(pf, data=str(rows))
    wait(pf, run.name, "Preparing")
    pf.runs.cancel(run.name)
    assert wait(pf, run.name).status == "Canceled"
    with pytest.raises(InvalidRunStatusError, match="Run is canceled"):
        pf.runs.stream(run.name)


def test_a_flow_that_does_not_load_fails_the_run(pf: PFClient, rows: Path) -> None:
    run = submit(pf, flow=str(FLOWS / "broken"), data=str(rows))
    found = wait(pf, run.name)
    assert found.status == "Failed"
    assert "missing.py" in found._error["error"]["message"]
    with pytest.raises(InvalidRunStatusError):
        pf.runs.get_details(run.name)


def test_a_mapping_that_finds_nothing_fails_the_run(pf: PFClient, rows: Path) -> None:
    run = submit(pf, data=str(rows), column_mapping={"text": "${data.nothing}"})
    found = wait(pf, run.name)
    assert found.status == "Failed"
    assert "Couldn't find these mapping relations" in found._error["error"]["message"]


def test_registered_data_is_left_to_the_service(pf: PFClient, held: None, requests: Requests) -> None:
    del held
    submit(pf, data="azureml:rows:1")
    assert body_of(requests)["batchDataInput"] == {"dataUri": "azureml:rows:1"}


def test_resources_given_to_the_clients_run_never_leave_the_machine(
    pf: PFClient, rows: Path, held: None, requests: Requests
) -> None:
    """They are swallowed; a `Run` that is built with them sends them."""
    del held
    wanted = {"instance_type": "Standard_E4s_v3"}
    mapping = {"text": "${data.text}"}
    pf.run(flow=str(FLOWS / "shout"), data=str(rows), column_mapping=mapping, resources=wanted, name=unique("run"))
    assert "vmSize" not in body_of(requests)
    submit(pf, data=str(rows), resources=wanted)
    assert body_of(requests)["vmSize"] == "Standard_E4s_v3"


def test_connections_variables_and_variants_are_sent(pf: PFClient, rows: Path, held: None, requests: Requests) -> None:
    del held
    submit(
        pf,
        data=str(rows),
        connections={"shout": {"connection": "c", "deployment_name": "d"}},
        environment_variables={"A": "b"},
        variant="${shout.variant_0}",
        resources={"compute": "my-instance"},
    )
    sent = body_of(requests)
    assert sent["connections"] == {"shout": {"connection": "c", "deployment_name": "d"}}
    assert (sent["environmentVariables"], sent["nodeVariant"]) == ({"A": "b"}, "${shout.variant_0}")
    assert sent["computeName"] == "my-instance"


def test_a_run_id_is_taken_once(pf: PFClient, rows: Path, held: None) -> None:
    del held
    run = submit(pf, data=str(rows))
    with pytest.raises(FlowRequestException, match="Status code: 409"):
        pf.runs.create_or_update(run=Run(name=run.name, flow=str(FLOWS / "shout"), data=str(rows)))


@pytest.mark.parametrize("effect", ["lose_answer", "answer"])
def test_a_submission_whose_answer_was_lost_looks_like_a_conflict(
    pf: PFClient, rows: Path, held: None, inject: Callable[..., None], requests: Requests, effect: str
) -> None:
    """The SDK sends it again: 409 for one's own run id is a success."""
    del held
    inject(effect=effect, path="BulkRuns/submit", status=503)
    name = unique("run")
    if effect == "lose_answer":
        with pytest.raises(FlowRequestException, match="Status code: 409"):
            pf.runs.create_or_update(run=Run(name=name, flow=str(FLOWS / "shout"), data=str(rows)))
    else:
        pf.runs.create_or_update(run=Run(name=name, flow=str(FLOWS / "shout"), data=str(rows)))
    assert len(requests.all("POST", "BulkRuns/submit")) == 2
    assert [run.name for run in pf.runs.list()] == [name]


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_refused_submission_has_its_status_in_the_text_alone(
    pf: PFClient, rows: Path, inject: Callable[..., None], requests: Requests, status: int
) -> None:
    inject(path="BulkRuns/submit", status=status)
    with pytest.raises(FlowRequestException, match=f"Status code: {status}") as error:
        submit(pf, data=str(rows))
    assert not hasattr(error.value, "status_code")
    assert requests.statuses("POST", "BulkRuns/submit") == [status]


@pytest.mark.parametrize(
    ("status", "headers", "attempts"), [(503, {}, 2), (429, {}, 2), (429, {"Retry-After": "1"}, 2)]
)
def test_a_submission_is_sent_again_when_the_service_is_busy(
    pf: PFClient,
    rows: Path,
    held: None,
    inject: Callable[..., None],
    requests: Requests,
    status: int,
    headers: dict[str, str],
    attempts: int,
) -> None:
    del held
    inject(path="BulkRuns/submit", status=status, headers=headers)
    submit(pf, data=str(rows))
    assert len(requests.all("POST", "BulkRuns/submit")) == attempts


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("call", ["rundata", "lastvalues", "entities"])
def test_history_metrics_and_index_are_asked_once(
    shared: PFClient, finished: str, inject: Callable[..., None], requests: Requests, call: str, status: int
) -> None:
    """No retry, no time limit, no class of its own: the product needs its own."""
    inject(path=call, status=status)
    calls: dict[str, Callable[[], Any]] = {
        "rundata": lambda: shared.runs.get(finished),
        "lastvalues": lambda: shared.runs.get_metrics(finished),
        "entities": shared.runs.list,
    }
    with pytest.raises(RunRequestException, match=f"Code: {status}") as error:
        calls[call]()
    assert not hasattr(error.value, "status_code")
    assert requests.statuses("POST", call) == [status]


def test_an_unknown_run_is_not_found(shared: PFClient) -> None:
    with pytest.raises(RunNotFoundError):
        shared.runs.get("nobody")


def test_a_run_without_its_page_is_still_a_run(shared: PFClient, finished: str, inject: Callable[..., None]) -> None:
    inject(method="GET", path=f"BulkRuns/{finished}$", status=400)
    assert shared.runs.get(finished).status == "Completed"


def test_a_client_of_a_workspace_that_does_not_exist_is_refused(
    credential: DefaultAzureCredential, settings: Callable[..., None]
) -> None:
    settings(workspaces=("other",))
    with pytest.raises(UserErrorException):
        PFClient(credential, SUBSCRIPTION, GROUP, unique("workspace"))


def test_a_second_client_of_a_workspace_keeps_the_first_ones_credential(emulator: Any, requests: Requests) -> None:
    """Who changes the identity inside of a process is not heard."""
    del emulator
    workspace = unique("workspace")
    for client in ("first", "second"):
        credential = ClientSecretCredential("00000000-0000-0000-0000-000000000001", client, "any")
        with pytest.raises(FlowRequestException, match="Status code: 404"):
            PFClient(credential, SUBSCRIPTION, GROUP, workspace).runs.cancel("nobody")
        make_ml(credential, workspace).workspaces.get(workspace)
    callers = [entry.caller for entry in requests.all("POST", "/cancel")]
    assert callers == ["first", "first"]
    assert {entry.caller for entry in requests.all("GET", f"/workspaces/{workspace}") if entry.service == "arm"} == {
        "first",
        "second",
    }
