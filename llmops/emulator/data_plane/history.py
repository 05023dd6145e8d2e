"""Run history, metrics and the index: what became of runs."""

from __future__ import annotations

from typing import Any

from llmops.emulator.blobs import sign_container
from llmops.emulator.cloud import Call
from llmops.emulator.errors import RefusalError
from llmops.emulator.jobs import logs_prefix
from llmops.emulator.store import Document
from llmops.emulator.wire import Response, json_response

_MOST = 100


def run_data(call: Call) -> Response:
    """Describe a run."""
    name = str(call.request.json().get("runId") or "")
    found = call.cloud.store.get(*call.key("runs", name))
    if found is None:
        return _no_such_run(name)
    return json_response({"runMetadata": found["metadata"]})


def job_details(call: Call) -> Response:
    """Say how far a command job is and where its logs are."""
    name = call.names["run"]
    found = call.cloud.store.get(*call.key("jobs", name))
    if found is None:
        return _no_such_run(name)
    account, container = call.cloud.blobs.account, call.workspace.container
    signature = sign_container(account, container, permissions="r")
    names = call.cloud.blobs.names(container, prefix := logs_prefix(name))
    logs = {blob[len(prefix) :]: f"{call.blob_address(container, blob)}?{signature}" for blob in names}
    return json_response({"runId": name, "status": found["properties"]["status"], "logFiles": logs})


def modify(call: Call) -> Response:
    """Change name, description, tags or visibility; tags are merged."""
    changes = call.request.json()

    def change(document: Document) -> None:
        metadata = document["metadata"]
        for name in ("displayName", "description", "hidden"):
            if changes.get(name) is not None:
                metadata[name] = changes[name]
        metadata["tags"].update(changes.get("tags") or {})

    found = call.cloud.store.update(*call.key("runs", call.names["run"]), change=change)
    return json_response(found["metadata"]) if found else _no_such_run(call.names["run"])


def last_values(call: Call) -> Response:
    """Give the last value of each metric."""
    if call.cloud.store.get(*call.key("runs", call.names["run"])) is None:
        return _no_such_run(call.names["run"])
    found = call.cloud.store.get(*call.key("run-metrics", call.names["run"])) or {"metrics": {}, "createdUtc": ""}
    values = [_metric(name, value, found["createdUtc"]) for name, value in found["metrics"].items()]
    return json_response({"value": values})


def entities(call: Call) -> Response:
    """List runs, newest first, as the filters ask."""
    asked = call.request.json()
    wanted = {entry.get("field"): entry.get("values") or [] for entry in asked.get("filters") or []}
    found = [_entity(run["metadata"], call) for run in reversed(call.cloud.store.children(*call.key("runs")))]
    archived = wanted.get("annotations/archived") or ["true", "false"]
    names = wanted.get("properties/runId")
    kept = [
        entity
        for entity in found
        if str(entity["annotations"]["archived"]).lower() in archived
        and (names is None or entity["properties"]["runId"] in names)
    ]
    first, size = int(asked.get("skip") or 0), min(int(asked.get("pageSize") or _MOST), _MOST)
    return json_response({"totalCount": len(kept), "value": kept[first : first + size], "nextSkip": None})


def _no_such_run(name: str) -> Response:
    error = {"code": "UserError", "message": f"Run runId={name} was not found", "innerError": {"code": "NotFoundError"}}
    return json_response({"error": error, "componentName": "run-history", "statusCode": 404}, 404)


def _metric(name: str, value: Any, created: str) -> dict[str, Any]:
    is_number = isinstance(value, (int, float))
    return {
        "name": name,
        "columns": {name: "Double" if is_number else "String"},
        "properties": {"uxMetricType": "azureml.v1.scalar"},
        "namespace": None,
        "value": [{"metricId": f"{name}-0", "createdUtc": created, "step": 0, "data": {name: value}}],
    }


def _entity(metadata: dict[str, Any], call: Call) -> dict[str, Any]:
    metrics = call.cloud.store.get(*call.key("run-metrics", metadata["runId"])) or {"metrics": {}}
    return {
        "type": "runs",
        "annotations": {
            "status": metadata["status"],
            "displayName": metadata["displayName"],
            "description": metadata["description"],
            "tags": metadata["tags"],
            "archived": metadata["hidden"],
            "metrics": {name: {"lastValue": value} for name, value in metrics["metrics"].items()},
        },
        "properties": {
            "runId": metadata["runId"],
            "runType": metadata["runType"],
            "experimentName": metadata["experimentName"],
            "userProperties": metadata["properties"],
            "creationContext": {"createdTime": metadata["createdUtc"], "createdBy": metadata["createdBy"]},
            "startTime": metadata["startTimeUtc"],
            "endTime": metadata["endTimeUtc"],
            "duration": metadata["duration"],
        },
    }


def asset_path(call: Call) -> Response:
    """Say where the blobs of a run's output are."""
    from llmops.emulator.runs import artifacts_prefix

    asset = str(call.request.json().get("value") or "")
    name = asset.rsplit("/data/", maxsplit=1)[-1].split("/versions/", maxsplit=1)[0]
    run, _, kind = name.removeprefix("azureml_").partition("_output_data_")
    if call.cloud.store.get(*call.key("runs", run)) is None:
        raise RefusalError(404, "UserError", f"The data '{asset}' was not found.")
    path = artifacts_prefix(run) + ("flow_outputs/" if kind == "flow_outputs" else "")
    uri = f"azureml://datastores/workspaceblobstore/paths/{path}"
    return json_response({"dataVersion": {"assetId": asset, "dataUri": uri, "dataType": "UriFolder"}})


def snapshot(call: Call) -> Response:
    """Give the tree of files of a run's flow as it was submitted."""
    run = str(call.request.json().get("snapshotOrAssetId") or "")
    if call.cloud.store.get(*call.key("runs", run)) is None:
        raise RefusalError(404, "UserError", f"The snapshot '{run}' was not found.")
    container = call.workspace.container
    root: dict[str, Any] = {"name": "", "absoluteUrl": None, "children": {}}
    for blob in call.cloud.blobs.names(container, f"runs/{run}/"):
        node = root
        for part in blob.split("/")[2:]:
            node = node["children"].setdefault(part, {"name": part, "absoluteUrl": None, "children": {}})
        node["absoluteUrl"] = call.blob_address(container, blob)
    return json_response(root)
