"""Models, data sets and environments: names that hold immutable versions."""

from __future__ import annotations

import uuid
from typing import Any

from llmops.emulator.blobs import sign_container
from llmops.emulator.cloud import Call
from llmops.emulator.errors import RefusalError, not_found
from llmops.emulator.store import Document
from llmops.emulator.wire import Response, json_response

KINDS = ("models", "data", "environments", "codes")
PATHS = {"models": "modelUri", "data": "dataUri", "codes": "codeUri"}


def kind_of(call: Call) -> str:
    """Tell which kind of asset the path names, for instance `models`."""
    rest = call.request.path.lower().split("/providers/microsoft.machinelearningservices/", 1)[1]
    return rest.split("/")[2]


def list_containers(call: Call) -> Response:
    """List the names, each with its latest and its next version."""
    kind = kind_of(call)
    names = call.cloud.store.children(*call.key(kind))
    return json_response({"value": [_container(call, kind, name["name"]) for name in names]})


def get_container(call: Call) -> Response:
    """Describe a name; the next version follows the highest number, the latest is the last created."""
    kind, name = kind_of(call), call.names["name"]
    if not _versions(call, kind, name):
        raise not_found(f"{kind} '{name}'")
    return json_response(_container(call, kind, name))


def list_versions(call: Call) -> Response:
    """List the versions of a name, last created first, as `$orderBy=createdtime desc` asks and no order would."""
    kind, name = kind_of(call), call.names["name"]
    versions = _versions(call, kind, name)
    is_search = "hash" in call.request.query
    if not versions and not (is_search or call.cloud.settings.lists_unknown_models):
        raise not_found(f"{kind} '{name}'")
    if is_search:
        versions = [version for version in versions if _has_hash(version, call.request.query["hash"])]
    versions = [version for version in versions if not version["properties"].get("isArchived")]
    top = int(call.request.query.get("$top", "0"))
    found = list(reversed(versions))
    return json_response({"value": found[:top] if top else found})


def _has_hash(version: Document, wanted: str) -> bool:
    found: dict[str, Any] = version["properties"].get("properties") or {}
    return found.get("hash_sha256") == wanted


def start_upload(call: Call) -> Response:
    """Make a container for the files of a version and say where it is, with a signature for it."""
    account = call.cloud.blobs.account
    container = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{call.workspace.id}{call.request.path}".lower()))
    call.cloud.blobs.make_container(container)
    uri = call.blob_address(container)
    credential = {"credentialType": "SAS", "sasUri": f"{uri}?{sign_container(account, container)}"}
    reference = {"blobUri": uri, "credential": credential, "storageAccountArmId": None}
    return json_response({"pendingUploadType": "TemporaryBlobReference", "blobReferenceForConsumption": reference})


def get_version(call: Call) -> Response:
    """Describe a version."""
    kind, name, version = kind_of(call), call.names["name"], call.names["version"]
    found = call.cloud.store.get(*call.key(kind, name, "versions", version))
    if found is None or "deletedAt" in found:
        raise not_found(f"{kind} '{name}' version '{version}'")
    return json_response(found)


def put_version(call: Call) -> Response:
    """Create a version, or change the tags and the description of one; its path never changes."""
    kind, name, version = kind_of(call), call.names["name"], call.names["version"]
    properties = call.request.json()["properties"]
    with call.cloud.lock:
        before = call.cloud.store.get(*call.key(kind, name, "versions", version))
        document = keep_version(call, kind, properties)
    return json_response(document, 201 if before is None else 200)


def keep_version(call: Call, kind: str, properties: dict[str, Any]) -> Document:
    """Keep a version; the caller holds the lock.

    Raises:
        RefusalError: it was deleted, or it has another path.
    """
    name, version = call.names["name"], call.names["version"]
    before = call.cloud.store.get(*call.key(kind, name, "versions", version))
    require_same_path(call, kind, before, properties)
    document = _version(call, kind, properties, before)
    call.cloud.store.put(*call.key(kind, name), document={"name": name})
    return call.cloud.store.put(*call.key(kind, name, "versions", version), document=document)


def delete_version(call: Call) -> Response:
    """Delete a version for good: it cannot be made again."""
    key = call.key(kind_of(call), call.names["name"], "versions", call.names["version"])
    found = call.cloud.store.get(*key)
    if found is None or "deletedAt" in found:
        return Response(status=204)
    call.cloud.store.put(*key, document={**found, "deletedAt": found["systemData"]["lastModifiedAt"]})
    return Response(status=200)


def require_same_path(call: Call, kind: str, before: Document | None, properties: dict[str, Any]) -> None:
    """Refuse another path for a version that is there.

    Raises:
        RefusalError: it was deleted, or it has another path.
    """
    if before is None:
        return
    if "deletedAt" in before:
        message = f"Asset {before['id']} was deleted at {before['deletedAt']}, it cannot be recreated"
        raise RefusalError(409, "UserError", message)
    path = PATHS.get(kind)
    if path and before["properties"].get(path) != properties.get(path):
        status = call.cloud.settings.changed_path_status
        raise RefusalError(status, "UserError", "Asset paths cannot be updated.")


def _version(call: Call, kind: str, properties: dict[str, Any], before: Document | None) -> Document:
    name, version = call.names["name"], call.names["version"]
    filled = {"tags": {}, "properties": {}, "isAnonymous": False, "isArchived": False, **properties}
    if kind == "models":
        filled["flavors"] = filled.get("flavors") or {}
    if kind == "environments":
        filled["environmentType"] = "UserCreated"
        filled["osType"] = filled.get("osType") or "Linux"
    envelope = call.envelope(f"{kind}/versions", f"{kind}/{name}/versions/{version}", version, before)
    return {**envelope, "properties": {**filled, "provisioningState": "Succeeded"}}


def _versions(call: Call, kind: str, name: str) -> list[Document]:
    found = call.cloud.store.children(*call.key(kind, name, "versions"))
    return [version for version in found if "deletedAt" not in version]


def _container(call: Call, kind: str, name: str) -> dict[str, Any]:
    versions = [version["name"] for version in call.cloud.store.children(*call.key(kind, name, "versions"))]
    numbers = [int(version) for version in versions if version.isdigit()]
    properties: dict[str, Any] = {
        "latestVersion": versions[-1] if versions else None,
        "nextVersion": str(max(numbers, default=0) + 1),
        "isArchived": False,
        "tags": {},
        "properties": {},
    }
    return {**call.envelope(kind, f"{kind}/{name}", name), "properties": properties}
