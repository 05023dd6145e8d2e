"""Registries: models and data that workspaces share, as `azure-ai-ml` asks for them.

Source: `azure.ai.ml._utils._registry_utils` and `_restclient.v2021_10_01_dataplanepreview`, 1.32.0.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from llmops.emulator.arm.assets import PATHS, keep_version, kind_of, require_same_path
from llmops.emulator.blobs import sign_container
from llmops.emulator.cloud import Call
from llmops.emulator.errors import RefusalError, not_found, user_error
from llmops.emulator.locations import REGISTRY_ASSET_ID, place_of
from llmops.emulator.store import Document
from llmops.emulator.tokens import TENANT
from llmops.emulator.wire import Response, json_response

KINDS = ("models", "data")


def discover(call: Call) -> Response:
    """Tell where a registry is served."""
    assert call.registry is not None
    region = call.cloud.settings.region
    is_direct = not call.request.host.endswith(".azureml.ms")
    uri = f"{call.base}/" if is_direct else f"https://cert-{region}.experiments.azureml.net/"
    regions = list(call.cloud.settings.registry_regions or [region])
    body = {
        "registryName": call.registry.name,
        "tenantId": TENANT,
        "primaryRegion": region,
        "regions": regions,
        "subscriptionId": call.registry.subscription,
        "resourceGroup": call.registry.resource_group,
        "primaryRegionResourceProviderUri": uri,
        "registryFqdns": {name: {"uri": uri} for name in regions},
    }
    return json_response(body)


def start_upload(call: Call) -> Response:
    """Make a container for the files of a version, or find the one that the same reference made; sign it."""
    asked = call.request.json()
    kind = _kind_of_asset(call, asked)
    if found := call.cloud.store.get(*call.key(kind, call.names["name"], "versions", call.names["version"])):
        require_same_path(call, kind, found, found["properties"])
        raise RefusalError(409, "UserError", f"The asset {asked['assetId']} already exists.")
    reference = asked.get("temporaryDataReferenceId")
    if call.cloud.settings.new_upload_places or not reference:
        reference = str(uuid.uuid4())
    seed = f"{asked['assetId']}/{reference}".lower()
    container = f"registry-{uuid.uuid5(uuid.NAMESPACE_URL, seed)}"
    call.cloud.blobs.make_container(container)
    body = {
        **_signed(call, container, "rwl"),
        "temporaryDataReferenceId": reference,
        "temporaryDataReferenceType": asked.get("temporaryDataReferenceType"),
    }
    return json_response(body)


def sign_download(call: Call) -> Response:
    """Sign the container of a version's files for reading."""
    asked = call.request.json()
    kind = _kind_of_asset(call, asked)
    name, version = call.names["name"], call.names["version"]
    found = call.cloud.store.get(*call.key(kind, name, "versions", version))
    if found is None or found["properties"][PATHS[kind]] != asked.get("blobUri"):
        raise not_found(f"{kind} '{name}' version '{version}' at '{asked.get('blobUri')}'")
    container, _ = place_of(asked["blobUri"])
    return json_response(_signed(call, container, "rl"))


def put_version(call: Call) -> Response:
    """Begin to keep a version, or to change the tags of one; it is seen when the operation has ended."""
    kind, name, version = kind_of(call), call.names["name"], call.names["version"]
    properties: dict[str, Any] = call.request.json()["properties"]
    place_of(str(properties.get(PATHS[kind])))
    require_same_path(call, kind, call.cloud.store.get(*call.key(kind, name, "versions", version)), properties)

    def keep() -> None:
        time.sleep(call.cloud.settings.operation_s)
        with call.cloud.lock:
            keep_version(call, kind, properties)

    operation = call.cloud.operations.start(
        least_s=0.0,
        work=keep,
        end=lambda _: None,
        fault=call.cloud.faults.for_operation(call.request),
    )
    return Response(status=202, headers=call.location_headers(operation))


def result(call: Call) -> Response:
    """Answer a poll of `Location`: 202 while the work goes on, then 204, or the error that ended it."""
    operation = call.cloud.operations.find(call.names["operation"])
    if operation.status == "InProgress":
        return json_response(operation.body(), 202, {"Location": f"{call.base}{call.request.target}", **call.hints()})
    if operation.error is not None:
        status = max(operation.error.status, 400)
        raise RefusalError(status, operation.error.code, operation.error.message)
    return Response(status=204)


def _kind_of_asset(call: Call, asked: Document) -> str:
    match = REGISTRY_ASSET_ID.fullmatch(str(asked.get("assetId")))
    named = (call.home.name, call.names["name"], call.names["version"])
    if match is None or (match["registry"], match["name"], match["version"]) != named or match["kind"] not in KINDS:
        raise user_error(f"'{asked.get('assetId')}' is not the id of a model or of data that this address is for.")
    return match["kind"]


def _signed(call: Call, container: str, permissions: str) -> Document:
    uri = call.blob_address(container)
    signature = sign_container(call.cloud.blobs.account, container, permissions=permissions)
    credential = {"credentialType": "SAS", "sasUri": f"{uri}?{signature}"}
    return {"blobReferenceForConsumption": {"blobUri": uri, "credential": credential, "storageAccountArmId": ""}}
