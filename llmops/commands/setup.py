"""`llmops setup`: install what the light installation leaves out, the LLM tool's package.

`promptflow-tools` asks, by its metadata, for all of promptflow, of which the LLM tool needs next to nothing. So it is
installed alone, from a requirements file with hashes that ships with llmops.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.resources
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from llmops.engine.fork_server import WORKER_FOLDER
from llmops.errors import BackendError, ExitCode, LlmopsError, UsageError
from llmops.requirements import LLM_TOOLS, pins_of

WITH_EVERYTHING = "pip install 'llmops[promptflow]'"


def setup(*, write: Callable[[str], None], env: Mapping[str, str]) -> int:
    """Install the LLM tool's package into the environment of the running Python.

    Args:
        write: shows one line to the user.
        env: environment of the installer: its settings for proxies and indexes.

    Returns:
        0, also when it was there already.

    Raises:
        UsageError: the environment cannot be changed, or nothing can install into it.
        BackendError: the package could not be downloaded, or is not the one we know.
    """
    with importlib.resources.as_file(LLM_TOOLS) as lock:
        wanted = pins_of(lock.read_text(encoding="utf-8"))
        missing = [pin for pin in wanted if not _is_installed(*pin)]
        if not missing:
            write(f"already so: {_names(wanted)} in {sys.prefix}")
            return ExitCode.PASS
        write(f"installing {_names(missing)} into {sys.prefix}")
        _install(lock, env)
    _compile(env)
    write("done")
    return ExitCode.PASS


def _is_installed(name: str, version: str) -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name) == version
    return False


def _names(pins: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {version}" for name, version in pins)


def _install(lock: Path, env: Mapping[str, str]) -> None:
    _refuse_a_managed_environment()
    command = [*installer(env), "--no-deps", "--require-hashes", "--requirement", str(lock)]
    done = subprocess.run(command, env=dict(env), capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise explain(done.stderr + done.stdout, command[0])


def _compile(env: Mapping[str, str]) -> None:
    """Compile what workers import: uv leaves that to the first import, which may not be allowed to write."""
    writing = {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, str(WORKER_FOLDER), "preload"], env=writing, capture_output=True, check=False)


def _refuse_a_managed_environment() -> None:
    marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    if sys.prefix == sys.base_prefix and marker.exists():
        raise UsageError.of(
            "this Python belongs to the operating system",
            where=sys.prefix,
            expected="a virtual environment",
            fix="Make one with 'python3 -m venv .venv', install llmops there and run its 'llmops setup'.",
        )


def installer(env: Mapping[str, str]) -> list[str]:
    """Choose the command that installs into the running Python: uv where it is on PATH, else pip.

    Raises:
        UsageError: there is neither.
    """
    uv = shutil.which("uv", path=env.get("PATH"))
    if uv:
        return [uv, "pip", "install", "--python", sys.executable]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    raise UsageError.of(
        "nothing can install packages here",
        where=sys.prefix,
        found="neither uv on PATH nor pip in the environment",
        fix="Run 'python -m ensurepip' with this environment's Python, or install uv, and run 'llmops setup' again.",
    )


_READ_ONLY = ("permission denied", "read-only file system", "access is denied", "operation not permitted")
_OFFLINE = (
    *("connection", "network", "dns error", "name resolution", "timed out", "tls", "ssl", "proxy"),
    *("failed to fetch", "could not find a version", "error sending request"),
)


def explain(output: str, command: str) -> LlmopsError:
    """Say what a failed installation means.

    Args:
        output: everything that uv or pip wrote.
        command: what was run.
    """
    text = output.lower()
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "nothing")
    if any(sign in text for sign in _READ_ONLY):
        return UsageError.of(
            "this environment cannot be written to",
            where=sys.prefix,
            found=last,
            fix="Install llmops into a virtual environment of your own and run its 'llmops setup'.",
        )
    if "hash" in text and "mismatch" in text.replace("do not match", "mismatch"):
        return BackendError.of(
            "the package index serves another file than the one that llmops knows",
            found=last,
            expected="the hashes of llmops/requirements/llm-tools.txt",
            fix="Check which index your uv or pip is set to use.",
        )
    if any(sign in text for sign in _OFFLINE):
        return BackendError.of(
            "the LLM tool's package could not be downloaded",
            found=last,
            fix=f"Check the network, the proxy and the index of uv or pip; or install everything: {WITH_EVERYTHING}",
        )
    return BackendError.of(f"{Path(command).name} could not install the LLM tool's package", found=last)
