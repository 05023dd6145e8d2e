"""Command jobs: submitted, listed, cancelled; they are really executed."""

from __future__ import annotations

from typing import Any

from llmops.emulator.clock import timestamp
from llmops.emulator.cloud import Call
from llmops.emulator.errors import RefusalError, user_error
from llmops.emulator.store import Document
from llmops.emulator.wire import Response, json_response

_CHANGEABLE = ("tags", "displayName", "description", "isArchived")
_DEFINING = (
    "command",
    "codeId",
    "environmentId",
    "environmentVariables",
    "inputs",
    "outputs",
    "computeId",
    "resources",
    "identity",
)


def put(call: Call) -> Response:
    """Start a job; one that exists keeps what it does, and only its description may change."""
    asked = call.request.json()["properties"]
    name = call.names["job"]
    if asked.get("jobType") != "Command":
        raise user_error(f"Jobs of type '{asked.get('jobType')}' are not emulated.")
    document = _document(call, name, asked)
    if call.cloud.store.add(*call.key("jobs", name), document=document):
        fault = call.cloud.faults.for_operation(call.request)
        call.cloud.jobs.start(call.workspace, name, fault.effect if fault else "")
        return json_response(document, 201)
    return json_response(_changed(call, name, asked))


def get(call: Call) -> Response:
    """Describe a job."""
    return json_response(call.find("jobs", call.names["job"]))


def list_all(call: Call) -> Response:
    """List the jobs, newest first."""
    return json_response({"value": list(reversed(call.cloud.store.children(*call.key("jobs"))))})


def cancel(call: Call) -> Response:
    """Ask a job to end."""
    call.find("jobs", call.names["job"])
    call.cloud.jobs.cancel(call.workspace, call.names["job"])
    return Response(status=200)


def _changed(call: Call, name: str, asked: dict[str, Any]) -> Document:
    before = call.find("jobs", name)
    differs = [key for key in _DEFINING if (before["properties"].get(key) or None) != (asked.get(key) or None)]
    if differs:
        raise RefusalError(400, "UserError", f"The job '{name}' exists and its {differs[0]} cannot be changed.")

    def change(document: Document) -> None:
        document["properties"].update({key: asked[key] for key in _CHANGEABLE if asked.get(key) is not None})

    return call.cloud.store.update(*call.key("jobs", name), change=change) or before


def _document(call: Call, name: str, asked: dict[str, Any]) -> Document:
    studio = f"https://ml.azure.com/runs/{name}?wsid={call.workspace.id}"
    services = {"Studio": {"jobServiceType": "Studio", "endpoint": studio, "status": None, "properties": None}}
    properties = {"tags": {}, "properties": {}, "displayName": name, "experimentName": "Default", **asked}
    properties |= {"status": "NotStarted", "services": services, "creationContext": {"createdAt": timestamp()}}
    return {**call.envelope("jobs", f"jobs/{name}", name), "properties": properties}
