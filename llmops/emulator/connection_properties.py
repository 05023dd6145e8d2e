"""Connections as Azure Resource Manager describes them."""

from __future__ import annotations

from typing import Any

from llmops.emulator.store import Document

_CATEGORIES = {
    "azure_open_ai": "AzureOpenAI",
    "open_ai": "OpenAI",
    "serverless": "Serverless",
    "custom": "CustomKeys",
}
_TYPES = {category.lower(): kind for kind, category in _CATEGORIES.items()}


def from_properties(properties: dict[str, Any]) -> Document:
    """Read type, settings and secrets."""
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


def to_properties(connection: Document, *, with_secrets: bool) -> dict[str, Any]:
    """Describe a connection as Azure Resource Manager does."""
    kind, configs, secrets = connection["type"], connection["configs"], connection["secrets"]
    credentials: dict[str, Any] = {"key": secrets.get("api_key")} if kind != "custom" else {"keys": secrets}
    metadata = {**(configs if kind == "custom" else _metadata(kind, configs)), **connection.get("metadata", {})}
    return {
        "category": _CATEGORIES[kind],
        "target": configs.get(_target_name(kind), "_"),
        "authType": "CustomKeys" if kind == "custom" else "ApiKey",
        "credentials": credentials if with_secrets else None,
        "metadata": metadata,
        "isSharedToAll": False,
    }


def _metadata(kind: str, configs: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "ApiVersion": configs.get("api_version"),
        "ApiType": configs.get("api_type", "azure") if kind == "azure_open_ai" else None,
        "ResourceId": configs.get("resource_id"),
        "Organization": configs.get("organization"),
    }
    return {name: value for name, value in metadata.items() if value is not None}
