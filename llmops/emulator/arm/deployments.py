"""Online deployments: created as child processes that serve, deleted only without traffic."""

from __future__ import annotations

import re
import shutil
from typing import Any

from llmops.emulator.arm import endpoints, usage
from llmops.emulator.cloud import Call, Cloud, Workspace
from llmops.emulator.errors import RefusalError, not_found, user_error
from llmops.emulator.hosting import log_of, model_place
from llmops.emulator.store import Document
from llmops.emulator.wire import Response, json_response

_LIMIT = 20
_UPGRADE_SHARE = 1.2
_ASSET = re.compile(r"/(environments|codes)/([^/]+)/versions/([^/]+)$", re.IGNORECASE)


def list_all(call: Call) -> Response:
    """List the deployments of an endpoint."""
    endpoints.find(call)
    return json_response({"value": call.cloud.store.children(*_key(call)[:-1])})


def get(call: Call) -> Response:
    """Describe a deployment."""
    return json_response(_find(call))


def put(call: Call) -> Response:
    """Create a deployment or replace one; it takes no traffic by itself."""
    endpoint = endpoints.find(call)
    state = endpoint["properties"]["provisioningState"]
    name = call.names["deployment"]
    if state in endpoints.BUSY:
        message = (
            f"Cannot create a deployment in endpoint {endpoint['name']} because it is in {state} provisioning state."
        )
        raise RefusalError(409, "Conflict", message)
    sent = call.request.json()
    with call.cloud.lock:
        before = call.cloud.store.get(*_key(call))
        _check(call, sent, before)
        document = _document(call, sent, before)
        call.cloud.store.put(*_key(call), document=document)
        _count_cores(call, document)
    fault = call.cloud.faults.for_operation(call.request)
    operation = call.cloud.operations.start(
        least_s=call.cloud.settings.operation_s,
        work=lambda: call.cloud.hosting.replace(call.workspace, endpoint["name"], name),
        end=lambda error: _set_state(call, "Failed" if error else "Succeeded"),
        fault=fault,
    )
    if fault is not None:
        log = log_of(call.cloud, call.workspace, endpoint["name"], name)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(fault.message or "The container did not become ready.", encoding="utf-8")
    headers = call.status_headers(operation)
    document = endpoints.remember_operation(call, _key(call), headers) or document
    return json_response(document, 201 if before is None else 200, headers)


def patch(call: Call) -> Response:
    """Merge tags into a deployment; that tags are merged and not replaced is assumed."""
    document = _find(call)
    state = document["properties"]["provisioningState"]
    if state in endpoints.BUSY:
        raise RefusalError(409, "Conflict", f"The deployment '{document['name']}' is in {state} provisioning state.")
    tags = call.request.json().get("tags") or {}

    def merge(found: Document) -> None:
        found["tags"] = {**found["tags"], **tags}
        found["properties"]["provisioningState"] = "Updating"

    changed = call.cloud.store.update(*_key(call), change=merge)
    operation = call.cloud.operations.start(
        least_s=call.cloud.settings.operation_s,
        work=lambda: None,
        end=lambda error: _set_state(call, "Failed" if error else state),
        fault=call.cloud.faults.for_operation(call.request),
    )
    return json_response(changed, 202, call.status_headers(operation))


def delete(call: Call) -> Response:
    """Delete a deployment; refused while it has traffic, and that the service does the same is assumed."""
    document = call.cloud.store.get(*_key(call))
    if document is None:
        return Response(status=204)
    endpoint = endpoints.find(call)
    share = endpoint["properties"]["traffic"].get(call.names["deployment"], 0)
    if share:
        raise user_error(f"The deployment '{document['name']}' has {share} percent of the traffic; set it to 0 first.")
    if document["properties"]["provisioningState"] == "Deleting":
        raise RefusalError(409, "Conflict", f"The deployment '{document['name']}' is being deleted.")
    _set_state(call, "Deleting")

    def end(error: RefusalError | None) -> None:
        if error is None:
            forget(call.cloud, call.workspace, call.names["endpoint"], call.names["deployment"])
        else:
            _set_state(call, "Failed")

    operation = call.cloud.operations.start(
        least_s=call.cloud.settings.operation_s,
        work=lambda: None,
        end=end,
        fault=call.cloud.faults.for_operation(call.request),
    )
    return Response(status=202, headers=call.location_headers(operation))


def logs(call: Call) -> Response:
    """Give the end of what the container printed."""
    _find(call)
    asked = call.request.json()
    if asked.get("containerType") == "StorageInitializer":
        return json_response({"content": "The model was downloaded.\n"})
    path = log_of(call.cloud, call.workspace, call.names["endpoint"], call.names["deployment"])
    text = path.read_text("utf-8", "replace") if path.exists() else ""
    lines = text.splitlines()[-int(asked.get("tail") or 1000) :]
    return json_response({"content": "\n".join(lines) + "\n"})


