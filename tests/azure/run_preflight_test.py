"""What a run would founder on, because it could not reach its models, is said before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import GROUP, SUBSCRIPTION, Requests, unique
from tests.azure.workbench import Workbench, make_workbench
from tests.backends.packages import llm_flow

ACCOUNT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.CognitiveServices/accounts/models"
CONNECTION = {
    "type": "azure_open_ai",
    "configs": {"api_base": "https://models.example", "resource_id": ACCOUNT},
    "secrets": {"api_key": "k"},
}
RUN = """\
flow: flows/summary
data: rows.jsonl
column_mapping: {text: "${data.question}"}
"""


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    """A project with a flow that asks the deployment `chat` through the connection `model`."""
    del emulator
    bench = make_workbench(tmp_path / "project", unique("ahead"))
    llm_flow(bench.root)
    bench.replace("flows/summary/flow.dag.yaml", "model: m,", "deployment_name: chat,")
    bench.write("run.yml", RUN)
    bench.rows("one")
    return bench


@pytest.mark.parametrize("runs", ["", "compute: job"])
def test_a_connection_that_the_workspace_lacks_is_named(bench: Workbench, requests: Requests, runs: str) -> None:
    bench.environment(runs=runs, more="connections: {model: {type: workspace}}\n")
    answer = bench.call("run", "--file", "run.yml", "--environment", "dev")
    assert answer.code == 4
    assert "the workspace has no connection 'model'" in answer.err
    assert requests.all("POST", "/submit") == requests.all("PUT", "/jobs/") == []


@pytest.mark.parametrize(
    ("models", "what"),
    [
        ({}, "node 'summarise': no model deployment 'chat'"),
        ({"chat": {"name": "gpt-4", "version": "0314"}}, "the model of the deployment 'chat' is retired"),
    ],
)
def test_a_model_that_does_not_answer_is_named(
    bench: Workbench, settings: Callable[..., None], requests: Requests, models: dict[str, dict[str, str]], what: str
) -> None:
    settings(model_deployments=models, connections={"model": CONNECTION})
    bench.environment(more="connections: {model: {type: workspace}}\n")
    answer = bench.call("run", "--file", "run.yml", "--environment", "dev")
    assert (answer.code, what in answer.err) == (4, True), answer.err
    assert requests.all("POST", "/submit") == []


def test_what_may_not_be_looked_at_is_no_obstacle(
    bench: Workbench, settings: Callable[..., None], inject: Callable[..., None], requests: Requests
) -> None:
    settings(connections={"model": CONNECTION})
    inject(effect="stick_operation", path="BulkRuns/submit")
    inject(effect="deny", permission="*/connections/read", count=None)
    bench.environment(more="connections: {model: {type: workspace}}\n")
    assert bench.call("run", "--file", "run.yml", "--environment", "dev", "--detach").code == 0
    assert len(requests.all("POST", "/submit")) == 1
