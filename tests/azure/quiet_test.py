"""What a command writes is its own: the SDKs' remarks about themselves stay out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmops.emulator.emulator import Emulator
from tests.azure.conftest import unique
from tests.azure.workbench import make_workbench


@pytest.mark.parametrize("runs", ["", "compute: job"])
def test_a_run_says_nothing_that_is_not_of_the_run(emulator: Emulator, tmp_path: Path, runs: str) -> None:
    del emulator
    bench = make_workbench(tmp_path / "project", unique("quiet"))
    bench.rows("one", "two")
    bench.environment(runs=runs)
    command = [sys.executable, "-m", "llmops", "run", "tiny", "--environment", "dev"]
    done = subprocess.run(command, cwd=bench.root, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("tiny")] == []


def test_where_nobody_is_logged_in_it_is_said_once_and_in_our_words(tmp_path: Path) -> None:
    bench = make_workbench(tmp_path / "project", unique("nobody"))
    env = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    command = [sys.executable, "-m", "llmops", "runs", "list", "--environment", "dev"]
    done = subprocess.run(command, cwd=bench.root, env={**env, "PATH": ""}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    first, found, fix = done.stderr.splitlines()
    assert first.startswith("error: no identity could ")
    assert found == "  found AzureCliCredential: Azure CLI not found on path"
    assert fix == "  az login, or give this machine one of the other identities that docs/azure.md names."
