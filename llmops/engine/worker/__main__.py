"""Entry of what runs in a flow's interpreter: `python <this folder> [JOB]`, its starter on standard input and output.

Without a job it is a worker. `fork-server`, with names of modules to import, starts processes on demand; `preload`
imports the framework and ends, which leaves its bytecode behind; the name and folder of another package hand over to
its `serve`.
"""

from __future__ import annotations

import importlib
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


def _lacking(error: ModuleNotFoundError) -> dict[str, Any]:
    said = f"{error}; the flow's own Python needs it to serve: add it to the requirements"
    return {"op": "load_failed", "error": {"type": type(error).__name__, "message": said}}


def _main(job: list[str]) -> None:
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    _load_package("_llmops_worker", here)
    from _llmops_worker import fork_server, preload, streams

    if job == ["preload"]:
        preload.preload()
        return
    if job[:1] == ["fork-server"]:
        job = fork_server.serve_forks(job[1:])
    package = "_llmops_worker"
    if job:
        package, folder = job
        _load_package(package, Path(folder))
    source, sink = streams.take_streams()
    try:
        serve = importlib.import_module(f"{package}.serve").serve
    except ModuleNotFoundError as error:
        os.write(sink, json.dumps(_lacking(error)).encode() + b"\n")
        sys.exit(1)
    serve(source, sink)


if __name__ == "__main__":
    _job = sys.argv[1:]
    sys.argv[1:] = []
    _main(_job)
