"""Workspaces, their datastore, and what the caller may do in them."""

from __future__ import annotations

from typing import Any

from llmops.emulator.blobs import sign_container
from llmops.emulator.cloud import DATASTORE, PROVIDER, Call
from llmops.emulator.errors import RefusalError, not_found
from llmops.emulator.tokens import TENANT, principal_of
from llmops.emulator.wire import Response, json_response


def get(call: Call) -> Response:
    """Describe the workspace."""
    region = call.cloud.settings.region
    is_direct = call.request.host != "management.azure.com"
    service = call.base if is_direct else f"https://{region}.api.azureml.ms"
    workspace = call.workspace
    created = call.cloud.open_workspace(workspace)["createdAt"]
    scope = f"/subscriptions/{workspace.subscription}/resourceGroups/{workspace.resource_group}/providers"
    body = {
        "id": workspace.id,
        "name": workspace.name,
        "type": f"{PROVIDER}/workspaces",
        "location": region,
        "kind": "Default",
        "sku": {"name": "Basic", "tier": "Basic"},
        "tags": {},
        "identity": {"type": "SystemAssigned", "principalId": principal_of(workspace.guid), "tenantId": TENANT},
        "systemData": {"createdAt": created, "lastModifiedAt": created},
        "properties": {
            "friendlyName": workspace.name,
            "description": "",
            "workspaceId": workspace.guid,
            "discoveryUrl": f"{service}/discovery",
            "mlFlowTrackingUri": f"azureml://{region}.api.azureml.ms/mlflow/v1.0{workspace.id}",
            "storageAccount": f"{scope}/Microsoft.Storage/storageAccounts/{call.cloud.blobs.account.name}",
            "keyVault": f"{scope}/Microsoft.KeyVault/vaults/emulator",
            "applicationInsights": f"{scope}/Microsoft.Insights/components/emulator",
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
        },
    }
    return json_response(body)


def list_datastores(call: Call) -> Response:
    """List the one datastore."""
    return json_response({"value": [_datastore(call)]})


def get_datastore(call: Call) -> Response:
    """Describe the one datastore."""
    _require_datastore(call)
    return json_response(_datastore(call))


def list_secrets(call: Call) -> Response:
    """Sign the container of the datastore; the account's key is never given."""
    _require_datastore(call)
    if call.cloud.settings.datastore_credentials == "None":
        raise RefusalError(403, "UserError", "The datastore has no credentials.")
    if call.cloud.settings.secrets_type == "AccountKey":
        return json_response({"secretsType": "AccountKey", "key": "bm8ga2V5"})
    signature = sign_container(call.cloud.blobs.account, call.workspace.container)
    return json_response({"secretsType": "Sas", "sasToken": signature})


def permissions(call: Call) -> Response:
    """Allow everything but what the settings deny; what a fault denies is denied when it is asked for."""
    denied = list(call.cloud.settings.denied)
    grant = {"actions": ["*"], "notActions": denied, "dataActions": ["*"], "notDataActions": []}
    return json_response({"value": [grant]})


def _require_datastore(call: Call) -> None:
    if call.names["name"].lower() != DATASTORE:
        raise not_found(f"datastore '{call.names['name']}'")


def _datastore(call: Call) -> dict[str, Any]:
    return {
        **call.envelope("datastores", f"datastores/{DATASTORE}", DATASTORE),
        "properties": {
            "datastoreType": "AzureBlob",
            "accountName": call.account,
            "containerName": call.workspace.container,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "isDefault": True,
            "credentials": {"credentialsType": call.cloud.settings.datastore_credentials},
            "description": None,
            "tags": {},
            "properties": {},
        },
    }
