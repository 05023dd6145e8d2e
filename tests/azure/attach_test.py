"""Runs outlive the command that started them: interrupted, on another machine, or both."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import Requests, unique
from tests.azure.workbench import Workbench, make_workbench
from tests.projects import wait_for


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    del emulator
    bench = make_workbench(tmp_path / "project", unique("attach"))
    bench.rows("one", "two")
    return bench


def interrupt_when(is_time: Callable[[], object]) -> threading.Thread:
    """Press Ctrl-C at a moment."""

    def press() -> None:
        wait_for(lambda: bool(is_time()))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As at a terminal; what a shell starts in the background ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("is_asked", [True, False])
@pytest.mark.parametrize("compute", ["serverless", "job"])
def test_control_c_cancels_a_run_when_that_was_asked_for(
    bench: Workbench, inject: Callable[..., None], requests: Requests, compute: str, *, is_asked: bool
) -> None:
    inject(effect="stick_operation", path="BulkRuns/submit|/jobs/")
    bench.environment(runs=f"compute: {compute}, cancel_on_interrupt: {str(is_asked).lower()}")
    looked = "rundata" if compute == "serverless" else "-s1"
    thread = interrupt_when(lambda: len([one for one in requests.all(part=looked) if one.status == 200]) > 3)
    answer = bench.call("run", "tiny", "--environment", "dev")
    thread.join()
    assert answer.code == 130, answer.err
    assert (len(requests.all("POST", "/cancel")) == 1) is is_asked
    assert ("was asked to end" if is_asked else "llmops runs cancel") in answer.err


def test_a_run_that_goes_on_is_attached_to_from_another_machine(
    bench: Workbench, tmp_path: Path, requests: Requests
) -> None:
    bench.rows("sleep:3", "two")
    started = bench.json("run", "tiny", "--environment", "dev", "--detach")
    other = make_workbench(tmp_path / "other", bench.workspace)
    other.rows("sleep:3", "two")
    record = other.json("run", "tiny", "--environment", "dev")
    assert (record["id"], record["completed"]) == (started["id"], 2)
    assert len(requests.all("POST", "BulkRuns/submit")) == 1


def test_a_run_is_waited_for_by_its_name_alone(bench: Workbench, tmp_path: Path) -> None:
    bench.rows("sleep:3", "two")
    started = bench.json("run", "tiny", "--environment", "dev", "--detach")
    other = make_workbench(tmp_path / "other", bench.workspace)
    waited = other.call("runs", "wait", started["id"], "--environment", "dev")
    assert (waited.code, "2 completed" in waited.out) == (0, True), waited.err
    shown = other.json("runs", "show", started["id"], "--environment", "dev")
    assert [line["status"] for line in shown["lines"]] == ["completed", "completed"]


def test_runs_of_a_workspace_are_compared_and_exported_where_nobody_made_them(bench: Workbench, tmp_path: Path) -> None:
    first = bench.json("run", "tiny", "--environment", "dev")["id"]
    bench.replace("flows/answer/answer.py", "return question[::-1]", 'return question[::-1].replace("owt", "two")')
    second = bench.json("run", "tiny", "--environment", "dev")["id"]
    other = make_workbench(tmp_path / "other", bench.workspace)
    (flip,) = other.json("runs", "compare", first, second, "--environment", "dev")["flips"]
    assert (flip["row"], [side["outputs"]["answer"] for side in flip["sides"]]) == (1, ["owt", "two"])
    assert other.call("runs", "export", first, "--environment", "dev", "--output", "lines.csv").code == 0
    assert "owt" in (other.root / "lines.csv").read_text(encoding="utf-8")


def test_a_budget_that_is_not_enforced_is_said(bench: Workbench) -> None:
    bench.replace("config/experiments/tiny.yaml", "gate:\n", "budget: {tokens: 10}\ngate:\n")
    answer = bench.call("run", "tiny", "--environment", "dev")
    assert answer.code == 0
    assert answer.err.count("The budget is not enforced") == 1
