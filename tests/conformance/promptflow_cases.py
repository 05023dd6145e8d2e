"""Run the corpus with promptflow's own batch run; print the results as JSON.

Started like `tests/parity/promptflow_batch.py`, with `{"home", "address", "root", "cases": [{"name", "flow", …}]}`.
Prints name to `{"status", "lines", "metrics"}`; the outputs of a line that failed are null.

promptflow is imported once. Each case runs in a fork of its own: no case finds what another one imported or set, and
several run side by side, because a run waits for its own processes most of its time.
"""

from __future__ import annotations

import base64
import importlib
import json
import multiprocessing
import multiprocessing.connection
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

AT_ONCE = 6
IMPORTED_ONCE = ("promptflow.client", "promptflow._sdk._orchestrator", "git", "pandas")
"""What every fork would otherwise import itself."""

FORK = multiprocessing.get_context("fork")

sys.path.insert(0, str(Path(__file__).parent.parent / "parity"))


def create_connections(address: str) -> None:
    """Create those of `engine.connections`."""
    from promptflow.client import PFClient
    from promptflow.entities import AzureOpenAIConnection, CustomConnection, OpenAIConnection

    renew_locks()
    client = PFClient()
    for name, path in (("open_ai_connection", "first"), ("second_connection", "second")):
        client.connections.create_or_update(OpenAIConnection(name=name, api_key="abc", base_url=f"{address}/{path}"))
    azure = AzureOpenAIConnection(
        name="azure_connection", api_key="abc", api_base=f"{address}/azure", api_version="2024-10-21"
    )
    client.connections.create_or_update(azure)
    for name, region, token in (("custom_connection", "north", "abc"), ("other_custom_connection", "south", "defgh")):
        connection = CustomConnection(name=name, configs={"region": region}, secrets={"token": token})
        client.connections.create_or_update(connection)


def renew_locks() -> None:
    """Make promptflow's file locks anew: those of the process that was forked refuse to serve the fork."""
    from filelock import FileLock  # type: ignore[import-not-found]  # promptflow brings it
    from promptflow._sdk._orm import session
    from promptflow._sdk._utilities import general_utils

    for module, name in ((session, "lock"), (session, "trace_lock"), (general_utils, "_encryption_key_lock")):
        setattr(module, name, FileLock(getattr(module, name).lock_file))


def run_case(root: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Run one case as a user of promptflow would."""
    from promptflow._sdk.operations._local_storage_operations import LocalStorageOperations
    from promptflow.client import PFClient

    renew_locks()
    client = PFClient()
    if case["flow"].endswith(".prompty"):
        os.environ["PF_BATCH_METHOD"] = "spawn"  # what it forks inherits a lock of its connections' store
    variants = [f"${{{node}.{variant}}}" for node, variant in case["variants"].items()]
    try:
        run = client.run(
            flow=str(root / case["flow"]),
            data=str(root / case["data"]),
            column_mapping=case["column_mapping"] or None,
            variant=variants[0] if variants else None,
            connections=case["nodes"] or None,
            environment_variables=case["environment_variables"] or None,
            init=case["init"] or None,
        )
    except Exception as error:  # noqa: BLE001 whatever it is, the other cases run
        return {"error": f"{type(error).__name__}: {error}"}
    folder = Path(LocalStorageOperations(run).path)  # the table that the client offers changes the types
    return {"status": run.status, "lines": read_lines(folder, root / case["data"]), "metrics": client.get_metrics(run)}


def read_lines(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Read the outputs as promptflow wrote them."""
    outputs = {}
    images = folder / "flow_outputs"
    for text in (folder / "flow_outputs" / "output.jsonl").read_text("utf-8").splitlines():
        line = json.loads(text)
        number = line.pop("line_number")
        outputs[number] = with_images(line, images)
    return [{"row": row, "outputs": outputs.get(row)} for row in range(len(data.read_text("utf-8").splitlines()))]


def with_images(value: Any, folder: Path) -> Any:
    """Put images in the place of the names that promptflow makes up for their files."""
    if isinstance(value, list):
        return [with_images(item, folder) for item in value]
    if not isinstance(value, dict):
        return value
    if [key.endswith(";path") for key in value] == [True]:
        ((key, name),) = value.items()
        return {key.replace(";path", ";base64"): base64.b64encode((folder / name).read_bytes()).decode()}
    return {key: with_images(item, folder) for key, item in value.items()}


def run_forks(jobs: list[Callable[[], None]]) -> None:
    """Run each in a fork of this process, some at once."""
    waiting = list(jobs)
    running: list[Any] = []
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            process = FORK.Process(target=waiting.pop(0))
            process.start()
            running.append(process)
        multiprocessing.connection.wait([process.sentinel for process in running])
        running = [process for process in running if process.is_alive()]


def main() -> int:
    """Run from the command line."""
    request = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    from promptflow_batch import prepare  # type: ignore[import-not-found]  # beside the parity tests

    prepare(Path(request["home"]))
    os.environ["PF_WORKER_COUNT"] = "1"  # of each run: the cases have two or three rows
    for module in IMPORTED_ONCE:
        importlib.import_module(module)

    results = Path(request["home"]) / "results"
    results.mkdir()
    run_forks([lambda: create_connections(request["address"])])

    def job(case: dict[str, Any]) -> Callable[[], None]:
        def run() -> None:
            folder = results / case["name"]
            folder.mkdir()
            os.chdir(folder)  # promptflow writes logs of its processes here
            (folder / "result.json").write_text(json.dumps(run_case(Path(request["root"]), case)), "utf-8")

        return run

    run_forks([job(case) for case in request["cases"]])
    print(json.dumps({case["name"]: read_result(results / case["name"]) for case in request["cases"]}))
    return 0


def read_result(folder: Path) -> dict[str, Any]:
    """Read what a fork wrote before it ended."""
    path = folder / "result.json"
    result: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {"error": "no result"}
    return result


if __name__ == "__main__":
    sys.exit(main())
