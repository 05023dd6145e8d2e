"""Connections in the form that prompt flow's executor takes."""

from __future__ import annotations

from typing import Any

from llmops.emulator.store import Document

CLASSES = {
    "azure_open_ai": "AzureOpenAIConnection",
    "open_ai": "OpenAIConnection",
    "serverless": "ServerlessConnection",
    "custom": "CustomConnection",
}


def executor_connection(connection: Document) -> dict[str, Any]:
    """Write a connection, with its secrets, for the executor."""
    secrets = dict(connection["secrets"])
    return {
        "name": connection["name"],
        "type": CLASSES[connection["type"]],
        "module": "promptflow.connections",
        "value": {**connection["configs"], **secrets},
        "secret_keys": list(secrets),
    }
