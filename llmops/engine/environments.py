"""Find the Python that runs a flow; build its environment from the flow's requirements when it asks for one."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops.engine.locks import exclusive
from llmops.errors import BackendError, UsageError

AUTO = "auto"
READY = "llmops-ready"
"""File whose presence says that an environment is whole."""

_LAYOUT = "1"
_OUTPUT_LINES = 12
_LOCAL = re.compile(
    r"^\s*(\.|/|-r|-c|-e|-f|--requirement|--constraint|--editable|--find-links)|\.whl\b|file:", re.MULTILINE
)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")


@dataclass(frozen=True, kw_only=True)
class Environments:
    """The virtual environments of a project, one for each content of a requirements file.

    They are never changed once they are whole, so that several drivers may use one at once; deleting the folder is
    always safe while no driver runs.

    Args:
        folder: where they are kept, for instance `.llmops/environments`.
        env: environment variables of the installer: index addresses, proxies.
    """

    folder: Path
    env: Mapping[str, str]

    def build(self, requirements: Path, *, flow: str, flow_digest: str) -> Path:
        """Return the Python of the environment for a requirements file; build it when it is not there.

        Args:
            requirements: the file; paths in it are relative to its folder.
            flow: name of the flow, for messages.
            flow_digest: counts for a file that names other files, whose content it does not show.

        Raises:
            BackendError: the packages could not be installed.
        """
        home = self.folder / self.name_of(requirements.read_bytes(), flow_digest)
        python = home / "bin" / "python"
        if (home / READY).exists():
            return python
        self.folder.mkdir(parents=True, exist_ok=True)
        with exclusive(self.folder / f"{home.name}.lock"):
            if not (home / READY).exists():
                shutil.rmtree(home, ignore_errors=True)
                self._install(home, python, requirements, flow)
                (home / READY).touch()
        return python

    @staticmethod
    def name_of(requirements: bytes, flow_digest: str) -> str:
        """Name an environment by what goes into it: requirements, Python's version, perhaps the flow's files."""
        content = hashlib.sha256(f"{_LAYOUT}\n{sys.version}\n{sys.base_prefix}\n".encode() + requirements)
        if _LOCAL.search(requirements.decode("utf-8", "replace")):
            content.update(flow_digest.encode())
        return content.hexdigest()[:16]

    def _install(self, home: Path, python: Path, requirements: Path, flow: str) -> None:
        uv = shutil.which("uv", path=self.env.get("PATH"))
        if uv:
            steps = [[uv, "venv", "--quiet", "--python", sys.executable, str(home)]]
            install = [uv, "pip", "install", "--compile-bytecode", "--python", str(python)]
            steps += [[*install, "--requirement", requirements.name]]
        else:
            steps = [[sys.executable, "-m", "venv", str(home)]]
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--no-input"]
            steps += [[*pip, "--requirement", requirements.name]]
        for step in steps:
            self._run(step, requirements, flow)

    def _run(self, command: list[str], requirements: Path, flow: str) -> None:
        env = {name: value for name, value in self.env.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
        done = subprocess.run(
            command,
            cwd=requirements.parent,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            output = "\n".join(done.stdout.strip().splitlines()[-_OUTPUT_LINES:])
            raise BackendError.of(
                "the flow's environment cannot be built (python: auto)",
                where=f"{flow}: {requirements.name}",
                found=_CREDENTIALS.sub("***@", output),
                fix="Check the requirements and the network; what was built before is used without a network.",
            )


def interpreter(setting: str, *, root: Path, flow: str) -> str:
    """Return the Python that a `python:` path names.

    Args:
        setting: a path, absolute or relative to the project folder, or a command that is on PATH.
        root: the project folder.
        flow: name of the flow, for messages.

    Raises:
        UsageError: there is no such program.
    """
    for candidate in (str(root / setting), shutil.which(setting) or ""):
        if candidate and Path(candidate).is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise UsageError.of(
        "no such Python", where=f"{flow}: python", found=f"'{setting}'", expected="a path of a Python, or auto"
    )
