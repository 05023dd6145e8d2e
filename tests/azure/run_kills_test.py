"""The driver's process is killed at any request; the same command goes on and makes no run twice.

Twenty-four kills with `make test-azure-full`, two in the normal run: each needs a process that imports the SDKs.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import Extent, unique
from tests.azure.run_sweep_test import count_runs
from tests.azure.workbench import Workbench, make_workbench
from tests.projects import kill

KILLS = 24
_DEADLINE_S = 240


def start(bench: Workbench) -> subprocess.Popen[str]:
    """Start a check in a process of its own."""
    return bench.start("check", "tiny", "--environment", "dev", "--json")


def kill_at(emulator: Emulator, process: subprocess.Popen[str], request: int) -> None:
    """Kill a process as soon as it has made so many requests; one that has ended by then is left."""
    first = emulator.cloud.journal.last_number()
    deadline = time.monotonic() + _DEADLINE_S
    while emulator.cloud.journal.last_number() < first + request and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    kill(process)


@pytest.mark.slow
def test_a_check_that_was_killed_goes_on_and_makes_no_run_twice(
    emulator: Emulator, tmp_path: Path, extent: Extent
) -> None:

    for at in extent.pick(range(2, 60), 2, "kills", most=KILLS):
        workspace = unique("kills")
        bench = make_workbench(tmp_path / workspace, workspace)
        bench.rows("one", "two")
        kill_at(emulator, start(bench), at)
        answer = bench.call("check", "tiny", "--environment", "dev", "--json")
        assert answer.code == 0, (at, answer.err)
        (result,) = json.loads(answer.out)["experiments"]
        assert (result["outcome"], count_runs(emulator, workspace)) == ("pass", 2), f"killed at request {at}"
