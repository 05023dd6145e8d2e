"""Nobody waits for SDKs that a command does not need; who needs them, waits while other work goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import GROUP, SUBSCRIPTION, unique
from tests.azure.workbench import Workbench, make_workbench
from tests.journey import environment

CHILD = Path(__file__).with_name("imports_child.py")


@pytest.fixture
def bench(emulator: Emulator, tmp_path: Path) -> Workbench:
    del emulator
    bench = make_workbench(tmp_path / "project", unique("imports"))
    bench.rows("one", "two")
    bench.commit("rows")
    return bench


def imported(bench: Workbench, *arguments: str) -> dict[str, Any]:
    """Run a command that must succeed in a process of its own; return heavy modules with the threads that wanted them."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(CHILD), *arguments]
    done = subprocess.run(command, cwd=bench.root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == 0, found["errors"]
    return dict(found["imported"])


@pytest.mark.parametrize(
    "arguments",
    ["lint", "affected --base HEAD", "check tiny --environment local --baseline none", "runs list", "schema"],
)
def test_a_command_that_needs_no_azure_does_not_import_it(bench: Workbench, arguments: str) -> None:
    assert imported(bench, *arguments.split()) == {}


def test_a_run_that_is_recorded_imports_nothing(bench: Workbench) -> None:
    bench.json("run", "tiny", "--environment", "dev")
    assert imported(bench, "run", "tiny", "--environment", "dev") == {}


def test_delivery_does_not_wait_for_the_large_sdks(bench: Workbench) -> None:
    azure = f"azure: {{subscription_id: {SUBSCRIPTION}, resource_group: {GROUP}, workspace: {bench.workspace}}}\n"
    text = environment(backend="azure", endpoint=unique("imports"), verdict=False, more=azure)
    bench.write("config/environments/dev.yaml", text)
    found = imported(bench, "status", "tiny", "--environment", "dev")
    assert "azure.core" in found
    assert found.keys().isdisjoint({"azure.ai.ml", "promptflow.azure", "promptflow"})


@pytest.mark.parametrize(("runs", "module"), [("", "promptflow.azure"), ("compute: job", "azure.ai.ml")])
def test_a_run_imports_what_it_needs_beside_other_work(bench: Workbench, runs: str, module: str) -> None:
    bench.environment(runs=runs)
    assert imported(bench, "run", "tiny", "--environment", "dev", "--detach")[module] == "azure-imports"
