"""Variables of a deployment that refer to connections, resolved when its container starts.

Source: the page how-to-deploy-online-endpoint-with-secret-injection. Key vaults are not emulated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llmops.emulator.connection_properties import to_properties
from llmops.emulator.errors import RefusalError
from llmops.emulator.store import Document

_REFERENCE = re.compile(r"\$\{\{azureml://connections/(?P<name>[^/{}]+)(?:/(?P<place>[^{}]+))?\}\}")


def resolve(variables: Mapping[str, str], connections: Mapping[str, Document]) -> dict[str, str]:
    """Put what is referred to in the place of references.

    Raises:
        RefusalError: there is no such connection, or it holds no such thing.
    """
    return {name: _resolve(str(value), connections) for name, value in variables.items()}


def _resolve(value: str, connections: Mapping[str, Document]) -> str:
    match = _REFERENCE.fullmatch(value)
    if match is None:
        return value
    if match["name"] not in connections:
        raise _missing(match["name"])
    properties = to_properties(connections[match["name"]], with_secrets=True)
    if match["place"] is None:
        return json.dumps(properties)
    kind, _, key = match["place"].partition("/")
    found: Any = properties.get(kind)
    if isinstance(found, Mapping):
        found = {**found, **(found.get("keys") or {})}.get(key)
    if not isinstance(found, str):
        raise _missing(f"{match['name']}/{match['place']}")
    return found


def _missing(what: str) -> RefusalError:
    return RefusalError(200, "BadArgument", f"The secret reference '{what}' does not exist in the workspace.")
