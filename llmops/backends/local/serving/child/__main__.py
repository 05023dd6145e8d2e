"""Entry of the serving process: `python <this folder> <the worker's folder>`, with the router on its pipes."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any


def _load_package(name: str, folder: Path) -> None:
    """Import a folder under a private name, so that no name of ours meets a name of the flow's."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _take_streams() -> tuple[int, int]:
    """Keep private copies of the pipe; give the flow an empty input and the log as output."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # the router may end this process at any moment
    return source, sink


def _lacking(error: ModuleNotFoundError) -> dict[str, Any]:
    said = f"{error}; the flow's own Python needs it to serve: add it to the requirements"
    return {"op": "load_failed", "error": {"type": type(error).__name__, "message": said}}


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    _load_package("_llmops_serving", here)
    _load_package("_llmops_worker", Path(sys.argv[1]).resolve())
    sys.argv[:] = [sys.argv[0]]
    source, sink = _take_streams()
    try:
        from _llmops_serving.serve import serve
    except ModuleNotFoundError as error:
        os.write(sink, json.dumps(_lacking(error)).encode() + b"\n")
        sys.exit(1)
    serve(source, sink)
