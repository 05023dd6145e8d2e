"""Online endpoints: names, keys and traffic."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from llmops.emulator.cloud import Call, Cloud, Workspace
from llmops.emulator.errors import RefusalError, not_found, user_error
from llmops.emulator.store import Document
from llmops.emulator.tokens import TENANT, principal_of
from llmops.emulator.wire import Response, json_response

NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9]|-(?=[A-Za-z0-9])){2,31}")
BUSY = frozenset({"Creating", "Updating", "Deleting"})
_LIMIT = 50


def find(call: Call) -> Document:
    """Return the endpoint that the path names.

    Raises:
        RefusalError: 404, there is none.
    """
    name = call.names["endpoint"]
    found = call.cloud.store.get(*call.key("onlineEndpoints", name))
    if found is None:
        raise not_found(f"endpoint '{name}' in workspace '{call.workspace.name}'")
    return found


def list_all(call: Call) -> Response:
    """List the endpoints of the workspace."""
    return json_response({"value": call.cloud.store.children(*call.key("onlineEndpoints"))})


def get(call: Call) -> Response:
    """Describe an endpoint."""
    return json_response(find(call))


def put(call: Call) -> Response:
    """Create an endpoint, or change its traffic, tags and settings."""
    with call.cloud.lock:
        before = call.cloud.store.get(*call.key("onlineEndpoints", call.names["endpoint"]))
        if before is None:
            _claim_name(call)
        elif before["properties"]["provisioningState"] in BUSY:
            raise _busy(before)
        sent = call.request.json()
        _check_traffic(call, sent.get("properties") or {}, is_new=before is None)
        document = _document(call, sent, before)
        call.cloud.store.put(*call.key("onlineEndpoints", call.names["endpoint"]), document=document)
    operation = call.cloud.operations.start(
        least_s=call.cloud.settings.operation_s,
        work=lambda: None,
        end=lambda error: set_state(call, "Failed" if error else "Succeeded"),
        fault=call.cloud.faults.for_operation(call.request),
    )
    headers = call.status_headers(operation)
    key = call.key("onlineEndpoints", call.names["endpoint"])
    document = remember_operation(call, key, headers) or document
    return json_response(document, 201 if before is None else 200, headers)


def remember_operation(call: Call, key: tuple[str, ...], headers: Mapping[str, str]) -> Document | None:
    """Leave the address of the last operation in a resource, as the service does for endpoints.

    That it does so for deployments too is assumed. Source: github.com/Azure/azure-sdk-for-python, issue 27624.
    """

    def change(document: Document) -> None:
        document["properties"]["properties"]["AzureAsyncOperationUri"] = headers["Azure-AsyncOperation"]

    return call.cloud.store.update(*key, change=change)


def delete(call: Call) -> Response:
    """Delete an endpoint with its deployments."""
    name = call.names["endpoint"]
    if call.cloud.store.get(*call.key("onlineEndpoints", name)) is None:
        return Response(status=204)
    set_state(call, "Deleting")

    def end(error: RefusalError | None) -> None:
        if error is not None:
            set_state(call, "Failed")
            return
        forget(call.cloud, call.workspace, name)

    operation = call.cloud.operations.start(
        least_s=call.cloud.settings.operation_s,
        work=lambda: None,
        end=end,
        fault=call.cloud.faults.for_operation(call.request),
    )
    return Response(status=202, headers=call.location_headers(operation))


def forget(cloud: Cloud, workspace: Workspace, name: str) -> None:
    """End the processes of an endpoint's deployments, remove what is known of both, and give the name back."""
    from llmops.emulator.arm import deployments

    for deployment in cloud.store.children(*workspace.key, "onlineEndpoints", name, "deployments"):
        deployments.forget(cloud, workspace, name, deployment["name"])
    cloud.store.delete(*workspace.key, "onlineEndpoints", name)
    cloud.store.delete(*workspace.key, "keys", name)
    cloud.store.delete("endpoint-names", name)


def list_keys(call: Call) -> Response:
    """Give both keys; that an endpoint which takes tokens refuses with 400 is assumed."""
    if find(call)["properties"].get("authMode") == "AADToken":
        raise user_error("The endpoint takes tokens of Microsoft Entra, and has no keys.")
    return json_response(_keys(call))


def regenerate_keys(call: Call) -> Response:
    """Replace one key."""
    find(call)
    kind = str(call.request.json().get("keyType", "Primary"))
    name = {"primary": "primaryKey", "secondary": "secondaryKey"}.get(kind.lower())
    if name is None:
        raise user_error(f"There is no key '{kind}'.")
    keys = {**_keys(call), name: _make_key()}
    call.cloud.store.put(*call.key("keys", call.names["endpoint"]), document=keys)
    operation = call.cloud.operations.start(
        least_s=call.cloud.settings.operation_s,
        work=lambda: None,
        end=lambda _: None,
        fault=call.cloud.faults.for_operation(call.request),
    )
    return Response(status=202, headers=call.location_headers(operation))


