"""Run a flow, and an evaluation flow over its run, with promptflow's own batch run; print the results as JSON.

Started by the Python of an environment that holds all of promptflow, with the path of a JSON document:

    {"home": folder for what promptflow keeps, "base_url": address of the model,
     "flow": …, "data": …, "column_mapping": …, "evaluation": {"flow": …, "column_mapping": …}}

Prints `{"run": R, "evaluation": R}` as the last line, where R is `{"status", "lines", "metrics"}`; a line has `row`,
`inputs` and `outputs`, which is null for a line that failed.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

FAILED = "(Failed)"
"""What promptflow shows in the outputs of a line that failed."""


def prepare(home: Path) -> None:
    """Keep promptflow to itself: no telemetry, no background service, no home folder of a person, no keyring."""
    home.mkdir(parents=True, exist_ok=True)
    just_now = str(datetime.now())  # noqa: DTZ005  promptflow writes local time, and then asks no index for its newest version
    checked = {"last_check_time": just_now, "last_hint_time": just_now}
    (home / "pf_version_check.json").write_text(json.dumps(checked), encoding="utf-8")
    (home / "pf.yaml").write_text("telemetry:\n  enabled: false\ntrace:\n  destination: none\n", encoding="utf-8")
    os.environ.update(
        PF_HOME_DIRECTORY=str(home),
        HOME=str(home),
        PYTHON_KEYRING_BACKEND="throwaway_keyring.ThrowawayKeyring",
        PYTHONPATH=os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL="true",
        APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED="true",
        PF_LOGGING_LEVEL="ERROR",
    )


def results_of(client: Any, run: Any) -> dict[str, Any]:
    """Read the lines and the metrics of a finished run."""
    table = client.get_details(run, all_results=True)
    lines = [as_line(row) for row in json.loads(table.to_json(orient="records"))]
    metrics = client.get_metrics(run)
    return {"status": run.status, "lines": sorted(lines, key=lambda line: line["row"]), "metrics": metrics}


def as_line(row: dict[str, Any]) -> dict[str, Any]:
    """Take a row of promptflow's table apart."""
    outputs = {name.removeprefix("outputs."): value for name, value in row.items() if name.startswith("outputs.")}
    inputs = {name.removeprefix("inputs."): value for name, value in row.items() if name.startswith("inputs.")}
    failed = any(value == FAILED for value in outputs.values())
    return {"row": inputs.pop("line_number"), "inputs": inputs, "outputs": None if failed else outputs}


def run_batches(request: dict[str, Any]) -> dict[str, Any]:
    """Run the flow and then its evaluation."""
    from promptflow.client import PFClient
    from promptflow.entities import OpenAIConnection

    client = PFClient()
    if request.get("base_url"):
        connection = OpenAIConnection(name="open_ai_connection", api_key="none", base_url=request["base_url"])
        client.connections.create_or_update(connection)
    run = client.run(flow=request["flow"], data=request["data"], column_mapping=request["column_mapping"])
    wanted = request["evaluation"]
    mapping = wanted["column_mapping"]
    evaluation = client.run(flow=wanted["flow"], data=request["data"], run=run, column_mapping=mapping)
    return {"run": results_of(client, run), "evaluation": results_of(client, evaluation)}


def main() -> int:
    """Run from the command line."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if "workers" in request:
        os.environ["PF_WORKER_COUNT"] = str(request["workers"])
    prepare(Path(request["home"]))
    print(json.dumps(run_batches(request)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
