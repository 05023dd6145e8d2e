"""The Python of a serving process: the one that the version was judged with."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path

from llmops.backends.local.serving.settings import ServingSettings
from llmops.engine.environments import AUTO, Environments, interpreter
from llmops.errors import UsageError
from llmops.releases import Manifest

_SERVES = {"callable": ("uvicorn",)}
_SERVES_PROMPT_FLOW = ("uvicorn", "httpx")
"""What serving needs besides the flow's requirements; promptflow-core imports httpx, and does not ask for it."""


def find_python(manifest: Manifest, package: Path, settings: ServingSettings, state: Path) -> str:
    """Return the interpreter of a serving process; builds its environment when the flow asks for one.

    Args:
        manifest: of the version.
        package: a copy of it that may be written to.
        settings: the environment's; a `python` there replaces the flow's own.
        state: the project's `.llmops/` folder.

    Raises:
        UsageError: there is no such Python, or the flow asks for an environment and the package pins nothing.
        BackendError: the environment cannot be built.
    """
    wanted = manifest.flow.python
    if settings.python:
        return settings.python
    if not wanted:
        return sys.executable
    if wanted != AUTO:
        return interpreter(wanted, root=state.parent, flow=manifest.flow.path)
    if not manifest.requirements:
        raise UsageError.of("python: auto, but the package pins no requirements", where=manifest.flow.path)
    # Paths in the requirements are relative to the flow's folder.
    requirements = package / manifest.project / manifest.folder / "llmops-serving-requirements.txt"
    pinned = (package / manifest.requirements).read_text(encoding="utf-8")
    requirements.write_text(pinned + _further(pinned, manifest.flow_kind), encoding="utf-8")
    environments = Environments(folder=state / "environments", env=os.environ)
    return str(environments.build(requirements, flow=manifest.flow.path, flow_digest=manifest.flow.digest))


def _further(pinned: str, kind: str) -> str:
    names = {re.split(r"[=<>!~\[; ]", line, maxsplit=1)[0].lower() for line in pinned.splitlines()}
    missing = [name for name in _SERVES.get(kind, _SERVES_PROMPT_FLOW) if name not in names]
    return "".join(f"{name}=={importlib.metadata.version(name)}\n" for name in missing)
