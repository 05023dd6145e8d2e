from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from llmops.commands.setup import explain, setup
from llmops.errors import ExitCode
from llmops.requirements import pins_of

RUN = """
import os, sys
from llmops.commands.setup import setup
from llmops.errors import LlmopsError
try:
    code = setup(write=print, env=os.environ)
except LlmopsError as error:
    print(error)
    code = error.exit_code
sys.exit(code)
"""


def run_setup(python: Path, root: Path, **env: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHONPATH": f"{root}", "PATH": "/nowhere", "PIP_RETRIES": "0", **env}
    return subprocess.run([str(python), "-c", RUN], env=settings, capture_output=True, text=True, check=False)


def test_what_is_installed_already_is_left_alone() -> None:
    said: list[str] = []
    assert setup(write=said.append, env={"PATH": "/nowhere"}) == ExitCode.PASS
    assert said == [f"already so: promptflow-tools 1.6.1 in {sys.prefix}"]


def test_an_environment_without_any_installer_is_explained(tmp_path: Path, root: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    result = run_setup(tmp_path / "bare" / "bin" / "python", root)
    assert result.returncode == ExitCode.USAGE
    assert result.stdout.splitlines()[1:] == [
        f"{tmp_path / 'bare'}: nothing can install packages here",
        "  found neither uv on PATH nor pip in the environment",
        "  Run 'python -m ensurepip' with this environment's Python, or install uv, and run 'llmops setup' again.",
    ]


@pytest.mark.slow
def test_no_network_is_refused_with_what_to_check(tmp_path: Path, root: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    result = run_setup(tmp_path / "venv" / "bin" / "python", root, PIP_CONFIG_FILE=os.devnull)
    assert result.returncode == ExitCode.REFUSED
    assert "the LLM tool's package could not be downloaded" in result.stdout
    assert "Check the network, the proxy and the index of uv or pip" in result.stdout


@pytest.mark.parametrize(
    ("output", "what", "code"),
    [
        ("error: failed to create directory `/x`: Permission denied (os error 13)", "cannot be written", 2),
        ("ERROR: Could not install packages due to an OSError: [Errno 30] Read-only file system: '/x'", "cannot be", 2),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\nExpected", "another file", 4),
        ("error: Hash mismatch for `promptflow-tools==1.6.1`", "another file", 4),
        ("error: Failed to fetch: `x`\n  Caused by: dns error: failed to lookup", "could not be downloaded", 4),
        ("ERROR: No matching distribution found\nERROR: Could not find a version", "could not be downloaded", 4),
        ("something new", "pip could not install the LLM tool's package", 4),
    ],
)
def test_a_failed_installation_is_explained(output: str, what: str, code: int) -> None:
    error = explain(output, "/usr/bin/pip")
    assert what in str(error)
    assert error.exit_code == code


def test_pins_are_read_from_a_lock_file() -> None:
    first = "# Made by x==1\na==1.0 ; python_version < '3.11' \\\n    --hash=sha256:00\n    # via c\n"
    assert pins_of(f"{first}b-c==2 \\\n    --hash=x\n") == [("a", "1.0"), ("b-c", "2")]
