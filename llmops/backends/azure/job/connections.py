"""Connections of the workspace, asked for by a job as itself, so that no key is in what was submitted.

Sources: the operation `WorkspaceConnections_ListSecrets` of the public API specification, 2024-04-01; the page
how-to-identity-based-service-authentication for the identity of a compute; `azure.ai.ml.identity` for that of who
submitted the job. That such an identity may read connections is assumed.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from llmops.backends.azure.job.task import JobTask
from llmops.config.connections import AZURE_API_VERSION, ResolvedConnection, Secret
from llmops.config.model import ConnectionType
from llmops.errors import BackendError

VERSION = "2024-04-01"
_TIMEOUT_S = 60.0
_TYPES: Mapping[str, ConnectionType] = {
    "azureopenai": "azure_open_ai",
    "openai": "open_ai",
    "serverless": "serverless",
    "customkeys": "custom",
}


def fetch_connections(task: JobTask, names: Sequence[str]) -> Mapping[str, ResolvedConnection]:
    """Ask the workspace for connections, secrets included.

    Raises:
        BackendError: there is no identity here, or nothing to ask for one with; it may not read them; or there is none
            of that name.
    """
    token = _submitters_token(task) if os.environ.get("OBO_ENDPOINT") else _computes_token(task)
    return {name: _resolve(name, _ask(task, name, token)) for name in names}


def _computes_token(task: JobTask) -> str:
    try:
        from azure.core.exceptions import AzureError
        from azure.identity import ManagedIdentityCredential
    except ImportError as error:
        raise BackendError.of(
            "the job's environment lacks the package azure-identity",
            found=str(error),
            fix="Add it to the environment that `azure.runs.jobs.environment` names.",
        ) from error
    try:
        credential = ManagedIdentityCredential(client_id=os.environ.get("DEFAULT_IDENTITY_CLIENT_ID"))
        return str(credential.get_token(f"{task.resource_manager}/.default").token)
    except AzureError as error:
        raise _no_identity(str(error)) from error


def _submitters_token(task: JobTask) -> str:
    query = urllib.parse.urlencode({"resource": task.resource_manager})
    try:
        with urllib.request.urlopen(f"{os.environ['OBO_ENDPOINT']}?{query}", timeout=_TIMEOUT_S) as answer:
            return str(json.load(answer)["access_token"])
    except (OSError, ValueError, KeyError) as error:
        raise _no_identity(str(error)) from error


def _no_identity(found: str) -> BackendError:
    return BackendError.of(
        "this job has no identity to read the workspace's connections as",
        found=" ".join(found.split())[:300],
        fix="Give the compute a managed identity with the role AzureML Data Scientist, or set "
        "`azure.runs.jobs.identity: user`.",
    )


def _ask(task: JobTask, name: str, token: str) -> Mapping[str, Any]:
    place = f"{task.resource_manager}{task.workspace}/connections/{name}/listsecrets?api-version={VERSION}"
    request = urllib.request.Request(place, data=b"", method="POST", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            properties: Mapping[str, Any] = json.load(answer)["properties"]
            return properties
    except urllib.error.HTTPError as error:
        found = f"{error.code}: {error.read(300).decode('utf-8', 'replace')}"
        fix = "Create it in the workspace, or give the compute's identity the role AzureML Data Scientist."
        raise BackendError.of(f"the connection '{name}' cannot be read", found=found, fix=fix) from error
    except (OSError, ValueError) as error:
        raise BackendError.of(f"the connection '{name}' cannot be read", found=str(error)) from error


def _resolve(name: str, properties: Mapping[str, Any]) -> ResolvedConnection:
    kind = _TYPES.get(str(properties.get("category", "")).lower(), "custom")
    credentials: Mapping[str, Any] = properties.get("credentials") or {}
    metadata: Mapping[str, Any] = properties.get("metadata") or {}
    is_custom = kind == "custom"
    target = None if is_custom else properties.get("target")
    secrets = {key: Secret(str(value)) for key, value in (credentials.get("keys") or {}).items()}
    return ResolvedConnection(
        name=name,
        type=kind,
        api_key=Secret(str(credentials["key"])) if credentials.get("key") and not is_custom else None,
        base_url=target if kind == "open_ai" and target != "_" else None,
        api_base=target if kind in {"azure_open_ai", "serverless"} else None,
        api_version=metadata.get("ApiVersion") or AZURE_API_VERSION if kind == "azure_open_ai" else None,
        organization=metadata.get("Organization"),
        configs={key: str(value) for key, value in metadata.items()} if is_custom else {},
        secrets=secrets if is_custom else {},
    )
