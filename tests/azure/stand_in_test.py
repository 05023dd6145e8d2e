"""The stand-in model is called one on Azure too: the workspace says so of its connections."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops.emulator.emulator import Emulator
from llmops.engine.standin.process import StandInProcess
from tests.azure.conftest import unique
from tests.azure.workbench import Workbench, make_workbench
from tests.backends.packages import llm_flow

CONNECTIONS = "connections: {model: {type: TYPE}}\n"
SAID = "(stand-in model, not a real model)"
CHANGES = {
    "flow: flows/answer": "flow: flows/summary",
    "question: ${data.question}": 'text: "${data.question}"',
    "run.outputs.answer": "run.outputs.summary",
    "min: 0.8, max_regression: 0.1": "min: 0",
}
"""Make the tiny experiment one of the flow that asks a model."""


@pytest.fixture
def give(settings: Callable[..., None], stand_in: StandInProcess) -> Callable[..., None]:
    """Give the workspaces a connection to the model that says, or does not say, which one it is."""
    connection: dict[str, Any] = {"type": "open_ai", "configs": {"base_url": stand_in.base_url}}

    def give(**metadata: str) -> None:
        settings(connections={"model": {**connection, "secrets": {"api_key": "any"}, "metadata": metadata}})

    return give


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    """A project with a flow that asks a model."""
    del emulator
    return make_bench(tmp_path / "project", unique("which-model"))


def make_bench(root: Path, workspace: str, *, runs: str = "", kind: str = "workspace") -> Workbench:
    bench = make_workbench(root, workspace)
    llm_flow(bench.root)
    for before, after in CHANGES.items():
        bench.replace("config/experiments/tiny.yaml", before, after)
    bench.rows("one", "two")
    bench.environment(runs=runs, more=CONNECTIONS.replace("TYPE", kind))
    return bench


def test_a_run_says_that_the_stand_in_answered(bench: Workbench, give: Callable[..., None], tmp_path: Path) -> None:
    give(**{"llmops.stand_in": "true"})
    answer = bench.call("run", "tiny", "--environment", "dev")
    assert (answer.code, SAID in answer.out) == (0, True), answer.out + answer.err
    other = make_bench(tmp_path / "other", bench.workspace)
    again = other.call("run", "tiny", "--environment", "dev")
    assert SAID in again.out, "a machine that did not start it"


def test_a_run_of_a_model_that_is_none_says_nothing(bench: Workbench, give: Callable[..., None]) -> None:
    give(Owner="us")
    answer = bench.call("run", "tiny", "--environment", "dev")
    assert (answer.code, "stand-in" in answer.out) == (0, False), answer.out + answer.err


def test_a_job_that_brings_its_stand_in_says_so(bench: Workbench, tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "one", bench.workspace, runs="compute: job", kind="stand_in")
    answer = bench.call("run", "tiny", "--environment", "dev")
    assert (answer.code, SAID in answer.out) == (0, True), answer.out + answer.err


def test_a_run_that_only_the_workspace_knows_says_so(
    bench: Workbench, give: Callable[..., None], tmp_path: Path
) -> None:
    give(**{"llmops.stand_in": "true"})
    started = bench.json("run", "tiny", "--environment", "dev", "--detach")
    other = make_workbench(tmp_path / "other", bench.workspace)
    waited = other.call("runs", "wait", started["id"], "--environment", "dev")
    assert waited.code == 0, waited.err
    shown = other.call("runs", "show", started["id"], "--environment", "dev")
    assert SAID in shown.out


@pytest.mark.parametrize("metadata", [{"llmops.stand_in": "true"}, {}])
def test_the_judgement_of_an_endpoint_says_so(
    bench: Workbench, give: Callable[..., None], metadata: dict[str, str]
) -> None:
    give(**metadata)
    bench.serving("dev", bench.workspace)
    path = bench.root / "config/environments/dev.yaml"
    path.write_text(path.read_text(encoding="utf-8") + CONNECTIONS.replace("TYPE", "workspace"), encoding="utf-8")
    bench.commit("a flow that asks a model")
    for command in ("register tiny --without-verdict test", "deploy tiny"):
        answer = bench.call(*command.split(), "--environment", "dev")
        assert answer.code == 0, answer.err
    measured = bench.json("evaluate", "--scheduled", "tiny", "--environment", "dev", "--dry-run")["measurements"]
    found = next(one for one in measured if one["subject"] == "endpoint")
    verdict = json.loads(Path(found["reports"]["json"]).read_text(encoding="utf-8"))
    assert verdict["stand_in"] is bool(metadata)
