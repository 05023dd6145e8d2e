"""Entry of what runs in a flow's interpreter: `python <this folder> [JOB]`, its starter on standard input and output.

Without a job it is a worker. `fork-server` starts workers on demand, `preload` imports the framework and ends, which
leaves its bytecode behind, and the name and folder of another package hand over to its `serve`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path


def _load_package(name: str, folder: Path) -> None:
    """Import a folder under a private name, so that no name of ours meets a name of the flow's."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _main(job: str, *folder: str) -> None:
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    _load_package("_llmops_worker", here)
    if folder:
        _load_package(job, Path(folder[0]))
    from _llmops_worker import fork_server, preload, streams

    if job == "preload":
        preload.preload()
        return
    if job == "fork-server":
        fork_server.serve_forks()
    package = job if folder else "_llmops_worker"
    importlib.import_module(f"{package}.serve").serve(*streams.take_streams())


if __name__ == "__main__":
    _job = sys.argv[1:] or [""]
    sys.argv[1:] = []
    _main(*_job)
