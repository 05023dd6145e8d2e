"""Run the corpus with promptflow's own batch run; print the results as JSON.

Started like `tests/parity/promptflow_batch.py`, with `{"home", "address", "root", "cases": [{"name", "flow", …}]}`.
Prints name to `{"status", "lines", "metrics"}`; the outputs of a line that failed are null.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ATTEMPTS = 2
"""On a busy machine its process pool gives up waiting for its own processes."""

sys.path.insert(0, str(Path(__file__).parent.parent / "parity"))


def create_connections(client: Any, address: str) -> None:
    """Create those of `engine.connections`."""
    from promptflow.entities import CustomConnection, OpenAIConnection

    for name, path in (("open_ai_connection", "first"), ("second_connection", "second")):
        client.connections.create_or_update(OpenAIConnection(name=name, api_key="abc", base_url=f"{address}/{path}"))
    for name, region, token in (("custom_connection", "north", "abc"), ("other_custom_connection", "south", "defgh")):
        connection = CustomConnection(name=name, configs={"region": region}, secrets={"token": token})
        client.connections.create_or_update(connection)


def run_case(client: Any, root: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Run one case as a user of promptflow would."""
    if case["flow"].endswith(".prompty"):
        os.environ["PF_BATCH_METHOD"] = "spawn"  # what it forks inherits a lock of its connections' store
    variants = [f"${{{node}.{variant}}}" for node, variant in case["variants"].items()]
    run = client.run(
        flow=str(root / case["flow"]),
        data=str(root / case["data"]),
        column_mapping=case["column_mapping"] or None,
        variant=variants[0] if variants else None,
        connections=case["nodes"] or None,
        environment_variables=case["environment_variables"] or None,
        init=case["init"] or None,
    )
    from promptflow._sdk.operations._local_storage_operations import LocalStorageOperations

    folder = Path(LocalStorageOperations(run).path)  # the table that the client offers changes the types
    return {"status": run.status, "lines": read_lines(folder, root / case["data"]), "metrics": client.get_metrics(run)}


def forget_modules(root: Path) -> None:
    """Forget what a flow imported: promptflow would give the next flow this one's modules of the same name."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(root)):
            del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if not entry.startswith(str(root))]


def read_lines(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Read the outputs as promptflow wrote them."""
    outputs = {}
    for text in (folder / "flow_outputs" / "output.jsonl").read_text("utf-8").splitlines():
        line = json.loads(text)
        outputs[line.pop("line_number")] = line
    return [{"row": row, "outputs": outputs.get(row)} for row in range(len(data.read_text("utf-8").splitlines()))]


def main() -> int:
    """Run from the command line."""
    request = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    from promptflow_batch import prepare  # type: ignore[import-not-found]  # beside the parity tests

    prepare(Path(request["home"]))
    from promptflow.client import PFClient

    client = PFClient()
    create_connections(client, request["address"])
    before = dict(os.environ)
    results = {}
    for case in request["cases"]:
        for _ in range(ATTEMPTS):
            try:
                results[case["name"]] = run_case(client, Path(request["root"]), case)
                break
            except Exception as error:  # noqa: BLE001 whatever it is, the other cases run
                results[case["name"]] = {"error": f"{type(error).__name__}: {error}"}
        os.environ.clear()
        os.environ.update(before)
        forget_modules(Path(request["root"]))
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
