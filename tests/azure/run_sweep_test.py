"""Every request of the commands for runs goes wrong in every way, and no run is made twice.

`make test-azure-full` tries every request with every fault; the normal run a sample that is the same each time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

from llmops.backends.azure import session
from llmops.emulator.emulator import Emulator
from llmops.emulator.faults import Fault
from tests.azure.conftest import FAULTS, Extent, unique
from tests.azure.workbench import Workbench, make_workbench
from tests.projects import Answer


class Scenario(NamedTuple):
    """One command.

    Attributes:
        command: what is tried; its last line of JSON is a record or the report of a check.
        runs: how many runs or jobs there are afterwards, however often it was called.
        settings: of `azure.runs`.
        sampled: faults that the normal run tries.
        gone: requests from which on the service is gone that the normal run tries; uploads are slow to give up.
    """

    command: Callable[[Workbench], Answer]
    runs: int
    settings: str = ""
    sampled: int = 6
    gone: int = 1


def _run(bench: Workbench) -> Answer:
    return bench.call("run", "tiny", "--environment", "dev", "--json")


def _check(bench: Workbench) -> Answer:
    return bench.call("check", "tiny", "--environment", "dev", "--json")


def _detach_and_wait(bench: Workbench) -> Answer:
    started = bench.call("run", "tiny", "--environment", "dev", "--detach", "--json")
    if started.code:
        return started
    return bench.call("runs", "wait", json.loads(started.out)["id"], "--json")


SCENARIOS: Mapping[str, Scenario] = {
    "run": Scenario(_run, 1, sampled=8),
    "check": Scenario(_check, 2, sampled=3),
    "detach and wait": Scenario(_detach_and_wait, 1, sampled=3),
    "job": Scenario(_run, 1, "compute: job", sampled=2),
}


@pytest.fixture(scope="module", params=list(SCENARIOS))
def tried(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Workbench]:
    """One command in a project of its own."""
    del emulator
    name = str(request.param)
    bench = make_workbench(tmp_path_factory.mktemp("sweep") / "project", unique("sweep"))
    bench.rows("one", "two")
    return name, bench


def _renew(bench: Workbench, scenario: Scenario) -> str:
    """Move the project to a workspace that nobody used, and forget what it knows."""
    workspace = unique("sweep")
    # The SDK waits 15 s until it repeats a part of an upload, and for ever when a thread of an upload has died.
    settings = f"call_timeout_s: 40, {scenario.settings}"
    bench.environment(workspace=workspace, runs=settings, poll_s=0.5)
    if (bench.root / ".llmops").exists():
        bench.forget()
    return workspace


def count_runs(emulator: Emulator, workspace: str) -> int:
    """Count the runs and jobs of a workspace."""
    cloud = emulator.cloud
    (found,) = [place for place in cloud.store.children("workspaces") if place["name"] == workspace]
    return sum(len(cloud.store.children("workspaces", found["id"], kind)) for kind in ("runs", "jobs"))


def _count_requests(emulator: Emulator, bench: Workbench, scenario: Scenario) -> int:
    _renew(bench, scenario)
    before = emulator.cloud.journal.last_number()
    answer = scenario.command(bench)
    assert answer.code == 0, answer.err
    return emulator.cloud.journal.last_number() - before


def test_a_request_that_goes_wrong_once_makes_no_run_twice(
    tried: tuple[str, Workbench], emulator: Emulator, extent: Extent
) -> None:
    name, bench = tried
    scenario, problems = SCENARIOS[name], []
    points = [(at, kind) for at in range(_count_requests(emulator, bench, scenario)) for kind in FAULTS]
    for at, kind in extent.pick(points, scenario.sampled, name):
        workspace = _renew(bench, scenario)
        emulator.cloud.faults.add(Fault(after=at, **FAULTS[kind]))
        answer = scenario.command(bench)
        emulator.cloud.faults.remove()
        bench.forget()
        again = scenario.command(bench)
        if (answer.code, again.code, count_runs(emulator, workspace)) != (0, 0, scenario.runs):
            problems.append((kind, at, answer.err, again.err, count_runs(emulator, workspace)))
    assert problems == []


def test_a_service_that_is_gone_is_a_clear_error_and_the_same_command_goes_on(
    tried: tuple[str, Workbench], emulator: Emulator, extent: Extent
) -> None:
    """How often a run is looked at differs, so the last points may lie behind a command's end: then it is done."""
    name, bench = tried
    scenario, codes = SCENARIOS[name], set()
    count = _count_requests(emulator, bench, scenario)
    for at in extent.pick(range(count if extent.is_full else count // 2), scenario.gone, name, most=12):
        workspace = _renew(bench, scenario)
        emulator.cloud.faults.add(Fault(after=at, status=503, count=None))
        answer = scenario.command(bench)
        emulator.cloud.faults.remove()
        codes.add(answer.code)
        if answer.code:
            assert answer.code == 4, (f"{name}: gone at request {at}", answer.err, answer.out)
            assert "503" in answer.err + answer.out
            session._sessions.clear()  # a command is a process of its own, and MSAL refuses for a minute what was refused
            again = scenario.command(bench)
            assert again.code == 0, (f"{name}: gone at request {at}", again.err)
        assert count_runs(emulator, workspace) == scenario.runs
    assert 4 in codes or not scenario.gone


def test_nothing_but_azure_was_asked(emulator: Emulator) -> None:
    assert emulator.cloud.journal.refused() == []
