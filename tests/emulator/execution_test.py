"""Flows at work in the emulator's containers, without the services around them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmops.emulator.containers import Containers
from llmops.emulator.execution import FlowRun, LineOutcome, Sources, execute
from llmops.emulator.surroundings import clean_environment
from llmops.emulator.threads import CanceledError
from tests.backends.packages import echo_flow
from tests.projects import wait_for

LOOK = """
import os, pathlib, time
from promptflow.core import tool

@tool
def answer(question: str) -> str:
    print("at work")
    while question == "wait":
        time.sleep(0.01)
    return str(os.environ.get(question))
"""


@pytest.fixture
def containers() -> Iterator[Containers]:
    containers = Containers(clean_environment({**os.environ, "OF_THE_PERSON": "mine"}))
    yield containers
    containers.close()


def flow_run(folder: Path, *questions: str) -> FlowRun:
    """Describe a run of a flow that says what an environment variable is, or waits for ever."""
    flow = echo_flow(folder)
    (flow / "answer.py").write_text(LOOK, encoding="utf-8")
    return FlowRun(
        folder=flow,
        flow_file="flow.dag.yaml",
        lines=[Sources(index=index, data={"question": text}) for index, text in enumerate(questions)],
        mapping={"question": "${data.question}"},
        node_variant="",
        overrides={},
        connections={},
        environment_variables={"DECLARED": "yes"},
        log=folder / "log",
        python=sys.executable,
    )


def test_a_flow_finds_what_was_declared_and_nothing_of_the_person_at_the_keyboard(
    containers: Containers, tmp_path: Path
) -> None:
    lines: list[LineOutcome] = []
    wanted = flow_run(tmp_path, "DECLARED", "OF_THE_PERSON")
    execute(wanted, containers, is_canceled=lambda: False, on_line=lines.append)
    assert {line.index: line.outputs for line in lines} == {0: {"answer": "yes"}, 1: {"answer": "None"}}


def test_what_runs_when_the_emulator_ends_is_canceled(tmp_path: Path) -> None:
    containers, wanted = Containers(clean_environment(os.environ)), flow_run(tmp_path, "wait")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(execute, wanted, containers, is_canceled=lambda: False, on_line=lambda _: None)
        wait_for(lambda: wanted.log.exists() and "at work" in wanted.log.read_text(encoding="utf-8"))
        containers.close()
        with pytest.raises(CanceledError):
            run.result(60)
