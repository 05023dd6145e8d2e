"""The code that serves a plain Python flow in Azure's scoring environment; it travels beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llmops.engine.fork_server import WORKER_FOLDER

_SCRIPT = Path(__file__).with_name("score") / "score.py"


def files() -> Mapping[str, bytes]:
    """Return the files, by their names: the script, and the worker's own view of a callable."""
    worker = {f"_llmops_worker/{path.name}": path.read_bytes() for path in sorted(WORKER_FOLDER.glob("*.py"))}
    return {"score.py": _SCRIPT.read_bytes(), **worker}


def variables(folder: str) -> Mapping[str, str]:
    """Return the variables by which the script finds the package.

    Args:
        folder: of the model's files, below the folder that Azure names in AZUREML_MODEL_DIR.
    """
    return {"LLMOPS_MODEL_FOLDER": folder}