def forget(cloud: Cloud, workspace: Workspace, endpoint: str, name: str) -> None:
    """End a deployment's process and remove what is known of it."""
    cloud.store.delete(*workspace.deployment_key(endpoint, name))
    cloud.store.delete("deployments-index", _index(workspace, endpoint, name))
    cloud.hosting.stop(workspace, endpoint, name)
    shutil.rmtree(log_of(cloud, workspace, endpoint, name).parent, ignore_errors=True)


def _key(call: Call) -> tuple[str, ...]:
    name = call.names.get("deployment", "")
    return call.workspace.deployment_key(call.names["endpoint"], name)


def _find(call: Call) -> Document:
    endpoints.find(call)
    found = call.cloud.store.get(*_key(call))
    if found is None:
        raise not_found(f"deployment '{call.names['deployment']}' of endpoint '{call.names['endpoint']}'")
    return found


def _check(call: Call, sent: dict[str, Any], before: Document | None) -> None:
    name, properties = call.names["deployment"], sent.get("properties") or {}
    if not endpoints.NAME.fullmatch(name):
        raise user_error(f"The deployment name '{name}' is not valid: 3 to 32 letters, digits and single dashes.")
    if before is not None and before["properties"]["provisioningState"] in endpoints.BUSY:
        state = before["properties"]["provisioningState"]
        raise RefusalError(409, "Conflict", f"The deployment '{name}' is in {state} provisioning state.")
    if before is None and len(call.cloud.store.children(*_key(call)[:-1])) >= _LIMIT:
        raise user_error(f"The limit of {_LIMIT} deployments of an endpoint has been reached.")
    model_place(call.cloud, call.workspace, properties)
    _require_assets(call, properties)
    cores = _cores(sent)
    free = call.cloud.settings.core_quota - usage.cores_in_use(
        call, without=_index(call.workspace, call.names["endpoint"], name)
    )
    if cores > free:
        raise RefusalError(
            400,
            "OutOfQuota",
            f"Not enough quota available for {properties.get('instanceType')} in {call.cloud.settings.region}: "
            f"{cores} cores are needed, 20 percent of them for upgrades; {free} are left.",
        )


def _require_assets(call: Call, properties: dict[str, Any]) -> None:
    """Refuse ids of environments and code that are not there; the SDKs register them before the deployment."""
    for asset in (properties.get("environmentId"), (properties.get("codeConfiguration") or {}).get("codeId")):
        match = _ASSET.search(str(asset or ""))
        if match and call.cloud.store.get(*call.key(match[1], match[2], "versions", match[3])) is None:
            raise user_error(f"The asset '{asset}' does not exist.")


def _cores(sent: dict[str, Any]) -> int:
    count = int((sent.get("sku") or {}).get("capacity") or 1)
    cores = usage.cores_of(str((sent.get("properties") or {}).get("instanceType") or "Standard_DS3_v2"), count)
    return -int(-cores * _UPGRADE_SHARE // 1)


def _index(workspace: Workspace, endpoint: str, name: str) -> str:
    return f"{workspace.id}/{endpoint}/{name}".lower()


def _count_cores(call: Call, document: Document) -> None:
    index = _index(call.workspace, call.names["endpoint"], call.names["deployment"])
    entry = {"id": index, "subscription": call.workspace.subscription.lower(), "cores": _cores(document)}
    call.cloud.store.put("deployments-index", index, document=entry)


def _document(call: Call, sent: dict[str, Any], before: Document | None) -> Document:
    endpoint, name = call.names["endpoint"], call.names["deployment"]
    properties = sent.get("properties") or {}
    filled = {
        **properties,
        "endpointComputeType": properties.get("endpointComputeType") or "Managed",
        "scaleSettings": properties.get("scaleSettings") or {"scaleType": "Default"},
        "provisioningState": "Creating" if before is None else "Updating",
        "properties": properties.get("properties") or {},
    }
    return {
        **call.envelope("onlineEndpoints/deployments", f"onlineEndpoints/{endpoint}/deployments/{name}", name, before),
        "location": call.cloud.settings.region,
        "kind": "Managed",
        "tags": sent.get("tags") or {},
        "sku": sent.get("sku") or {"name": "Default", "capacity": 1},
        "properties": filled,
    }


def _set_state(call: Call, state: str) -> None:
    def change(deployment: Document) -> None:
        deployment["properties"]["provisioningState"] = state

    call.cloud.store.update(*_key(call), change=change)
