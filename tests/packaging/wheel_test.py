"""The built wheel, installed from the lock files, runs the example: light, or with all of promptflow."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.environments import Workshop, copy_example

pytestmark = [pytest.mark.slow, pytest.mark.registry]

CHECK = ("check", "web-classification", "--dataset", "smoke", "--baseline", "none")


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    """What a user has: flows, configuration and data, and no llmops beside them."""
    return copy_example(root, tmp_path / "project")


def llmops(python: Path, folder: Path, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(python.with_name("llmops")), *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def installing_environment(workshop: Workshop) -> dict[str, str]:
    """As a user has it: registries can be reached, and the installer is on PATH."""
    folder = Path(getattr(workshop.installer, "executable", "/nowhere/uv")).parent
    return {**workshop.env, "PATH": f"{folder}{os.pathsep}{workshop.env['PATH']}"}


def test_the_light_installation_names_the_command_that_it_needs_and_then_runs(
    workshop: Workshop, wheel: Path, project: Path, tmp_path: Path
) -> None:
    python = workshop.make(tmp_path / "light", "requirements/base.txt")
    workshop.install_wheel(python, wheel)

    before = llmops(python, project, *CHECK, env=dict(os.environ))
    assert before.returncode not in {0, 1, 3}
    assert "llmops setup" in before.stdout + before.stderr

    installing = installing_environment(workshop)
    installed = llmops(python, project, "setup", env=installing)
    assert installed.returncode == 0, installed.stderr
    again = llmops(python, project, "setup", env=installing)
    assert "already so: promptflow-tools 1.6.1" in again.stdout

    after = llmops(python, project, *CHECK, env=dict(os.environ))
    assert after.returncode == 0, after.stdout + after.stderr


def test_the_extra_promptflow_runs_the_example_without_more(
    workshop: Workshop, wheel: Path, project: Path, tmp_path: Path
) -> None:
    python = workshop.make(tmp_path / "full", "requirements/promptflow.txt")
    workshop.install_wheel(python, wheel, extra="promptflow")
    result = llmops(python, project, *CHECK, env=dict(os.environ))
    assert result.returncode == 0, result.stdout + result.stderr
    assert llmops(python, project, "setup", env=dict(os.environ)).returncode == 0


def test_the_wheel_holds_the_files_that_are_read_at_run_time(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "llmops/requirements/llm-tools.txt" in names
    assert not [name for name in names if name.startswith(("tests/", "tools/", "flows/"))]


def test_the_extra_azure_is_what_its_lock_file_holds(workshop: Workshop, wheel: Path, tmp_path: Path) -> None:
    python = workshop.make(tmp_path / "azure", "requirements/azure.txt")
    workshop.install_wheel(python, wheel, extra="azure")
    code = "from promptflow.azure import PFClient; from azure.ai.ml import MLClient; import azure.identity; print('ok')"
    done = subprocess.run([python, "-c", code], env=os.environ, capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stderr
