"""Serve the flow in the working directory on 127.0.0.1, with promptflow's own serving app."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

_WORKER = Path(__file__).resolve().parents[2] / "engine" / "worker" / "promptflow_flow.py"


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_llmops_promptflow_flow", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Load the flow and serve it until the process is ended."""
    folder = Path.cwd()
    here = Path(__file__).resolve().parent
    sys.path[:] = [str(folder), *(entry for entry in sys.path if Path(entry or ".").resolve() != here)]
    sys.dont_write_bytecode = True
    _load(_WORKER)._offer_devkit_names()  # noqa: SLF001  the worker's, for the same packages
    import uvicorn
    from promptflow.core._serving.app import create_app

    app = create_app(engine="fastapi", extension_type="local")
    uvicorn.run(
        app, host="127.0.0.1", port=int(os.environ["LLMOPS_CONTAINER_PORT"]), log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main()
