"""Jobs ask the workspace for its connections as themselves: no key is in what was submitted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmops.emulator.emulator import Emulator
from llmops.engine.standin.process import StandInProcess
from tests.azure.conftest import Requests, running_emulator, unique
from tests.azure.workbench import Workbench, make_workbench
from tests.backends.packages import llm_flow

KEY = "the-key-of-the-model"
RUN = """\
flow: flows/summary
data: rows.jsonl
column_mapping: {text: "${data.question}"}
"""
NO_IDENTITY = "this job has no identity to read the workspace's connections as"


@pytest.fixture(scope="module")
def emulator(root: Path, open_environment: dict[str, str]) -> Iterator[Emulator]:
    """Jobs in a Python that has `azure-identity`, as their environment on Azure has it."""
    with running_emulator(root, open_environment, sys.executable) as running:
        yield running


@pytest.fixture
def bench(emulator: Emulator, settings: Callable[..., None], stand_in: StandInProcess, tmp_path: Path) -> Workbench:
    """A project whose flow asks the model of the workspace's connection."""
    del emulator
    configs, secrets, metadata = {"base_url": stand_in.base_url}, {"api_key": KEY}, {"llmops.stand_in": "true"}
    connection = {"type": "open_ai", "configs": configs, "secrets": secrets, "metadata": metadata}
    settings(connections={"model": connection})
    bench = make_workbench(tmp_path / "project", unique("jobs"))
    llm_flow(bench.root)
    bench.write("run.yml", RUN)
    bench.rows("one", "two")
    stand_in.reset_stats()
    return bench


def run(bench: Workbench, more: str = "") -> tuple[int, str]:
    """Run in jobs; return the exit code, and all that was said."""
    bench.environment(runs=f"compute: job{more}", more="connections: {model: {type: workspace}}\n")
    answer = bench.call("run", "--file", "run.yml", "--environment", "dev")
    return answer.code, answer.out + answer.err


@pytest.mark.parametrize(
    ("more", "sent"),
    [("", "Managed"), (", jobs: {identity: managed}", "Managed"), (", jobs: {identity: user}", "UserIdentity")],
)
def test_a_job_reaches_the_model_with_a_key_that_was_not_sent_along(
    bench: Workbench, stand_in: StandInProcess, requests: Requests, more: str, sent: str
) -> None:
    code, said = run(bench, more)
    assert (code, "(stand-in model, not a real model)" in said) == (0, True), said
    assert stand_in.stats().calls == 2
    (submitted,) = requests.all("PUT", "/jobs/")
    assert submitted.body and f'"identityType": "{sent}"' in submitted.body
    (asked,) = requests.all("POST", "connections/model/listsecrets")
    assert asked.status == 200
    assert not [one for one in requests.all("PUT") if one.body and KEY in one.body]


def test_a_job_without_an_identity_says_how_to_get_one(
    bench: Workbench, emulator: Emulator, requests: Requests
) -> None:
    code, said = run(bench, ", jobs: {identity: none}")
    assert (code, NO_IDENTITY in said, "azure.runs.jobs.identity: user" in said) == (4, True, True), said
    assert requests.all("POST", "listsecrets") == []
    assert not [host for host in emulator.cloud.journal.refused() if "169.254" in host.target]


def test_an_identity_that_may_not_read_the_connection_is_said(bench: Workbench, inject: Callable[..., None]) -> None:
    inject(effect="deny", permission="*/connections/listsecrets/action", count=None)
    code, said = run(bench)
    assert (code, "the connection 'model' cannot be read" in said) == (4, True), said


def test_a_flow_without_connections_runs_as_nobody(bench: Workbench, requests: Requests) -> None:
    bench.write("run.yml", RUN.replace("flows/summary", "flows/answer").replace("text:", "question:"))
    assert run(bench)[0] == 0
    (submitted,) = requests.all("PUT", "/jobs/")
    assert "identityType" not in (submitted.body or "")
