"""A worker of the test suite that dies ends the suite: xdist would wait for ever for the groups of tests that it had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CRASH = """\
import os

import pytest


@pytest.mark.parametrize("number", range(9))
def test_x(number):
    if number == 4:
        os._exit(1)
"""


def test_a_worker_that_dies_ends_the_suite_and_its_test_is_named(tmp_path: Path, root: Path) -> None:
    (tmp_path / "crash_test.py").write_text(CRASH)
    command = [sys.executable, "-m", "pytest", "-c", str(root / "pyproject.toml"), "-p", "no:cacheprovider"]
    command += ["--numprocesses", "1", "--dist", "loadgroup", str(tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode != 0
    assert "crashed while running" in result.stdout