def token(call: Call) -> Response:
    """Give a key as a token, for endpoints whose `authMode` is `AMLToken`."""
    find(call)
    return json_response(
        {"accessToken": _keys(call)["primaryKey"], "expiryTimeUtc": 0, "refreshAfterTimeUtc": 0, "tokenType": "Bearer"}
    )


def set_state(call: Call, state: str) -> None:
    """Set the provisioning state of the endpoint."""

    def change(endpoint: Document) -> None:
        endpoint["properties"]["provisioningState"] = state

    call.cloud.store.update(*call.key("onlineEndpoints", call.names["endpoint"]), change=change)


def _busy(endpoint: Document) -> RefusalError:
    state = endpoint["properties"]["provisioningState"]
    return RefusalError(
        409, "Conflict", f"Cannot update endpoint {endpoint['name']} because it is in {state} provisioning state."
    )


def _claim_name(call: Call) -> None:
    name = call.names["endpoint"]
    if not NAME.fullmatch(name):
        raise user_error(f"The endpoint name '{name}' is not valid: 3 to 32 letters, digits and single dashes.")
    if len(call.cloud.store.children("endpoint-names")) >= _LIMIT:
        raise user_error(f"The limit of {_LIMIT} endpoints in this region has been reached.")
    owner = {"workspace": call.workspace.id, "endpoint": name}
    if not call.cloud.store.add("endpoint-names", name, document=owner):
        raise user_error(f"The endpoint name '{name}' is already taken in this region.", 409)
    keys = {"primaryKey": _make_key(), "secondaryKey": _make_key()}
    call.cloud.store.put(*call.key("keys", name), document=keys)


def _make_key() -> str:
    return secrets.token_urlsafe(24)


def _keys(call: Call) -> Document:
    return call.find("keys", call.names["endpoint"])


def _check_traffic(call: Call, properties: dict[str, Any], *, is_new: bool) -> None:
    for name in ("traffic", "mirrorTraffic"):
        shares = properties.get(name) or {}
        if shares and is_new:
            raise user_error(f"The {name} of an endpoint cannot be set before its deployments exist.")
        for deployment, percent in shares.items():
            _check_share(call, deployment, percent)
    traffic = properties.get("traffic") or {}
    if sum(traffic.values()) not in {0, 100}:
        raise user_error(f"The sum of the traffic must be 0 or 100; it is {sum(traffic.values())}.")
    mirrored = sum((properties.get("mirrorTraffic") or {}).values())
    if mirrored > 50:
        raise user_error("At most 50 percent of the traffic can be mirrored.")


def _check_share(call: Call, deployment: str, percent: Any) -> None:
    if type(percent) is not int or not 0 <= percent <= 100:
        raise user_error(f"The traffic of '{deployment}' must be a whole number from 0 to 100; it is {percent!r}.")
    if call.cloud.store.get(*call.workspace.deployment_key(call.names["endpoint"], deployment)) is None:
        raise user_error(f"The traffic names the deployment '{deployment}', which does not exist.")


def _document(call: Call, sent: dict[str, Any], before: Document | None) -> Document:
    name = call.names["endpoint"]
    properties = sent.get("properties") or {}
    region = call.cloud.settings.region
    is_direct = call.request.host != "management.azure.com"
    base = f"{call.base}/inference/{name}" if is_direct else f"https://{name}.{region}.inference.ml.azure.com"
    filled = {
        **properties,
        "authMode": properties.get("authMode", "Key"),
        "traffic": properties.get("traffic") or {},
        "mirrorTraffic": properties.get("mirrorTraffic") or {},
        "publicNetworkAccess": properties.get("publicNetworkAccess") or "Enabled",
        "provisioningState": "Creating" if before is None else "Updating",
        "scoringUri": f"{base}/score",
        "swaggerUri": f"{base}/swagger.json",
        "properties": {
            **(properties.get("properties") or {}),
            "azureml.onlineendpointid": f"{call.workspace.id}/onlineEndpoints/{name}",
        },
    }
    return {
        **call.envelope("onlineEndpoints", f"onlineEndpoints/{name}", name, before),
        "location": region,
        "kind": "Managed",
        "tags": sent.get("tags") or {},
        "identity": _identity(sent.get("identity"), name),
        "properties": filled,
    }


def _identity(sent: dict[str, Any] | None, name: str) -> dict[str, Any]:
    kind = (sent or {}).get("type", "SystemAssigned")
    return {**(sent or {}), "type": kind, "principalId": principal_of(name), "tenantId": TENANT}
