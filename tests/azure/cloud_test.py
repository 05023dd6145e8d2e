"""A cloud of one's own: clients are pointed to the emulator by configuration, without a proxy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import FLOWS

CHILD = Path(__file__).with_name("cloud_child.py")


def test_a_cloud_of_ones_own_needs_no_proxy_and_leaks_into_the_process(emulator: Emulator, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, str(CHILD), str(emulator.port), str(FLOWS / "shout")]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found == {"discovery": True, "files": ["flow.dag.yaml", "shout.py"], "leaked": "Private"}
