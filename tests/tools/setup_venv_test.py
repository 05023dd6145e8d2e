from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.environments import Workshop
from tools.setup_venv import LEVELS, STATE, Pip, SetupError, compile_bytecode, digest_of, python_of, run

FILES = ("Makefile", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Path:
    """A copy of the checkout without what the set-up made, but what is compiled already."""
    copy = tmp_path / "checkout"
    for folder in ("llmops", "tools", "requirements"):
        shutil.copytree(root / folder, copy / folder, ignore=shutil.ignore_patterns("*.pyc.*"))
    for name in FILES:
        shutil.copy(root / name, copy / name)
    return copy


def make(checkout: Path, target: str, env: dict[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    settings = {**env, "PYTHON": sys.executable, **more}
    return subprocess.run(["make", target], cwd=checkout, env=settings, capture_output=True, text=True, check=False)


def with_uv(workshop: Workshop) -> dict[str, str]:
    """Put the uv that we have on PATH, so that the copy need not fetch one."""
    folder = Path(getattr(workshop.installer, "executable", "/nowhere/uv")).parent
    return {**workshop.env, "PATH": f"{folder}{os.pathsep}{workshop.env['PATH']}"}


def imports_from(python: Path) -> str:
    """Say where that Python finds llmops; it must find promptflow-core too."""
    code = "import llmops, promptflow.core; print(llmops.__file__)"
    folder = python.parent  # not the working directory: there lies another llmops
    found = subprocess.run([python, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_what_workers_import_is_compiled_even_where_python_may_not_write_bytecode(
    checkout: Path, tmp_path: Path
) -> None:
    shutil.rmtree(checkout / "llmops" / "__pycache__", ignore_errors=True)
    venv.create(tmp_path / "venv")
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    executor = packages / "promptflow" / "executor"
    executor.mkdir(parents=True)
    (executor / "__init__.py").touch()
    compile_bytecode(checkout, python_of(tmp_path / "venv"), {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    for module in (executor / "__init__.py", checkout / "llmops" / "errors.py"):
        assert list((module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"))


@pytest.mark.slow
@pytest.mark.registry
def test_the_first_set_up_makes_the_driver_runnable_and_the_second_changes_nothing(
    checkout: Path, workshop: Workshop
) -> None:
    first = make(checkout, "setup", with_uv(workshop))
    assert first.returncode == 0, first.stderr
    python = checkout / ".venv" / "bin" / "python"
    assert imports_from(python) == str(checkout / "llmops" / "__init__.py")
    made = (checkout / ".venv" / STATE).stat().st_mtime_ns
    second = make(checkout, "setup", {"PATH": os.environ["PATH"]})
    assert (second.returncode, second.stderr) == (0, "")
    assert (checkout / ".venv" / STATE).stat().st_mtime_ns == made


@pytest.mark.slow
@pytest.mark.registry
@pytest.mark.parametrize("leftover", ["interrupted", "changed lock", "another Python", "a file"])
def test_an_environment_that_is_not_as_locked_is_made_anew(checkout: Path, workshop: Workshop, leftover: str) -> None:
    venv = checkout / ".venv"
    state = {"digest": digest_of(checkout, sys.executable, LEVELS), "level": "run"}
    if leftover == "a file":
        venv.write_text("no folder")
    else:
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "python").symlink_to("/nowhere/python3.9")
    if leftover == "changed lock":
        (venv / STATE).write_text(json.dumps({**state, "digest": "of before"}))
    if leftover == "another Python":
        (venv / STATE).write_text(json.dumps(state))
    result = make(checkout, "setup", with_uv(workshop))
    assert result.returncode == 0, result.stderr
    assert imports_from(venv / "bin" / "python") == str(checkout / "llmops" / "__init__.py")


@pytest.mark.slow
@pytest.mark.registry
def test_plain_pip_does_when_uv_cannot_be_had(checkout: Path, open_environment: dict[str, str]) -> None:
    result = make(checkout, "setup", open_environment, LLMOPS_SETUP_PIP="1")
    assert result.returncode == 0, result.stderr
    assert imports_from(checkout / ".venv" / "bin" / "python") == str(checkout / "llmops" / "__init__.py")


@pytest.mark.slow
def test_without_a_network_the_set_up_says_so_and_leaves_nothing_that_looks_ready(checkout: Path) -> None:
    result = make(checkout, "setup", dict(os.environ), PIP_RETRIES="0", PIP_CONFIG_FILE=os.devnull)
    assert result.returncode == 2
    assert "uv cannot be had" in result.stderr
    assert "no installer could set up .venv" in result.stderr
    assert not (checkout / ".venv" / STATE).exists()


def test_a_command_that_cannot_start_is_a_set_up_error() -> None:
    with pytest.raises(SetupError, match=r"^/nowhere/uv cannot be started: "):
        run(["/nowhere/uv"], {})


def test_a_command_that_fails_is_a_set_up_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"^exit 1: "):
        Pip(env=dict(os.environ)).install(Path(sys.executable), "--no-such-option", str(tmp_path))
