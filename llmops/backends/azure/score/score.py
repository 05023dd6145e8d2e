"""Azure's scoring server calls `init` once and `run` for each request; see azureml-inference-server-http.

Runs in the container, without llmops: everything it needs is beside it or in the model.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _llmops_worker import callable_flow

_flow: Any = None


def init() -> None:
    """Load the flow that the package's manifest names."""
    global _flow  # noqa: PLW0603 the server knows two functions only
    root = _package(Path(os.environ.get("AZUREML_MODEL_DIR", ".")))
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    project = root / manifest["project"]
    folder = project / manifest["flow"]["path"] if manifest["definition"] else project
    paths = [str(folder), *(str(project / name) for name in manifest.get("import_roots", []))]
    message = {
        "folder": str(folder),
        "paths": list(dict.fromkeys(paths)),
        "entry": manifest["entry"],
        "init": manifest["flow"].get("init", {}),
        "environment_variables": {},
        "connections": {},
    }
    _flow = callable_flow.load(message)


def run(raw_data: str) -> Any:
    """Answer one request: a JSON object of the flow's inputs."""
    inputs = json.loads(raw_data or "{}")
    if not isinstance(inputs, dict):
        raise TypeError("the body is no JSON object")
    outputs, _ = _flow.run_line(inputs, "")
    return outputs


def _package(model: Path) -> Path:
    """Find the package: Azure may or may not put the uploaded folder between."""
    named = model / os.environ.get("LLMOPS_MODEL_FOLDER", "")
    return (named if named.is_dir() else model) / "package"
