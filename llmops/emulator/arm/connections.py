"""Connections of a workspace: how flows that run there reach their models."""

from __future__ import annotations

from typing import Any

from llmops.emulator.cloud import Call
from llmops.emulator.connection_properties import from_properties, to_properties
from llmops.emulator.store import Document
from llmops.emulator.wire import Response, json_response


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
    connection = {"name": name, **from_properties(properties)}
    call.cloud.store.put(*call.key("connections", name), document=connection)
    return json_response(_resource(call, connection))


def delete(call: Call) -> Response:
    """Delete a connection."""
    found = call.cloud.store.delete(*call.key("connections", call.names["name"]))
    return Response(status=200 if found else 204)


def _resource(call: Call, connection: Document, *, with_secrets: bool = False) -> dict[str, Any]:
    name, properties = connection["name"], to_properties(connection, with_secrets=with_secrets)
    return {**call.envelope("connections", f"connections/{name}", name), "properties": properties}
