"""What each command asks of Azure Resource Manager is what the page and `llmops doctor` say that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from llmops.backends.azure.roles import (
    AUTOSCALE,
    DEPLOY,
    FROM_REGISTRY,
    IN_REGISTRY,
    JOBS,
    TO_REGISTRY,
    TOKENS,
    needs_of,
)
from llmops.emulator.emulator import Emulator
from llmops.emulator.faults import permission_of
from tests.azure.conftest import Requests, unique
from tests.azure.workbench import Workbench, make_workbench

LOOKS = frozenset(
    {
        "microsoft.authorization/permissions/read",
        "microsoft.machinelearningservices/locations/usages/read",
        "microsoft.machinelearningservices/locations/vmsizes/read",
        "microsoft.machinelearningservices/locations/mfeoperationsstatus/read",
    }
)
"""What is passed over when it is refused."""


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    del emulator
    bench = make_workbench(tmp_path / "project", unique("roles"))
    bench.rows("one", "two")
    bench.commit("rows")
    return bench


def serve(bench: Workbench, registry: str = "") -> None:
    bench.serving("dev", bench.workspace, registry=registry, settings="autoscale: {max_instances: 2}")
    bench.commit("environment")


def undeclared(bench: Workbench, emulator: Emulator, arguments: str, *commands: str) -> Sequence[str]:
    """Run a command in the environment `dev`, and return what it asked for that it was not said to need."""
    has_registry = any(command in IN_REGISTRY for command in commands)
    first = emulator.cloud.journal.last_number()
    answer = bench.call(*arguments.split(), "--environment", "dev")
    assert answer.code == 0, (arguments, answer.err)
    asked_of = Requests(emulator, first).all
    entries = [one for one in asked_of() if one.service == "arm" or "/registries/" in one.path]
    asked = {permission_of(one.method, one.path).lower() for one in entries}
    needs = {need for command in commands for need in needs_of(command, has_registry=has_registry)}
    return sorted(asked - {need.action.lower() for need in needs} - LOOKS - {""})


def test_a_version_on_its_way_needs_no_more_than_what_is_said(bench: Workbench, emulator: Emulator) -> None:
    serve(bench)
    steps = [
        ("check tiny --baseline none", "run, check, evaluate, runs"),
        ("register tiny --without-verdict test", "register"),
        ("deploy tiny", DEPLOY, AUTOSCALE),
        ("evaluate --scheduled tiny --dry-run", "evaluate --scheduled"),
        ("invoke tiny --input question=abc", "invoke"),
        ("models list", "status, models"),
        ("status tiny", "status, models"),
        ("runs list", "run, check, evaluate, runs"),
    ]
    assert {step[0]: found for step in steps if (found := undeclared(bench, emulator, *step))} == {}


def test_with_a_registry_a_version_needs_its_assets_and_no_models_of_the_workspace(
    bench: Workbench, emulator: Emulator
) -> None:
    serve(bench, registry=unique("roles"))
    steps = [
        ("register tiny --without-verdict test", TO_REGISTRY),
        ("deploy tiny", DEPLOY, AUTOSCALE, FROM_REGISTRY),
        ("models list", "status, models", FROM_REGISTRY),
        ("status tiny", "status, models", FROM_REGISTRY),
    ]
    assert {step[0]: found for step in steps if (found := undeclared(bench, emulator, *step))} == {}


def test_command_jobs_need_no_more_than_what_is_said(bench: Workbench, emulator: Emulator) -> None:
    bench.environment(runs="compute: job")
    assert undeclared(bench, emulator, "run tiny", "run, check, evaluate, runs", JOBS) == []


@pytest.mark.parametrize(
    ("more", "is_asked"), [("", False), ("serving: {auth_mode: aad_token, autoscale: {max_instances: 2}}\n", True)]
)
def test_doctor_asks_for_roles_that_the_environment_needs(bench: Workbench, more: str, *, is_asked: bool) -> None:
    bench.environment(runs="compute: job" if is_asked else "", more=more)
    answer = bench.call("doctor", "--environment", "dev")
    for command in (JOBS, AUTOSCALE, TOKENS):
        assert (f"roles for {command}:" in answer.out) is is_asked, answer.out
