"""The prompt flow service: submitting runs and watching them."""

from __future__ import annotations

from typing import Any

from llmops.emulator.clock import timestamp
from llmops.emulator.cloud import Call
from llmops.emulator.errors import RefusalError
from llmops.emulator.runs import require_submittable
from llmops.emulator.store import Document
from llmops.emulator.wire import Response, json_response

_PREFIX = "azureml.promptflow"
_CONNECTION_TYPES = {
    "azure_open_ai": "AzureOpenAI",
    "open_ai": "OpenAI",
    "serverless": "Serverless",
    "custom": "Custom",
}


def trace_session(call: Call) -> Response:
    """Say that traces are not kept."""
    body = {
        "traceCosmosConfiguration": "None",
        "traceCosmosStatus": "Initialized",
        "entityId": call.workspace.guid,
        "resourceType": 1,
        "resourceArmId": call.workspace.id,
    }
    return json_response(body)


def submit(call: Call) -> Response:
    """Accept a run; its id must be new."""
    if "aml-user-token" not in call.request.headers:
        raise RefusalError(401, "UserError", "The header 'aml-user-token' is missing.")
    submitted = call.request.json()
    run = str(submitted.get("runId") or "")
    require_submittable(call.cloud, call.workspace, submitted)
    document = {"submitted": submitted, "metadata": _metadata(call, run, submitted)}
    if not call.cloud.store.add(*call.key("runs", run), document=document):
        raise RefusalError(409, "UserError", f"A run with id '{run}' already exists.")
    fault = call.cloud.faults.for_operation(call.request)
    call.cloud.runs.start(call.workspace, run, fault.effect if fault else "")
    return json_response(run)


def info(call: Call) -> Response:
    """Describe a run for its page in the studio."""
    run = _find(call)
    name, workspace = call.names["run"], call.workspace
    studio = f"https://ml.azure.com/prompts/flow/bulkrun/run/{name}/details?wsid={workspace.id}"
    body = {
        "flowRunId": name,
        "flowRunResourceId": f"azureml://locations/{call.cloud.settings.region}/workspaces/{workspace.guid}/flows/{name}",
        "flowRunDisplayName": run["metadata"]["displayName"],
        "studioPortalEndpoint": studio,
        "studioPortalTraceEndpoint": studio,
        "flowSnapshotId": run["metadata"]["properties"][f"{_PREFIX}.snapshot_id"],
        "childRunBasePath": "",
        "batchDataInput": run["submitted"].get("batchDataInput"),
        "amlComputeName": run["submitted"].get("computeName"),
    }
    return json_response(body)


def log(call: Call) -> Response:
    """Give the whole log so far, as one JSON string."""
    _find(call)
    found = call.cloud.store.get(*call.key("run-logs", call.names["run"])) or {"text": ""}
    return json_response(found["text"])


def child_runs(call: Call) -> Response:
    """Give the lines of a run, in the order in which they finished."""
    _find(call)
    found = call.cloud.store.get(*call.key("run-lines", call.names["run"])) or {"lines": []}
    first = int(call.request.query.get("startindex", "0"))
    last = int(call.request.query.get("endindex", str(first + 24)))
    return json_response([line for line in found["lines"] if first <= line["index"] <= last])


def cancel(call: Call) -> Response:
    """Ask a run to end."""
    _find(call)
    call.cloud.runs.cancel(call.workspace, call.names["run"])
    return Response(headers={"Content-Type": "application/json"})


def list_connections(call: Call) -> Response:
    """List the workspace's connections."""
    found = call.cloud.store.children(*call.key("connections"))
    return json_response([_connection(connection) for connection in found])


def get_connection(call: Call) -> Response:
    """Describe a connection; secrets are blanked out."""
    return json_response(_connection(call.find("connections", call.names["name"])))


def _connection(connection: Document) -> dict[str, Any]:
    blanked = dict.fromkeys(connection["secrets"], "******")
    return {
        "connectionName": connection["name"],
        "connectionType": _CONNECTION_TYPES[connection["type"]],
        "configs": {**connection["configs"], **blanked},
    }


def _find(call: Call) -> Document:
    name = call.names["run"]
    found = call.cloud.store.get(*call.key("runs", name))
    if found is None:
        raise RefusalError(404, "UserError", f"Run runId={name} was not found")
    return found


def _metadata(call: Call, run: str, submitted: dict[str, Any]) -> dict[str, Any]:
    person = str(call.caller.get("appid", ""))
    return {
        "runId": run,
        "runUuid": run,
        "rootRunId": run,
        "runType": "azureml.promptflow.FlowRun",
        "status": "NotStarted",
        "createdUtc": timestamp(),
        "createdBy": {"userObjectId": call.caller.get("oid"), "userName": person},
        "startTimeUtc": None,
        "endTimeUtc": None,
        "duration": None,
        "displayName": submitted.get("runDisplayName") or run,
        "description": submitted.get("description") or "",
        "tags": {name: str(value) for name, value in (submitted.get("tags") or {}).items()},
        "properties": _properties(run, submitted),
        "outputs": None,
        "error": None,
        "hidden": False,
        "experimentName": submitted.get("runExperimentName") or "",
    }


def _properties(run: str, submitted: dict[str, Any]) -> dict[str, str]:
    path = str(submitted["flowDefinitionBlobPath"])
    target = submitted.get("variantRunId")
    optional = {
        "input_data": (submitted.get("batchDataInput") or {}).get("dataUri"),
        "input_run_id": target,
        "variant_run_id": target,
        "node_variant": submitted.get("nodeVariant"),
        "vm_size": submitted.get("vmSize"),
        "compute_name": submitted.get("computeName"),
    }
    found = {f"{_PREFIX}.{name}": str(value) for name, value in optional.items() if value}
    return {
        **found,
        f"{_PREFIX}.flow_name": path.split("/")[-2],
        f"{_PREFIX}.flow_definition_blob_path": path,
        f"{_PREFIX}.inputs_mapping": str(submitted.get("inputsMapping") or {}),
        f"{_PREFIX}.runtime_name": str(submitted.get("runtimeName") or "automatic"),
        f"{_PREFIX}.session_id": str(submitted.get("sessionId") or ""),
        f"{_PREFIX}.snapshot_id": run,
        f"{_PREFIX}.total_tokens": "0",
        "_azureml.evaluation_run": "promptflow.BatchRun",
    }
