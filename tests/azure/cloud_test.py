"""A cloud of one's own: clients are pointed to the emulator by configuration, without a proxy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import FLOWS, unique
from tests.azure.workbench import make_workbench

CHILD = Path(__file__).with_name("cloud_child.py")


def test_a_cloud_of_ones_own_needs_no_proxy_and_leaks_into_the_process(emulator: Emulator, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, str(CHILD), str(emulator.port), str(FLOWS / "shout")]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found == {"discovery": True, "files": ["flow.dag.yaml", "shout.py"], "leaked": "Private"}


CLOUD = """\
  cloud:
    name: Private
    azure_portal: https://127.0.0.1:{port}
    resource_manager: https://127.0.0.1:{port}
    active_directory: https://127.0.0.1:{port}
    aml_resource_id: https://127.0.0.1:{port}
    storage_endpoint: core.windows.net
    registry_discovery_endpoint: https://127.0.0.1:{port}
"""


@pytest.mark.parametrize("runs", ["", "compute: job"])
def test_runs_reach_a_cloud_of_ones_own_without_a_proxy(emulator: Emulator, tmp_path: Path, runs: str) -> None:
    bench = make_workbench(tmp_path / "project", unique("own"))
    bench.rows("one", "two")
    bench.environment(runs=runs, more=CLOUD.format(port=emulator.port))
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "-m", "llmops", "run", "tiny", "--environment", "dev", "--json"]
    done = subprocess.run(command, cwd=bench.root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["completed"] == 2
