"""Pin what a flow requires to what is installed in the Python that it was judged with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llmops.delivery import installed
from llmops.errors import UsageError

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_TAKEN_PART = ("llmops", "promptflow-core", "promptflow-tools", "openai", "jinja2", "uvicorn", "httpx")
_TIMEOUT_S = 60


class Distribution(NamedTuple):
    """An installed package: its version, and what it requires."""

    version: str
    requires: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python and what is installed in it.

    Attributes:
        version: of Python.
        packages: normalised name to package.
    """

    version: str
    packages: Mapping[str, Distribution]

    def versions(self) -> dict[str, str]:
        """Return the versions of Python and of the packages that take part in running and serving flows."""
        found = {name: self.packages[name].version for name in _TAKEN_PART if name in self.packages}
        return {"python": self.version, **found}

    def lock(self, requirements: str) -> str:
        """Pin requirements and all that they need in turn.

        Args:
            requirements: text of a `requirements.txt`. Options, addresses and what is not installed stay as they are
                written.

        Returns:
            One `name==version` a line, sorted; then the lines that stay. Markers of other platforms are not followed
            further than to what is installed.
        """
        pins: dict[str, str] = {}
        kept = []
        for line in (line.strip() for line in requirements.splitlines()):
            if not line or line.startswith("#"):
                continue
            name = _name_of(line)
            if name is None or name not in self.packages:
                kept.append(line)
            else:
                self._pin(name, pins)
        return "".join(f"{line}\n" for line in [*(f"{name}=={pins[name]}" for name in sorted(pins)), *kept])

    def _pin(self, name: str, pins: dict[str, str]) -> None:
        if name in pins or name not in self.packages:
            return
        pins[name] = self.packages[name].version
        for need in _needs(self.packages[name].requires):
            self._pin(need, pins)


def read_interpreter(python: str) -> Interpreter:
    """Look into a Python.

    Args:
        python: path of the program; llmops's own is read without starting it again.

    Raises:
        UsageError: it does not start, or does not answer as a Python does.
    """
    described = installed.list_installed() if python == sys.executable else _ask(python)
    packages = {_normalised(name): Distribution(*value) for name, value in described["packages"].items()}
    return Interpreter(version=described["python"], packages=packages)


def _ask(python: str) -> dict[str, Any]:
    # Isolated, so that neither this folder nor PYTHONPATH is taken for something that is installed there.
    command = [python, "-I", str(Path(installed.__file__))]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL)
        described: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise UsageError.of("the flow's Python does not say what is installed in it", found=f"{error}") from error
    return described


def _name_of(line: str) -> str | None:
    match = _NAME.match(line)
    if line.startswith("-") or "://" in line or match is None:
        return None
    return _normalised(match[1])


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _needs(requires: Sequence[str]) -> Iterator[str]:
    for line in requires:
        name = _name_of(line)
        if name and "extra ==" not in line:
            yield name
