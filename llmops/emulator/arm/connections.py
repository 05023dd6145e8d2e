"""Connections of a workspace: how flows that run there reach their models."""

from __future__ import annotations

from typing import Any

from llmops.emulator.cloud import Call
from llmops.emulator.store import Document
from llmops.emulator.wire import Response, json_response

_CATEGORIES = {
    "azure_open_ai": "AzureOpenAI",
    "open_ai": "OpenAI",
    "serverless": "Serverless",
    "custom": "CustomKeys",
}
_TYPES = {category.lower(): kind for kind, category in _CATEGORIES.items()}


def list_all(call: Call) -> Response:
    """List the connections without secrets."""
    found = call.cloud.store.children(*call.key("connections"))
    return json_response({"value": [_resource(call, connection) for connection in found]})


def get(call: Call) -> Response:
    """Describe a connection without secrets."""
    return json_response(_resource(call, call.find("connections", call.names["name"])))


def list_secrets(call: Call) -> Response:
    """Describe a connection with its secrets."""
    connection = call.find("connections", call.names["name"])
    return json_response(_resource(call, connection, with_secrets=True))


def put(call: Call) -> Response:
    """Create a connection or change it."""
    properties = call.request.json().get("properties", {})
    name = call.names["name"]
    connection = {"name": name, **_from_properties(properties)}
    call.cloud.store.put(*call.key("connections", name), document=connection)
    return json_response(_resource(call, connection))


def delete(call: Call) -> Response:
    """Delete a connection."""
    found = call.cloud.store.delete(*call.key("connections", call.names["name"]))
    return Response(status=200 if found else 204)


def _from_properties(properties: dict[str, Any]) -> Document:
    kind = _TYPES.get(str(properties.get("category", "")).lower(), "custom")
    credentials = properties.get("credentials") or {}
    metadata = dict(properties.get("metadata") or {})
    if kind == "custom":
        return {"type": kind, "configs": metadata, "secrets": dict(credentials.get("keys") or {})}
    target = properties.get("target")
    configs = {_target_name(kind): target} if target else {}
    names = {
        "ApiVersion": "api_version",
        "ApiType": "api_type",
        "Organization": "organization",
        "ResourceId": "resource_id",
    }
    configs |= {names[key]: value for key, value in metadata.items() if key in names}
    more = {key: value for key, value in metadata.items() if key not in names}
    key = credentials.get("key")
    return {"type": kind, "configs": configs, "secrets": {"api_key": key} if key else {}, "metadata": more}


def _target_name(kind: str) -> str:
    return "base_url" if kind == "open_ai" else "api_base"


def _resource(call: Call, connection: Document, *, with_secrets: bool = False) -> dict[str, Any]:
    kind, configs, secrets = connection["type"], connection["configs"], connection["secrets"]
    credentials: dict[str, Any] = {"key": secrets.get("api_key")} if kind != "custom" else {"keys": secrets}
    metadata = {**(configs if kind == "custom" else _metadata(kind, configs)), **connection.get("metadata", {})}
    properties = {
        "category": _CATEGORIES[kind],
        "target": configs.get(_target_name(kind), "_"),
        "authType": "CustomKeys" if kind == "custom" else "ApiKey",
        "credentials": credentials if with_secrets else None,
        "metadata": metadata,
        "isSharedToAll": False,
    }
    name = connection["name"]
    return {**call.envelope("connections", f"connections/{name}", name), "properties": properties}


def _metadata(kind: str, configs: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "ApiVersion": configs.get("api_version"),
        "ApiType": configs.get("api_type", "azure") if kind == "azure_open_ai" else None,
        "ResourceId": configs.get("resource_id"),
        "Organization": configs.get("organization"),
    }
    return {name: value for name, value in metadata.items() if value is not None}
