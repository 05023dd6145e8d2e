"""Entry of the worker process: `python <this folder>`, with the driver on standard input and output."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def _load_package() -> None:
    """Import this folder as `_llmops_worker`, so that no name of ours meets a name of the flow's."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    spec = importlib.util.spec_from_file_location(
        "_llmops_worker", here / "__init__.py", submodule_search_locations=[str(here)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_llmops_worker"] = module
    spec.loader.exec_module(module)


def _take_streams() -> tuple[int, int]:
    """Keep private copies of the pipe; give the flow an empty input and the log as output."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # the driver may end this process at any moment
    return source, sink


if __name__ == "__main__":
    _load_package()
    from _llmops_worker.serve import serve

    serve(*_take_streams())
